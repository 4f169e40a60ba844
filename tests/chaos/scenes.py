"""What the tests of failures share: waiting for uploads, and checking that they arrived."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable

from tasks.records.states import ENDED
from tests.chaos.healing import let_time_pass
from tests.farm import Farm, Upload, Worker, wait_until


def wait_arrived(farm: Farm, uploads: Iterable[Upload], timeout_s: float = 40) -> None:
    """Wait until all are located, and check the bytes and the location of each."""
    uploads = list(uploads)
    farm.wait_located([upload.id for upload in uploads], timeout_s)
    located = [row["component_id"] for row in farm.sandbox.ftrack.entities("ComponentLocation")]
    for upload in uploads:
        assert farm.sandbox.store.read(upload.component_id) == upload.path.read_bytes(), upload.path
        assert located.count(upload.component_id) == 1, upload.path


def wait_arrived_soon(farm: Farm, uploads: Iterable[Upload], timeout_s: float = 40) -> None:
    """Do as `wait_arrived`, but cut the waits between attempts short."""
    uploads = list(uploads)
    wait_ended_soon(farm, uploads, timeout_s)
    wait_arrived(farm, uploads)


def wait_ended_soon(farm: Farm, uploads: Iterable[Upload], timeout_s: float) -> None:
    """Wait until all have ended in some way; cut the waits between attempts short."""
    ids = [upload.id for upload in uploads]

    def ended() -> bool:
        let_time_pass(farm.redis)
        return set(farm.states(ids)) <= set(ENDED)

    wait_until(ended, timeout_s, lambda: f"states: {Counter(farm.states(ids))}")


def wait_attempt_to_connect(port: int, timeout_s: float = 30) -> None:
    """Wait until a client of a server that is down tries to connect to it."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.settimeout(timeout_s)
        client, _ = listener.accept()
        client.close()


def wait_sending(farm: Farm, upload: Upload, timeout_s: float = 15) -> None:
    """Wait until a worker has begun to send the file to the store."""
    wait_until(lambda: farm.sandbox.store.puts(upload.component_id), timeout_s)


def busy_worker(farm: Farm, upload: Upload) -> Worker:
    """Return the worker that has the upload; the rest of its batch may be another worker's."""
    name = farm.record(upload.id)["worker"]
    return next(worker for worker in farm.workers if name.startswith(f"{worker.name}@"))


def errors_of(farm: Farm, upload: Upload) -> str:
    """Return the error in the record of an upload that waits or failed."""
    return farm.record(upload.id).get("error", "")
