"""A Docker engine for tests: the one that runs, or one that is started for the tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.debian import APT_GET
from tests.docker import base_image, firewall

_DEBIAN_PACKAGES = ("docker.io", "docker-compose", "iptables", "debootstrap")
_PROGRAMS = ("docker", "dockerd", "docker-compose", "iptables", "debootstrap")
_START_S = 60


class NoEngine(Exception):
    """No Docker engine runs here and none can be started; the text says why."""


@dataclass(frozen=True)
class Engine:
    """How to talk to the engine."""

    #: The address of an engine that was started here; empty for one that already ran.
    own_host: str = ""

    @property
    def environment(self) -> dict[str, str]:
        own = {"DOCKER_HOST": self.own_host} if self.own_host else {}
        # The older builder, because Debian's docker.io lacks the plugin BuildKit.
        return {**os.environ, **own, "DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "0"}

    def docker(self, *arguments: str, timeout_s: float = 60, check: bool = True) -> str:
        """Run a docker command; return its output."""
        return run(["docker", *arguments], self.environment, timeout_s=timeout_s, check=check)

    def build(self, context: Path, dockerfile: str, target: str, tag: str) -> None:
        """Build an image, with the settings of pip of this machine."""
        arguments = [f"--build-arg={name}={value}" for name, value in pip_settings().items()]
        if self.own_host:
            arguments.append("--network=host")
        self.docker(
            "build",
            *arguments,
            f"--file={context / dockerfile}",
            f"--target={target}",
            f"--tag={tag}",
            str(context),
            timeout_s=1200,
        )


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    timeout_s: float,
    check: bool = True,
    stdin: str = "",
) -> str:
    """Run a command; return its output, or both streams if it fails."""
    done = subprocess.run(
        command,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode == 0:
        return done.stdout
    everything = f"{done.stdout[-6000:]}{done.stderr[-6000:]}"
    if check:
        raise RuntimeError(f"{' '.join(command)}\nexited with {done.returncode}:\n{everything}")
    return everything


def pip_settings() -> dict[str, str]:
    """Return the sources of pip on this machine, as build arguments of the Dockerfile.

    Read at run time, so that no mirror's address is ever written down here.
    """
    listing = run([sys.executable, "-m", "pip", "config", "list"], os.environ, timeout_s=60)
    found: dict[str, str] = {}
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2]
        if option in {"index-url", "extra-index-url", "trusted-host", "default-timeout"}:
            # A build cannot see a folder of this machine.
            words = [w for w in value.strip("'\"").replace("\\n", " ").split() if "file:" not in w]
            if words:
                found[f"PIP_{option.upper().replace('-', '_')}"] = " ".join(words)
    return found


@contextlib.contextmanager
def engine() -> Iterator[Engine]:
    """Yield an engine that has the base images, or can pull them.

    Raises:
        NoEngine: none runs, and none can be installed and started.
    """
    if _answers(Engine()) and _compose_is_here():
        # Somebody else's engine: no stand-in may take the name of a real image there.
        yield Engine()
        return
    install()
    if _answers(Engine()):
        yield Engine()
        return
    with firewall.kept(), _daemon() as ours:
        changes = [f"--change={change}" for change in base_image.CHANGES]
        first, *others = base_image.NAMES
        ours.docker("import", *changes, str(base_image.stand_in()), first, timeout_s=300)
        for other in others:
            ours.docker("tag", first, other)
        yield ours


def _answers(candidate: Engine) -> bool:
    try:
        candidate.docker("info", "--format={{.ServerVersion}}")
    except (OSError, RuntimeError, subprocess.TimeoutExpired):
        return False
    return True


def _compose_is_here() -> bool:
    return shutil.which("docker-compose") is not None


def install() -> None:
    """Install Debian's packages if something is missing.

    Raises:
        NoEngine: they cannot be installed here.
    """
    if all(shutil.which(program) for program in _PROGRAMS):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NoEngine(
            "no Docker engine answers; one can be installed by root on Debian only. Missing: "
            + ", ".join(program for program in _PROGRAMS if not shutil.which(program))
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        run([*APT_GET, "update"], environment, timeout_s=300)
        install = [*APT_GET, "install", "-y", "--no-install-recommends"]
        run([*install, *_DEBIAN_PACKAGES], environment, timeout_s=900)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        raise NoEngine(f"Debian's packages for Docker cannot be installed: {error}") from error


@contextlib.contextmanager
def _daemon() -> Iterator[Engine]:
    # A short path, because the path of a Unix socket has at most 108 characters.
    folder = Path(tempfile.mkdtemp(prefix="farmhaul-docker-"))
    ours = Engine(f"unix://{folder}/socket")
    # dockerd chooses how it stores images: overlay2 if the kernel supports it. The fallback, vfs,
    # copies all files for each line of a Dockerfile: 5 minutes a build instead of 40 s.
    command = [
        "dockerd",
        f"--host={ours.own_host}",
        f"--data-root={folder}/data",
        f"--exec-root={folder}/run",
        f"--pidfile={folder}/pid",
        # docker-compose makes its own network, and removes it again.
        "--bridge=none",
    ]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        end = time.monotonic() + _START_S
        while not _answers(ours):
            if process.poll() is not None or time.monotonic() > end:
                tail = log.read_text(errors="replace")[-2000:]
                raise NoEngine(f"dockerd does not start here:\n{tail}")
            time.sleep(0.2)
        yield ours
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _remove(folder)


def _remove(folder: Path) -> None:
    # A container that could not be removed leaves mounts behind, deepest last.
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{folder}/")]):
        subprocess.run(["umount", "--lazy", mount], check=False, timeout=30)
    shutil.rmtree(folder, ignore_errors=True)
