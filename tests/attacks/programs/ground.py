"""What all attacks share: a farm, the names that differ between the versions, and how to look."""

from __future__ import annotations

import base64
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.farm import BIN, Farm
from tests.sandbox import Sandbox
from tests.sandbox.process import Child, accepts, free_ports

LARGE = 65 << 20  # the smallest file that goes in parts, and a little
#: One process and no more: what an attack waits for comes one after the other.
OPTIONS = ("--concurrency=2", "--without-gossip", "--without-mingle")


@dataclass
class Ground:
    """Where an attack takes place; it ends with the attack."""

    sandbox: Sandbox
    folder: Path
    database: int
    children: list[Child] = field(default_factory=list)

    @contextmanager
    def farm(self, workers: int = 1, /, **env: str) -> Iterator[Farm]:
        made = Farm(
            self.sandbox,
            self.folder / "farm",
            workers,
            options=OPTIONS,
            env={"FARMHAUL_LEASE_SECONDS": "5", **env},
            database=self.database,
        )
        made.start()
        try:
            yield made
        finally:
            for worker in made.workers:
                if worker.alive:
                    worker.kill()
            for child in self.children:
                child.kill()

    def run(self, name: str, *words: str | Path, port: int, **env: str) -> None:
        """Start a server of farmhaul's, and wait until it listens."""
        child = Child(name, [str(word) for word in words], self.folder / f"{name}.log", env=env)
        self.children.append(child)
        child.wait_ready(lambda: accepts(port))

    def exporter(self, farm: Farm) -> int:
        [port] = free_ports(1)
        self.run(
            "exporter", BIN / "farmhaul", "exporter", "--port", str(port), port=port, **farm.env
        )
        return port


@dataclass
class Asked:
    """An upload that somebody with every right has asked for."""

    id: str
    component_id: str
    path: Path

    @property
    def key(self) -> str:
        return f"farmhaul:upload:{self.id}"


def ask(farm: Farm, content: bytes | int = 2000, name: str = "f.exr", *options: str) -> Asked:
    component_id = farm.sandbox.ftrack.add_component(name)
    path = farm.make_file(name, content)
    [row] = farm.enqueue(path, "--component-id", component_id, *options)
    return Asked(row["upload_id"], component_id, path)


def is_located(farm: Farm, *uploads: Asked) -> bool:
    return farm.states([one.id for one in uploads]) == ["located"] * len(uploads)


def holds(condition: Callable[[], object], within_s: float = 20) -> bool:
    """Return whether a condition holds within so many seconds."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def arrive(farm: Farm, *uploads: Asked, within_s: float = 40) -> bool:
    return holds(lambda: is_located(farm, *uploads), within_s)


def start_again(farm: Farm, upload: Asked, **fields: str) -> None:
    """Set an ended upload going again, as somebody who may write to Redis."""
    farm.redis.hset(upload.key, mapping={"state": "pending", **fields})
    farm.redis.persist(upload.key)
    farm.redis.zadd("farmhaul:pending", {upload.id: 1})


def waits_for_ftrack(farm: Farm, *uploads: Asked) -> None:
    """Let large files be sent whole, and wait for ftrack to join their parts."""
    farm.sandbox.faults.add("ftrack", "status", 503, action="complete_multipart_upload")

    def are_sent() -> bool:
        done = [farm.redis.hgetall(f"farmhaul:parts:{one.id}") for one in uploads]
        return all(sum(name.startswith("etag:") for name in one) >= 9 for one in done)

    if not holds(are_sent, 60):
        raise AssertionError("the parts were not sent")


def new_id() -> str:
    return str(uuid.uuid4())


def with_secret() -> dict[str, str]:
    """Return settings with a secret key."""
    return {"FARMHAUL_SECRET_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode()}
