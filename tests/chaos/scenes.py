"""What the tests of the failure table have in common: files to upload, and what has to come."""

from __future__ import annotations

from collections.abc import Iterable

from tests.chaos.healing import let_time_pass
from tests.farm import Farm, Upload, Worker, wait_until


def wait_arrived(farm: Farm, asked: Iterable[Upload], timeout_s: float = 40) -> None:
    """Wait until all are located; then bytes and locations have to be right."""
    asked = list(asked)
    farm.wait_located([one.id for one in asked], timeout_s)
    located = [one["component_id"] for one in farm.sandbox.ftrack.entities("ComponentLocation")]
    for one in asked:
        assert farm.sandbox.store.read(one.component_id) == one.path.read_bytes(), one.path
        assert located.count(one.component_id) == 1, one.path


def wait_arrived_soon(farm: Farm, asked: Iterable[Upload], timeout_s: float = 40) -> None:
    """As `wait_arrived`, where nobody wants to wait for the pauses between tries."""
    asked = list(asked)
    ids = [one.id for one in asked]

    def ended() -> bool:
        let_time_pass(farm.redis)
        return not {"pending", "active", "retrying"} & set(farm.states(ids))

    wait_until(ended, timeout_s)
    wait_arrived(farm, asked)


def wait_sending(farm: Farm, asked: Upload, timeout_s: float = 15) -> None:
    """Wait until the file is on its way to the store."""
    wait_until(lambda: farm.sandbox.store.puts(asked.component_id), timeout_s)


def busy_worker(farm: Farm) -> Worker:
    """The worker that has the one upload under way."""
    [name] = {farm.redis.hget(key, "worker") for key in farm.redis.scan_iter("farmhaul:upload:*")}
    return next(worker for worker in farm.workers if str(name).startswith(f"{worker.name}@"))


def errors_of(farm: Farm, asked: Upload) -> str:
    """What the record says about why an upload waits or failed."""
    return farm.record(asked.id).get("error", "")
