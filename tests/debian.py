"""Debian's packages, unpacked into a cache of our own: nothing is installed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path


class NoPackages(Exception):
    """They can not be had here; the text says why."""


def unpacked(name: str, packages: Sequence[str]) -> Path:
    """Give the folder with what the packages hold; made once. Raises NoPackages."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise NoPackages("its packages are Debian's, and this system has no apt-get")
    recipe = hashlib.sha256(repr(tuple(packages)).encode()).hexdigest()[:12]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "farmhaul"
    root = base / f"{name}-{recipe}"
    if root.exists():
        return root
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=base) as folder:
        downloads, new = Path(folder) / "packages", Path(folder) / "root"
        downloads.mkdir()
        download = ["apt-get", "download", "-q", *packages]
        if _tried(download, downloads):  # most often for want of a list of packages
            _tried(["apt-get", "update", "-q"], downloads)
            if why := _tried(download, downloads):
                raise NoPackages(f"Debian's packages for it can not be had: {why}")
        for package in downloads.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, new], check=True, timeout=120)
        new.rename(root)
    return root


def _tried(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    return done.stderr.strip()[-500:] if done.returncode else ""
