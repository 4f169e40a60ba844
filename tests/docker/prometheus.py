"""Debian's prometheus and promtool, unpacked into a cache of our own: nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_PACKAGE = "prometheus"


class NoPrometheus(Exception):
    """It is not here and can not be had; the text says why."""


def program(name: str) -> str:
    """Give the path of ``prometheus`` or ``promtool``. Raises NoPrometheus."""
    return shutil.which(name) or str(_unpacked() / "usr" / "bin" / name)


def _unpacked() -> Path:
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise NoPrometheus("its package is Debian's, and this system has no apt-get")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "farmhaul"
    root = base / _PACKAGE
    if root.exists():
        return root
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=base) as folder:
        download = ["apt-get", "download", "-q", _PACKAGE]
        if _tried(download, folder):  # most often for want of a list of packages
            _tried(["apt-get", "update", "-q"], folder)
            if why := _tried(download, folder):
                raise NoPrometheus(f"Debian's package for it can not be had: {why}")
        [package] = Path(folder).glob("*.deb")
        new = Path(folder) / "root"
        subprocess.run(["dpkg", "-x", package, new], check=True, timeout=120)
        new.rename(root)
    return root


def _tried(command: list[str], folder: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    return done.stderr.strip()[-500:] if done.returncode else ""
