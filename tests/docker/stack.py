"""The compose project with the sandbox, with its own name and images."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.docker.engine import Engine, run
from tests.sandbox.process import CHECKOUT, free_ports

DOCKERFILE = "deploy/docker/Dockerfile"
_API_KEY = "sandbox-api-key"  # tests.sandbox.seed.API_KEY, as deploy/docker/sandbox.env says


@dataclass(frozen=True)
class Stack:
    """The running services, and the folder with the files to upload."""

    engine: Engine
    project: str
    storage: Path
    settings: dict[str, str]
    workers: int

    def compose(
        self, *arguments: str, timeout_s: float = 120, check: bool = True, stdin: str = ""
    ) -> str:
        command = [
            "docker-compose",
            f"--project-name={self.project}",
            f"--project-directory={CHECKOUT}",
            f"--file={CHECKOUT}/docker-compose.yml",
            f"--env-file={CHECKOUT}/deploy/docker/sandbox.env",
            "--profile=sandbox",
            *arguments,
        ]
        environment = {**self.engine.environment, **self.settings}
        return run(command, environment, timeout_s=timeout_s, check=check, stdin=stdin)

    def containers(self, service: str = "") -> list[str]:
        """Return the ids of the running containers of a service, or of all services."""
        label = "--filter=label=com.docker.compose."
        which = [f"{label}project={self.project}", f"{label}oneoff=False"]
        if service:
            which.append(f"{label}service={service}")
        return self.engine.docker("ps", "--quiet", "--no-trunc", *which).split()

    def inside(self, container: str, *command: str, check: bool = True) -> str:
        """Run a command in a container; return its output."""
        return self.engine.docker("exec", container, *command, check=check)

    def inspect(self, container: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.engine.docker("inspect", container))
        return found[0]

    def sandbox(self, *arguments: str) -> Any:
        """Run a command of tests.docker.stand_in in the sandbox."""
        command = ["python", "-m", "tests.docker.stand_in", *arguments]
        return json.loads(self.inside(self.containers("sandbox")[0], *command))

    def start(self) -> None:
        """Start all services that do not run, and wait until they are healthy."""
        scale = f"--scale=worker={self.workers}"
        self.compose("up", "-d", "--no-build", "--no-recreate", scale, timeout_s=300)
        wait_until("all services healthy", self.healthy, timeout_s=180)

    def healthy(self) -> bool:
        states = [self.inspect(container)["State"] for container in self.containers()]
        return all(state.get("Health", {}).get("Status") == "healthy" for state in states)

    def logs(self) -> str:
        return self.compose("logs", "--no-color", "--tail=80", check=False)


def wait_until(what: str, holds: Callable[[], bool], timeout_s: float) -> float:
    """Poll each second until *holds* is true; return the seconds that it took."""
    started = time.monotonic()
    while not holds():
        if time.monotonic() - started > timeout_s:
            raise TimeoutError(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(1)
    return time.monotonic() - started


@contextlib.contextmanager
def stack(engine: Engine, *, workers: int) -> Iterator[Stack]:
    """Build the images and start all services; remove everything at the end."""
    project = f"farmhaul-test-{os.getpid()}"
    redis_port, flower_port, exporter_port = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="farmhaul-stack-") as folder:
        storage = Path(folder) / "storage"
        storage.mkdir()
        # Another uid reads it in the containers, and a temporary folder is private to its owner.
        Path(folder).chmod(0o755)
        settings = {
            "FARMHAUL_IMAGE": f"{project}:runtime",
            "FARMHAUL_SANDBOX_IMAGE": f"{project}:sandbox",
            "FARMHAUL_SECRETS": f"{folder}/secrets",
            "FARMHAUL_STORAGE": str(storage),
            "FARMHAUL_REDIS_PORT": str(redis_port),
            "FARMHAUL_FLOWER_PORT": str(flower_port),
            "FARMHAUL_EXPORTER_PORT": str(exporter_port),
            # So that another container continues the work of a killed one within seconds.
            "FARMHAUL_LEASE_SECONDS": "10",
        }
        run(
            ["sh", str(CHECKOUT / "deploy/docker/make-secrets.sh"), settings["FARMHAUL_SECRETS"]],
            {**os.environ, "FTRACK_API_KEY": _API_KEY},
            timeout_s=30,
        )
        engine.build(CHECKOUT, DOCKERFILE, "runtime", settings["FARMHAUL_IMAGE"])
        engine.build(CHECKOUT, DOCKERFILE, "sandbox", settings["FARMHAUL_SANDBOX_IMAGE"])
        made = Stack(engine, project, storage, settings, workers)
        try:
            try:
                made.start()
            except (RuntimeError, TimeoutError) as error:
                said = f"{error}\n{made.compose('ps', check=False)}\n{made.logs()}"
                raise RuntimeError(said) from None
            yield made
        finally:
            made.compose("down", "--volumes", "--timeout=5", timeout_s=180, check=False)
            tags = (settings["FARMHAUL_IMAGE"], settings["FARMHAUL_SANDBOX_IMAGE"])
            engine.docker("rmi", *tags, check=False)
