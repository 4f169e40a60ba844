"""CPython 3.12 for Windows, which Wine runs.

Its parts are the runtime of a wheel (requirements.lock), the standard library of a CPython 3.12 on
this machine, and a launcher that mingw builds. Wine and mingw are Debian's packages.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self
from unittest.mock import ANY

from tests.debian import APT_GET
from tests.helpers.skipping import warn_loudly
from tests.sandbox.process import CHECKOUT

HERE = Path(__file__).parent
LOCK = HERE / "requirements.lock"
LAUNCHER = HERE / "launch.c"
WINE = Path("/usr/lib/wine/wine64")
WINE_SERVER = WINE.with_name("wineserver64")
COMPILER = "x86_64-w64-mingw32-gcc"
_PACKAGES = ("wine64", "gcc-mingw-w64-x86-64")

#: Wine lacks what _wmi calls, so that platform.system() would abort. Wine has the api-ms DLLs.
_LEFT_OUT = ("_wmi.pyd", "_tkinter.pyd", "tcl86t.dll", "tk86t.dll")
_NO_LIBRARY = shutil.ignore_patterns(
    "config-3*", "ensurepip", "idlelib", "lib-dynload", "site-packages", "test", "tests", "tkinter"
)


class NoWindows(Exception):
    """Python for Windows cannot run here; the text says why."""


class WindowsPython:
    """A Windows of its own (a Wine prefix) with Python, until ``stop``.

    ``Z:`` is the root of this system. Names of files are UTF-8 here, and UTF-16 there.
    """

    def __init__(self, prefix: Path) -> None:
        self.program = _python()
        prefix.mkdir()
        self.drive_c = prefix / "drive_c"
        self._devices = prefix / "dosdevices"
        self._wine = {
            **{name: text for name, text in os.environ.items() if not _is_settings(name)},
            "WINEPREFIX": str(prefix),
            "WINEDEBUG": "-all",
            "LC_ALL": "C.UTF-8",
        }

    def start(self) -> Self:
        """Start Wine's server, and create the prefix.

        Wine's own processes keep the output of the program that started them open. So the
        first program here has none, and later ones find those processes running.
        """
        # So many seconds after the last program it ends by itself, if nobody calls stop.
        self._quiet(WINE_SERVER, "--persistent=600")
        self._quiet(WINE, "wineboot", "--init")
        return self

    def stop(self) -> None:
        """End all processes of this prefix."""
        self._quiet(WINE_SERVER, "--kill")

    def drive(self, letter: str, folder: Path) -> None:
        """Let a drive be a folder of this system."""
        _link(self._devices / f"{letter.lower()}:", folder)

    def share(self, server: str, name: str, folder: Path) -> None:
        r"""Let \\server\name be a folder of this system."""
        _link(self._devices / "unc" / server / name, folder)

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        program: str | Path = "",
    ) -> subprocess.CompletedProcess[bytes]:
        """Run Python, or a program by its path on Windows; ``env`` is added to an empty one.

        Wine kills a process that has ended and is not gone half a second later, as on a machine
        that stalls. Its output is whole then, but its exit code is lost: ``returncode`` is ANY,
        so that a test judges by the rest.
        """
        done = subprocess.run(
            [WINE, program or self.program, *arguments],
            input=stdin,
            capture_output=True,
            env={**self._wine, **(env or {})},
            timeout=60,
        )
        if done.returncode == -signal.SIGKILL:
            warn_loudly(f"WINE LOST AN EXIT CODE: {arguments}")
            done.returncode = ANY
        return done

    def run_module(self, name: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """Run a module of tests.windows, which must say nothing on stderr; return its output."""
        with_us = {**(env or {}), "PYTHONPATH": windows_path(CHECKOUT)}
        done = self.run("-B", "-m", f"tests.windows.{name}", *arguments, env=with_us)
        assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode(errors="replace")
        return done.stdout.decode()

    def _quiet(self, *command: str | Path) -> None:
        null = subprocess.DEVNULL
        subprocess.run(
            command, env=self._wine, stdin=null, stdout=null, stderr=null, timeout=120, check=True
        )


def windows_path(path: Path) -> str:
    """Return the path that Windows has for a file of this system."""
    return "Z:" + str(path).replace("/", "\\")


def _is_settings(name: str) -> bool:
    # Paths of this system's Python, coverage and farmhaul mean nothing there.
    return name.startswith(("FARMHAUL_", "PYTHON", "COVERAGE", "SSL_"))


def _link(link: Path, folder: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(folder)


def _python() -> Path:
    """Return python.exe, which is made once for each recipe."""
    library = _library()
    _install_packages()
    recipe = b"".join((LOCK.read_bytes(), LAUNCHER.read_bytes(), str(library).encode()))
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "farmhaul"
    folder = base / f"windows-{hashlib.sha256(recipe).hexdigest()[:12]}"
    if not folder.exists():
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=base) as name:
            new = Path(name) / "python"
            _build(new, library, Path(name))
            new.rename(folder)
    return folder / "python.exe"


def _build(folder: Path, library: Path, downloads: Path) -> None:
    shutil.copytree(library, folder / "Lib", ignore=_NO_LIBRARY)
    pip = (sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check")
    target = ("--platform=win_amd64", "--python-version=312", "--only-binary=:all:", "--no-deps")
    _tried(*pip, *target, "--require-hashes", f"--dest={downloads}", f"-r{LOCK}")
    [wheel] = downloads.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        for name in files.namelist():
            part, _, file = name.partition("/")
            if part == "deploy_libs" and file not in _LEFT_OUT and not file.startswith("api-ms-"):
                (folder / file).write_bytes(files.read(name))
    program, runtime = folder / "python.exe", folder / "python312.dll"
    _tried(COMPILER, "-municode", "-O1", "-s", "-o", str(program), str(LAUNCHER), str(runtime))


def _library() -> Path:
    """Return the standard library of a CPython 3.12."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = map(str, sorted(pyenv.glob("3.12*/bin/python3.12")))
    say = (
        "import sys, sysconfig; print(sys.version_info[:2], sysconfig.get_path('stdlib'), sep='|')"
    )
    for python in filter(None, (sys.executable, shutil.which("python3.12"), *found)):
        done = subprocess.run([python, "-c", say], capture_output=True, text=True, timeout=60)
        version, _, folder = done.stdout.strip().partition("|")
        if version == "(3, 12)":
            return Path(folder)
    raise NoWindows("the standard library is that of CPython 3.12, and none is installed here")


def _install_packages() -> None:
    if WINE.exists() and shutil.which(COMPILER):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        needed = " and ".join(_PACKAGES)
        raise NoWindows(f"{needed} are not installed, and only root on Debian can install them")
    _tried(*APT_GET, "update")
    _tried(*APT_GET, "install", "-y", "--no-install-recommends", *_PACKAGES)


def _tried(*command: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=600, check=True
        )
    except subprocess.CalledProcessError as error:
        raise NoWindows(f"{' '.join(command)} failed: {error.stderr[-1000:]}") from None
    except subprocess.TimeoutExpired:
        raise NoWindows(f"{' '.join(command)} took longer than 10 minutes") from None
