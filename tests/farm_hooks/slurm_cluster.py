"""A Slurm cluster of one node on loopback, from Debian's packages, without installing them."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.debian import NoPackages, unpacked
from tests.sandbox.process import Child, free_ports

_PACKAGES = (
    "slurmctld", "slurmd", "slurm-client", "slurm-wlm-basic-plugins", "munge", "libmunge2",
    "libdbus-1-3", "libhwloc15", "libjson-c5", "libnuma1", "libyaml-0-2",
)  # fmt: skip
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


class Cluster:
    """Slurm's controller and a node that runs some jobs at once; both run as root."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "slurmctld.log"
        self.config = folder / "slurm.conf"
        self._root = root
        self._children: list[Child] = []
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(self.config),
            "LD_LIBRARY_PATH": f"{root / _LIBRARIES}:{root / _LIBRARIES}/slurm-wlm",
            "PATH": f"{root / 'usr/bin'}:{os.environ['PATH']}",
        }

    def start(self, settings: Mapping[str, object]) -> None:
        """Start with lines of slurm.conf of a test's own."""
        controller_port, node_port = free_ports(2)
        host = socket.gethostname().partition(".")[0]
        lines = {
            "ClusterName": "farm",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": controller_port,
            "SlurmdPort": node_port,
            "SlurmUser": "root",
            "SlurmdUser": "root",
            "AuthType": "auth/none",
            "CredType": "cred/none",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "PluginDir": self._root / _LIBRARIES / "slurm-wlm",
            "StateSaveLocation": self.folder / "state",
            "SlurmdSpoolDir": self.folder / "spool",
            "SlurmctldPidFile": self.folder / "slurmctld.pid",
            "SlurmdPidFile": self.folder / "slurmd.pid",
            "SlurmctldLogFile": self.log,
            "SlurmdLogFile": self.folder / "slurmd.log",
            "SlurmdParameters": "config_overrides",  # more processors than there are
            "MpiDefault": "none",
            "SelectType": "select/cons_res",
            "SelectTypeParameters": "CR_CPU",
            "SchedulerParameters": "sched_interval=1,batch_sched_delay=1",
            "MaxArraySize": 10001,  # 1001 unless set: frames would end at 1000
            "InactiveLimit": 0,
            "KillWait": 1,
            **settings,
        }
        text = "".join(f"{name}={value}\n" for name, value in lines.items())
        text += f"NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=4096 State=UNKNOWN\n"
        text += f"PartitionName=farm Nodes={host} Default=YES MaxTime=INFINITE State=UP\n"
        self.config.write_text(text)
        for name in ("state", "spool"):
            (self.folder / name).mkdir(exist_ok=True)
        programs = self._programs()
        commands: dict[str, list[str | Path]] = {
            "slurmctld": [programs / "slurmctld", "-D"],
            "slurmd": [programs / "slurmd", "-D", "-d", programs / "slurmstepd"],
        }
        for name, command in commands.items():
            output = self.folder / f"{name}.out"
            child = Child(name, command, output, cwd=self.folder, env=self.environment)
            self._children.append(child)
        for child in self._children:
            child.wait_ready(lambda: "idle" in self.run("sinfo", "-h", "-o%t", check=False), 30)

    def stop(self) -> None:
        self.run("scancel", "--user=root", check=False)
        for child in reversed(self._children):
            child.stop()

    def run(
        self,
        program: str | Path,
        *arguments: str | Path,
        check: bool = True,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run one of Slurm's commands; what it printed."""
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**self.environment, **(env or {})},
            timeout=60,
        )
        if check and done.returncode:
            raise AssertionError(f"{program} ended with {done.returncode}: {done.stderr}")
        return done.stdout if check else done.stdout + done.stderr

    def submit(self, *arguments: str | Path) -> str:
        """Run sbatch; the job's id."""
        return self.run("sbatch", "--parsable", *arguments).strip()

    def state(self, job: str) -> set[str]:
        """The states of a job's tasks."""
        return set(self.run("squeue", "-h", "-tall", "-o%T", f"-j{job}", check=False).split())

    def wait(self, job: str, *states: str, timeout_s: float = 60) -> None:
        """Poll until all tasks of a job are in one of some states."""
        end = time.monotonic() + timeout_s
        while not (found := self.state(job)) or not found <= set(states):
            if time.monotonic() > end:
                told = self.run("scontrol", "show", "job", job, check=False)
                raise AssertionError(f"job {job} is {found} and not {states}:\n{told}")
            time.sleep(0.1)

    def run_again(self, job: str) -> None:
        """Let a requeued job start, for which Slurm would wait two minutes.

        Not within the second in which it was ended: slurmd takes that for a launch that is
        late ("Job credential revoked"), and the job fails.
        """
        self.run("scontrol", "update", f"JobId={job}", "StartTime=now+3")

    def _programs(self) -> Path:
        # Debian's are called slurmctld-wlm and so on. A daemon finds its role from the name it
        # is run by; under that one EpilogSlurmctld silently never fires.
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        for name in ("slurmctld", "slurmd", "slurmstepd"):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(self._root / f"usr/sbin/{name}-wlm")
        return folder


@contextmanager
def cluster(folder: Path, settings: Mapping[str, object]) -> Iterator[Cluster]:
    """Run a cluster in *folder*. Raises NoPackages."""
    if os.geteuid() != 0:
        raise NoPackages("slurmd starts jobs as their users, which root alone may")
    one = Cluster(unpacked("slurm", _PACKAGES), folder)
    try:
        one.start(settings)
        yield one
    finally:
        one.stop()
