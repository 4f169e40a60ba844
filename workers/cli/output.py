"""What the command line says: lines for people, JSON lines for programs; and waiting."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TextIO

import redis

from tasks.intake.request import PublishRequest, Request
from tasks.records.status import LIVE_STATES, Status, UploadState
from tasks.transfer.errors import FatalError
from workers.wording import size

#: Looks at the record come after a fiftieth of the time waited so far, within these bounds: who
#: waits for a second is told at once, who waits for an hour costs Redis next to nothing.
FIRST_LOOK_S = 0.02
LAST_LOOK_S = 1.0


def is_terminal(stream: TextIO) -> bool:
    """Tell whether a person reads the stream."""
    return stream.isatty()


def upload_line(request: Request, state: str, *, human: bool) -> str:
    """The line of ``enqueue`` for one upload."""
    if human:
        return f"{state:<10} {request.upload_id}  {size(request.size_bytes):>9}  {request.path}"
    files = {"files": len(request.files)} if isinstance(request, PublishRequest) else {}
    return json.dumps(
        {
            "upload_id": request.upload_id,
            "component_id": request.component_id,
            "path": request.path,
            "size": request.size_bytes,
            "state": state,
            **files,
        }
    )


def state_line(one: UploadState, *, human: bool) -> str:
    """The line of ``status`` for one upload."""
    if human:
        where = {"active": f"in {one.stage} on {one.worker}"}.get(one.state, "")
        if one.state == "retrying" and one.due:
            where = f"until {datetime.fromtimestamp(one.due).astimezone():%H:%M:%S}"
        if one.files and one.state not in {"located", "pending", "active"}:
            where = f"{one.stored} of {one.files} files stored"
        encoding = f"encoding {one.job_state}" if one.job_state else ""
        line = f"{one.state:<10} {one.upload_id}  {size(one.size_bytes):>9}  {one.path}"
        return "  ".join(text for text in (line, where, encoding, one.error) if text)
    files = {"files": one.files, "stored": one.stored} if one.files else {}
    jobs = {"jobs": one.job_ids, "job_state": one.job_state} if one.job_state else {}
    return json.dumps(
        {
            "upload_id": one.upload_id,
            "component_id": one.component_id,
            "path": one.path,
            "size": one.size_bytes,
            "state": one.state,
            "stage": one.stage,
            "sent": one.sent_bytes,
            "worker": one.worker,
            "error": one.error,
            "created": one.created,
            "updated": one.updated,
            **files,
            **jobs,
        }
    )


def trouble(one: UploadState) -> str:
    """Why a waited-for upload is not in ftrack as it was asked for."""
    if one.state == "located" and one.job_state == "failed":
        return "located, but ftrack could not encode it; see its job there"
    if one.state == "located":
        return "located, and not encoded yet"
    if one.state in LIVE_STATES:
        return f"{one.state}: {one.error or 'not done yet'}"
    return f"{one.state}: {one.error}" if one.error else one.state


def counts_line(counts: Mapping[str, int]) -> str:
    """How many uploads are in each state that has any."""
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "no uploads"


def failures(uploads: Sequence[UploadState]) -> list[str]:
    """The lines of ``status --failed`` for people: by kind of failure, the most frequent first."""
    groups: dict[str, list[UploadState]] = {}
    for one in uploads:
        groups.setdefault(one.error_kind, []).append(one)
    lines = []
    for kind, group in sorted(groups.items(), key=lambda item: -len(item[1])):
        lines += [f"{len(group)} x {kind}", *(f"  {state_line(one, human=True)}" for one in group)]
    return lines


def wait_for(
    status: Status, upload_ids: Sequence[str], timeout_s: float | None
) -> dict[str, UploadState]:
    """Look at the records until all uploads have ended, or the time is up.

    The records and not Celery's results, whose notices can be lost; a Redis that is
    restarted meanwhile is waited for.
    """
    deadline = time.monotonic() + (float("inf") if timeout_s is None else timeout_s)
    began = time.monotonic()
    left = list(upload_ids)
    while True:
        try:
            left = status.not_ended(left)
            if not left or time.monotonic() >= deadline:
                return _found(status, upload_ids)
        except (redis.ConnectionError, redis.TimeoutError):
            if time.monotonic() >= deadline:
                raise
        now = time.monotonic()
        pause_s = min(max((now - began) / 50, FIRST_LOOK_S), LAST_LOOK_S)
        time.sleep(min(pause_s, max(deadline - now, 0)))


def _found(status: Status, upload_ids: Sequence[str]) -> dict[str, UploadState]:
    found = dict(zip(upload_ids, status.find(upload_ids), strict=True))
    for upload_id, one in found.items():
        if one is None:
            raise FatalError(f"the record of upload {upload_id} is gone from Redis")
    return {upload_id: one for upload_id, one in found.items() if one is not None}
