"""farmhaul-hook.pyz, built from this checkout once in a process."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.sandbox.process import CHECKOUT

NAME = "farmhaul-hook.pyz"


@functools.cache
def built_pyz() -> Path:
    """Return the path of the file; it is removed when this process exits."""
    folder = Path(tempfile.mkdtemp(prefix="farmhaul-pyz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    build_pyz(folder / NAME)
    return folder / NAME


def build_pyz(target: Path, **options: object) -> None:
    """Build the file as ``make dist`` does."""
    command = [sys.executable, CHECKOUT / "hatch_build.py", target]
    subprocess.run(command, check=True, timeout=60, **options)  # type: ignore[call-overload]
