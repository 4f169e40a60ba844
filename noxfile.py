"""The quick tests on each Python that we support: nox, or make nox.

A Python that is not on this machine is skipped, and named at the end. pyenv's are found by
their folders, as the names on its PATH work for the one version alone that is selected.
"""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"

TESTS = ("tests/unit", "tests/test_architecture.py", "tests/functional/test_uploads.py")
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"


def interpreter(version: str) -> str:
    """Give the Python of this version: pyenv's newest, or the one on PATH."""
    found = [path / "bin" / "python" for path in PYENV.glob(f"{version}.*")]
    return str(max(found, key=lambda path: path.stat().st_mtime)) if found else version


def run(session: nox.Session) -> None:
    """Install what is locked, and test."""
    session.install("--require-hashes", "-r", "tests/requirements.lock")
    session.install("--no-deps", "--no-build-isolation", "-e", ".")
    session.run(
        "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *(session.posargs or TESTS)
    )


for version in ("3.11", "3.12", "3.13"):
    nox.session(run, python=interpreter(version), name=f"tests-{version}")
