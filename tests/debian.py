"""Debian packages, unpacked into a cache: nothing is installed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

#: By default, apt downloads as the user _apt, who may not be allowed to write to /tmp.
APT_GET = ("apt-get", "-q", "-o", "APT::Sandbox::User=root")


class NoPackages(Exception):
    """The packages are not available here; the text says why."""


def unpacked(name: str, packages: Sequence[str]) -> Path:
    """Return the folder with the files of the packages, which is made once.

    Raises:
        NoPackages: this is not Debian, or the download failed.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise NoPackages("the packages are Debian's, and this system has no apt-get")
    recipe = hashlib.sha256(repr(tuple(packages)).encode()).hexdigest()[:12]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "farmhaul"
    root = base / f"{name}-{recipe}"
    if root.exists():
        return root
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=base) as folder:
        downloads, new = Path(folder) / "packages", Path(folder) / "root"
        downloads.mkdir()
        download = [*APT_GET, "download", *packages]
        if _tried(download, downloads):  # mostly because the list of packages is missing
            _tried([*APT_GET, "update"], downloads)
            if why := _tried(download, downloads):
                raise NoPackages(f"Debian's packages could not be downloaded: {why}")
        for package in downloads.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, new], check=True, timeout=120)
        new.rename(root)
    return root


def _tried(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    return done.stderr.strip()[-500:] if done.returncode else ""
