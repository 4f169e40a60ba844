"""Machines for deploy/ansible: chroots with Debian and systemd, in which nothing is started.

They share this machine's network, so they reach the sandbox on loopback.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.docker import base_image, engine
from tests.farm_hooks.stand import environment_of
from tests.sandbox.process import CHECKOUT

PLAYBOOK = CHECKOUT / "deploy/ansible/site.yml"
INTO_CHROOT = Path(__file__).with_name("into_chroot.sh")
PACKAGES = "python3,python3-venv,systemd,ca-certificates"


class NoMachines(Exception):
    """No chroot can be made here; the text says why."""


@dataclass(frozen=True)
class Machines:
    """The chroots below a folder, by name, and the storage that all of them see as /mnt/prod."""

    roots: Path
    storage: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "ROOTS": str(self.roots), "STORAGE": str(self.storage)}

    def command(self, name: str, text: str) -> list[str]:
        """Return the command that runs a line of a shell on a machine, as root."""
        return [str(INTO_CHROOT), name, text]

    def run(self, name: str, text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(name, text),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def play(self, inventory: Path, **variables: Any) -> str:
        """Run the playbook; return what it says."""
        done = self.try_to_play(inventory, **variables)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
        return done.stdout

    def try_to_play(self, inventory: Path, **variables: Any) -> subprocess.CompletedProcess[str]:
        """Run the playbook, which may refuse the variables."""
        ansible = environment_of(Path(__file__).with_name("ansible.lock")) / "bin"
        extra = [f"--extra-vars={name}={value}" for name, value in variables.items()]
        own = {
            "ANSIBLE_HOME": str(self.roots / "ansible"),
            "ANSIBLE_SSH_TRANSFER_METHOD": "piped",
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_HOST_KEY_CHECKING": "false",
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
        }
        return subprocess.run(
            [ansible / "ansible-playbook", f"--inventory={inventory}", *extra, PLAYBOOK],
            env={**self.environment, **own},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


def machines(folder: Path, *names: str) -> Machines:
    """Make machines with these names.

    Raises:
        NoMachines: this needs root, on Debian, and its packages.
    """
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NoMachines("only root can make a chroot, and only on Debian")
    if not shutil.which("debootstrap"):
        try:
            engine.install()
        except engine.NoEngine as error:
            raise NoMachines(str(error)) from None
    archive = base_image.stand_in(PACKAGES)
    for name in names:
        root = folder / "roots" / name
        root.mkdir(parents=True)
        subprocess.run(["tar", "-C", root, "-xzf", archive], check=True, timeout=300)
        (root / "mnt/prod").mkdir()
        # What the machines of a farm have: a name server, and here the way to the packages.
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        shutil.copy("/etc/hosts", root / "etc/hosts")
    storage = folder / "storage"
    storage.mkdir()
    storage.chmod(0o755)
    return Machines(folder / "roots", storage)


def pip_environment() -> Mapping[str, str]:
    """Return what tells pip on a machine where packages are."""
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    return {**engine.pip_settings(), "PIP_CERT": bundle}
