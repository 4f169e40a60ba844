"""A newer release of farmhaul, built from this checkout: its requests have one more field."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.sandbox.process import CHECKOUT

VERSION = "99.0.0"
SOURCES = ("pyproject.toml", "hatch_build.py", "README.md", "CHANGELOG.md", "LICENSE")
#: Its changes, as arguments of ``re.sub``.
CHANGES = {
    "tasks/intake/wire.py": (
        r"(def _shared_values\(.*?    return )values\n",
        r'\1{**values, "colour": "red"}\n',
    ),
    "tasks/intake/from_wire.py": (
        r"(    fields = Fields\(values\)\n)",
        r'\1    fields.take("colour", str, "")\n',
    ),
}


def install_newer_release(folder: Path) -> dict[str, str]:
    """Build its wheel and install it into a folder; return the environment that runs it."""
    checkout = folder / "checkout"
    for name in ("tasks", "workers"):
        shutil.copytree(CHECKOUT / name, checkout / name, ignore=shutil.ignore_patterns("*.pyc"))
    for name in SOURCES:
        shutil.copyfile(CHECKOUT / name, checkout / name)
    _change(checkout / "pyproject.toml", r'(?m)^version = "[^"]*"', f'version = "{VERSION}"')
    for name, (before, after) in CHANGES.items():
        _change(checkout / name, before, after)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    subprocess.run(command, cwd=checkout, check=True, capture_output=True)
    [wheel] = (checkout / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    # In front of everything else, and so of this checkout.
    return {"PYTHONPATH": str(folder / "installed")}


def _change(path: Path, before: str, after: str) -> None:
    text, count = re.subn(before, after, path.read_text(), count=1, flags=re.DOTALL)
    assert count == 1, before
    path.write_text(text)
