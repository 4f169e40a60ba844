"""How ``enqueue --wait`` waits: it polls the records until the uploads have ended."""

from __future__ import annotations

import time
from collections.abc import Sequence

import redis

from tasks.records.status import Status, UploadState
from tasks.transfer.errors import FatalError

#: The pause between two polls grows to a fiftieth of the time waited so far, within these bounds:
#: a wait of a second ends at once, and a wait of an hour costs Redis next to nothing.
SHORTEST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 1.0


def wait_for(
    status: Status, upload_ids: Sequence[str], timeout_s: float | None
) -> dict[str, UploadState]:
    """Poll until all uploads have ended or the time is up; return their last states.

    The records are polled because Celery's results can be lost. If Redis restarts, the wait
    goes on.

    Raises:
        FatalError: a record has expired, or Redis has lost it.
        RedisError: Redis is still unreachable when the time is up.
    """
    deadline = time.monotonic() + (float("inf") if timeout_s is None else timeout_s)
    began = time.monotonic()
    live = list(upload_ids)
    while True:
        try:
            live = status.not_ended(live)
            if not live or time.monotonic() >= deadline:
                return _found(status, upload_ids)
        except (redis.ConnectionError, redis.TimeoutError):
            if time.monotonic() >= deadline:
                raise
        now = time.monotonic()
        pause_s = min(max((now - began) / 50, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
        time.sleep(min(pause_s, max(deadline - now, 0)))


def _found(status: Status, upload_ids: Sequence[str]) -> dict[str, UploadState]:
    found: dict[str, UploadState] = {}
    for upload_id, upload in zip(upload_ids, status.find(upload_ids), strict=True):
        if upload is None:
            raise FatalError(f"the record of upload {upload_id} is no longer in Redis")
        found[upload_id] = upload
    return found
