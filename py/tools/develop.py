"""Makes target/py-venv with the pinned tools and installs the package into it, compiled as it ships. Then runs a command in it, if one is named:

    python3 py/tools/develop.py python -m pytest

LUACELL_FEATURES in the environment names cargo features to compile it with, such as static.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
TARGET = PACKAGE.parent / "target"
VENV = TARGET / "py-venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")


def tools() -> None:
    wanted = (PACKAGE / "requirements.txt").read_bytes() + sys.version.encode()
    stamp = VENV / "requirements.sha256"
    digest = hashlib.sha256(wanted).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    venv.create(VENV, with_pip=True, clear=True)
    pip = [BIN / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", PACKAGE / "requirements.txt"], check=True)
    stamp.write_text(digest)


def main() -> int:
    tools()
    environment = os.environ | {
        "VIRTUAL_ENV": str(VENV),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYRIGHT_PYTHON_CACHE_DIR": str(TARGET / "pyright"),
        "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
    }
    build = [BIN / "maturin", "develop", "--release", "--quiet", "--locked"]
    if features := os.environ.get("LUACELL_FEATURES"):
        build += ["--features", features]
    # Standard output is the command's.
    subprocess.run(build, cwd=PACKAGE, env=environment, check=True, stdout=sys.stderr)
    if len(sys.argv) < 2:
        return 0
    command = [str(BIN / sys.argv[1]), *sys.argv[2:]]
    return subprocess.run(command, cwd=PACKAGE, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
