"""What the tests of the failure table have in common: files to upload, and what has to come."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.healing import let_time_pass
from tests.farm import Farm, Worker, wait_until


@dataclass(frozen=True)
class Asked:
    """A file that was enqueued, and the component it is for."""

    path: Path
    component_id: str
    upload_id: str


def enqueue_one(
    farm: Farm, content: bytes | int = 20_000, *options: str, name: str = "main.exr"
) -> Asked:
    """Enqueue a new file for a new component, as a hook does."""
    path = farm.make_file(name, content)
    component_id = farm.sandbox.ftrack.add_component(path.name)
    return enqueue_again(farm, path, component_id, *options)


def enqueue_again(farm: Farm, path: Path, component_id: str, *options: str) -> Asked:
    """Enqueue a file for a component that it may have been enqueued for before."""
    [upload] = farm.enqueue(path, "--component-id", component_id, *options)
    return Asked(path, component_id, upload["upload_id"])


def enqueue_many(farm: Farm, count: int, size: int = 20_000, name: str = "main") -> list[Asked]:
    """Enqueue new files by one manifest."""
    ftrack = farm.sandbox.ftrack
    rows = [
        (farm.make_file(f"{name}.{n:04d}.exr", size), ftrack.add_component()) for n in range(count)
    ]
    uploads = farm.enqueue_manifest(
        {"path": str(path), "component_id": component_id} for path, component_id in rows
    )
    return [
        Asked(path, component_id, upload["upload_id"])
        for (path, component_id), upload in zip(rows, uploads, strict=True)
    ]


def wait_arrived(farm: Farm, asked: Iterable[Asked], timeout_s: float = 40) -> None:
    """Wait until all are located; then bytes and locations have to be right."""
    asked = list(asked)
    farm.wait_located([one.upload_id for one in asked], timeout_s)
    located = [one["component_id"] for one in farm.sandbox.ftrack.entities("ComponentLocation")]
    for one in asked:
        assert farm.sandbox.store.read(one.component_id) == one.path.read_bytes(), one.path
        assert located.count(one.component_id) == 1, one.path


def wait_arrived_soon(farm: Farm, asked: Iterable[Asked], timeout_s: float = 40) -> None:
    """As `wait_arrived`, where nobody wants to wait for the pauses between tries."""
    asked = list(asked)
    ids = [one.upload_id for one in asked]

    def ended() -> bool:
        let_time_pass(farm.redis)
        return not {"pending", "active", "retrying"} & set(farm.states(ids))

    wait_until(ended, timeout_s)
    wait_arrived(farm, asked)


def wait_sending(farm: Farm, asked: Asked, timeout_s: float = 15) -> None:
    """Wait until the file is on its way to the store."""
    wait_until(lambda: farm.sandbox.store.puts(asked.component_id), timeout_s)


def busy_worker(farm: Farm) -> Worker:
    """The worker that has the one upload under way."""
    [name] = {farm.redis.hget(key, "worker") for key in farm.redis.scan_iter("farmhaul:upload:*")}
    return next(worker for worker in farm.workers if str(name).startswith(f"{worker.name}@"))


def errors_of(farm: Farm, asked: Asked) -> str:
    """What the record says about why an upload waits or failed."""
    return farm.record(asked.upload_id).get("error", "")
