"""Chromium for tests: Debian's package, driven by Playwright from a cache.

Playwright's 53 MB are for these tests alone, so they stand in no lock that others install.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.debian import APT_GET
from tests.sandbox.process import CHECKOUT

LOCK = CHECKOUT / "tests/browser/requirements.lock"


class NoBrowser(Exception):
    """There is no Chromium here, and none can be installed; the text says why."""


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Yield Playwright's ``Browser``.

    Raises:
        NoBrowser: Chromium or Playwright can be neither found nor installed.
    """
    program = _program()
    # At the end of the path: the packages of .venv, as its lock pins them, come first.
    sys.path.append(str(_packages()))
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium's own sandbox refuses root, and lacks what it needs in containers.
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()


def _program() -> str:
    if found := shutil.which("chromium"):
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NoBrowser("chromium is not installed, and only root on Debian can install it here")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = (*APT_GET, "install", "-y", "--no-install-recommends", "chromium")
    for command in ((*APT_GET, "update"), install):
        _run(command, environment)
    return shutil.which("chromium") or "/usr/bin/chromium"


def _packages() -> Path:
    """Return the folder with Playwright, which is made once for each lock and Python."""
    recipe = LOCK.read_bytes() + sys.version.encode()
    named = os.environ.get("XDG_CACHE_HOME")
    cache = (Path(named) if named else Path.home() / ".cache") / "farmhaul"
    folder = cache / f"browser-{hashlib.sha256(recipe).hexdigest()[:12]}"
    if not folder.exists():
        new = folder.with_name(f"{folder.name}.{os.getpid()}.new")
        pip = (sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check")
        _run((*pip, "--require-hashes", "--no-deps", f"--target={new}", f"-r{LOCK}"), os.environ)
        new.replace(folder)
    return folder


def _run(command: tuple[str, ...], environment: Any) -> None:
    try:
        subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=600, check=True
        )
    except subprocess.CalledProcessError as error:
        raise NoBrowser(f"{' '.join(command)} failed: {error.stderr[-1000:]}") from None
    except subprocess.TimeoutExpired:
        raise NoBrowser(f"{' '.join(command)} took longer than 10 minutes") from None
