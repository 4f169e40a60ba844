"""Many records at once, straight into Redis, for pages and searches that must stay light."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from itertools import islice
from typing import Any

from tasks.intake.request import UploadRequest
from tasks.records.commands import Commands
from tasks.records.keys import (
    COMPONENT,
    PENDING,
    RETRYING,
    state_key,
    upload_key,
)
from tasks.records.scripts import Scripts
from tasks.transfer.targets import Target

#: How many frames a shot has here, and of a hundred frames how many are in each state.
FRAMES = 100
STATES = {"failed": 2, "retrying": 1, "pending": 3, "cancelled": 1}
ERROR = "the file /mnt/show is missing on 3 nodes: is it still being written? then: farmhaul retry"


def requests(count: int) -> Iterator[UploadRequest]:
    """Yield requests for the frames of shots, as hooks send them one by one."""
    for number in range(count):
        shot, frame = divmod(number, FRAMES)
        version_id = str(uuid.UUID(int=shot + 1))
        name = f"sh{shot:04}_beauty_v{shot % 9 + 1:03}"
        path = f"/mnt/show/sq{shot % 40:03}/sh{shot:04}/render/beauty/{name}.{1001 + frame}.exr"
        target = Target.under_version(version_id, f"beauty.{1001 + frame}")
        host, user = f"node{number % 300:03}", ("ada", "ben", "cleo")[shot % 3]
        yield UploadRequest(
            path, target, 168_000, number, asked_host=host, asked_user=user, asked_at=time.time()
        )


def fill(client: Any, scripts: Scripts, count: int) -> None:
    """Write so many records; most are located, and no worker takes any of them."""
    commands, asked = Commands(scripts), requests(count)
    number = 0
    while some := [*islice(asked, 2000)]:
        commands.enqueue(some)
        pipeline = client.pipeline(transaction=False)
        for request in some:
            _settle(pipeline, scripts, request, _state(number))
            number += 1
        pipeline.delete(PENDING)
        pipeline.execute()


def _state(number: int) -> str:
    place = number * 7 % 100
    for state, share in STATES.items():
        if place < share:
            return state
        place -= share
    return "located"


def _settle(pipeline: Any, scripts: Scripts, request: UploadRequest, state: str) -> None:
    upload_id, now = request.upload_id, time.time()
    if state == "pending":
        return
    fields: dict[str, Any] = {"state": state, "updated": now, "stage": 1, "worker": "w1@node001"}
    if state in {"failed", "retrying"}:
        error = scripts.codec.seal_text(ERROR)
        fields |= {"error": error, "error_kind": "FileMissingError", "tries:FileMissingError": 4}
    if state == "retrying":
        # Not before the test has ended.
        fields |= {"due": now + 3600, "retry_reason": "FileMissingError"}
        pipeline.zadd(RETRYING, {upload_id: now + 3600})
    pipeline.hset(upload_key(upload_id), mapping=fields)
    pipeline.zrem(state_key("pending"), upload_id)
    pipeline.zadd(state_key(state), {upload_id: now})
    pipeline.expire(COMPONENT + request.component_id, 86400)
