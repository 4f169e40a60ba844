"""Stand-ins for the base images, for machines without access to an image registry.

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
#: The id of the user redis in Redis' image; the volume takes its owner from this folder.
_REDIS_ID = 999
#: pip brings its own certificates; Python uses the path that OpenSSL was built with.
CHANGES = (f"ENV PIP_CERT=/{_CA_BUNDLE} SSL_CERT_FILE=/{_CA_BUNDLE}",)


def stand_in(packages: str = _PACKAGES) -> Path:
    """Return the archive of a file system with these packages; it is made once, in a minute."""
    authorities = _host_authorities()
    recipe = repr((_SUITE, packages, _REDIS_ID)).encode() + authorities
    archive = _cache() / f"{_SUITE}-{hashlib.sha256(recipe).hexdigest()[:12]}.tar.gz"
    if archive.exists():
        return archive
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="farmhaul-image-") as folder:
        root = Path(folder) / "root"
        _run("debootstrap", "--variant=minbase", f"--include={packages}", _SUITE, str(root))
        # Builds trust the same certificates as this machine, such as those of a package mirror.
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
            f"{command[0]} failed, {done.returncode}: {done.stdout[-1000:]}{done.stderr[-1000:]}"
        )
