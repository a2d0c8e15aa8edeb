"""The types that users see: the stubs are complete and the tests, which use everything, check."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import luacell

PACKAGE = Path(__file__).parents[1]


def run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=PACKAGE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy() -> None:
    run("mypy", "--cache-dir", os.devnull)


def test_stubs_are_what_the_module_is() -> None:
    run("mypy.stubtest", "luacell", "--concise", "--ignore-unused-allowlist", "--allowlist", "tests/stubtest.txt")


def test_pyright() -> None:
    done = subprocess.run([sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable], cwd=PACKAGE, capture_output=True, text=True)
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError:
        pytest.fail(done.stdout + done.stderr)
    problems = [f"{d['file']}:{d['range']['start']['line'] + 1}: {d['message']}" for d in report["generalDiagnostics"]]
    assert not problems and report["summary"]["filesAnalyzed"] > 10, "\n".join(problems)


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(luacell.__file__).parent / "py.typed").exists()
