"""The REPL, the notebook magics, the examples and the README."""

from __future__ import annotations

import doctest
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import luacell

ROOT = Path(__file__).parents[2]


def repl(text: str, *args: str) -> str:
    done = subprocess.run([sys.executable, "-m", "luacell", *args], input=text, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_repl(tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    out = repl("1 + 1\nx = {1,\n2}\nx, 'a'\n= #x\nprint('hi')\nerror('no')\nreturn return\n_home.n = 5\n", "--home", home)
    assert "Lua 5.4" in out
    for part in ("> 2\n", ">> ", "[1, 2]\t'a'\n", "hi\n", "stdin:1: no\n", "stack traceback", "stdin:1: unexpected symbol near 'return'"):
        assert part in out, out
    assert "> 5\n" in repl("_home.n\n", "--home", home)


def test_rules() -> None:
    done = subprocess.run([sys.executable, ROOT / "examples" / "python" / "rules.py"], capture_output=True, text=True)
    assert done.stdout == (ROOT / "examples" / "rules-report.txt").read_text(), done.stderr


@pytest.mark.filterwarnings("default")
def test_the_notebook(capfd: pytest.CaptureFixture[str]) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    shell: Any = InteractiveShell.instance()
    cells = json.loads((ROOT / "examples" / "python" / "notebook.ipynb").read_text())["cells"]
    results = []
    for cell in cells:
        if cell["cell_type"] == "code":
            done = shell.run_cell("".join(cell["source"]))
            done.raise_error()
            results.append(done.result)
    assert results[2] == 30.0 and results[4] == {"Ada": 8.0, "Grace": 18.0} and results[5] == 18.0
    out = capfd.readouterr().out
    assert "19.5\n" in out and "stopped: " in out
    shell.run_cell("%lua error('no')").raise_error()
    assert "LuaRuntimeError: cell:1: no" in capfd.readouterr().err


def test_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the README's Python; what stands in a comment behind a print is what it prints."""
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[1] / "README.md").read_text()
    names: dict[str, Any] = {}
    checks = 0
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        printed: list[str] = []
        names["print"] = lambda *values: printed.append(" ".join(map(str, values)))
        expected = re.findall(r"print\(.*?\)\s+# (.*)", block)
        exec(compile(block, "README.md", "exec"), names)
        assert printed == expected
        checks += len(expected)
    assert checks > 5


def test_the_python_in_the_main_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    for run in (1, 2):
        exec(compile(program, "README.md", "exec"), {})
        assert capsys.readouterr().out == f"(7.0, {run})\n"


def test_docstrings_of_the_package() -> None:
    assert doctest.testmod(luacell).failed == 0


@pytest.mark.parametrize("name", ["LICENSE-MIT", "LICENSE-APACHE", "THIRD-PARTY-NOTICES.md"])
def test_the_package_brings_its_licences(name: str) -> None:
    text = importlib.metadata.distribution("luacell").read_text(f"licenses/{name}")
    assert text == (ROOT / name).read_text()
