"""Stand-ins for the base images, where no image registry can be reached.

Debian's own packages make a system with Python and Redis in it; one image is both. Its
Python is Debian's 3.11 and not 3.13: the Dockerfile has to work with both.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

NAMES = ("python:3.13-slim-bookworm", "redis:8-bookworm")
_SUITE = "bookworm"
_PACKAGES = "python3,python3-pip,python3-venv,ca-certificates,redis-server"
_CA_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
#: Of the user redis in Redis' image; its volume takes the owner from this folder.
_REDIS_ID = 999
#: pip brings certificates of its own, Python looks where OpenSSL was built to look.
CHANGES = (f"ENV PIP_CERT=/{_CA_BUNDLE} SSL_CERT_FILE=/{_CA_BUNDLE}",)


def stand_in() -> Path:
    """Give the archive of the image's file system; made once, which takes a minute."""
    authorities = _host_authorities()
    recipe = repr((_SUITE, _PACKAGES, _REDIS_ID)).encode() + authorities
    archive = _cache() / f"{_SUITE}-{hashlib.sha256(recipe).hexdigest()[:12]}.tar.gz"
    if archive.exists():
        return archive
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="farmhaul-image-") as folder:
        root = Path(folder) / "root"
        _run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, str(root))
        # What this machine trusts, a package mirror's certificate say, builds trust as well.
        (root / _CA_BUNDLE).write_bytes(authorities)
        (root / "data").mkdir()
        os.chown(root / "data", _REDIS_ID, _REDIS_ID)
        new = archive.with_name(f"{archive.name}.{os.getpid()}.new")
        _run(
            "tar",
            "--use-compress-program=gzip -1",
            "--exclude=./var/cache/apt/archives/*.deb",
            "--exclude=./var/lib/apt/lists/*",
            f"--directory={root}",
            f"--file={new}",
            "--create",
            ".",
        )
        new.replace(archive)
    return archive


def _host_authorities() -> bytes:
    paths = ssl.get_default_verify_paths()
    for name in (paths.cafile, "/" + _CA_BUNDLE):
        if name and Path(name).is_file():
            return Path(name).read_bytes()
    raise FileNotFoundError("no bundle of certificate authorities: apt-get install ca-certificates")


def _cache() -> Path:
    named = os.environ.get("XDG_CACHE_HOME")
    return (Path(named) if named else Path.home() / ".cache") / "farmhaul"


def _run(*command: str) -> None:
    program = shutil.which(command[0]) or command[0]
    done = subprocess.run(
        [program, *command[1:]], capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode:
        raise RuntimeError(
            f"{command[0]} ended with {done.returncode}: {done.stdout[-1000:]}{done.stderr[-1000:]}"
        )
