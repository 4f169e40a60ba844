"""How ``enqueue --wait`` waits: it polls the inbox, then the records, until all have ended."""

from __future__ import annotations

import time
from collections.abc import Sequence

import redis

from tasks.config.sealing import message_codec
from tasks.config.settings import Settings
from tasks.intake.exit_codes import say
from tasks.intake.inbox import InboxError
from tasks.records.fail_fast import fail_fast_redis
from tasks.records.status import Status
from tasks.records.upload_state import UploadState
from tasks.transfer.errors import FatalError
from workers.cli.output import problem
from workers.wording import first_lines, no_takers, redis_problem, troubles, waits_for_newer

#: The pause between two polls grows to a fiftieth of the time waited so far, within these bounds:
#: a wait of a second ends at once, and a wait of an hour costs Redis next to nothing.
SHORTEST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 1.0
#: A poll of the inbox sends the entries, so large ones are polled less often.
BYTES_A_SECOND = 10_000_000
ENTRIES_AT_ONCE = 50
#: Uploads end in about the order in which they were asked for. So a poll looks at the first of
#: those that are left, and at others only when these have ended.
UPLOADS_AT_ONCE = 10

#: A worker takes an entry in at once. After this time, and every such time after it, the wait looks
#: whether something is wrong.
LOOK_S = 5.0
#: It looks so soon whether any worker takes tasks: one that has just started has noted that by now.
FIRST_LOOK_S = 1.0
NOT_TAKEN_IN = (
    "no worker has taken it in yet: is one running with the same FARMHAUL_SECRET_KEY? "
    "(farmhaul doctor)"
)
REFUSED = (
    "no record: the workers have refused it; farmhaul status with its id says why, "
    "or look for requests_refused in their logs"
)
NOT_READABLE = (
    "queued, but this Redis user may not read records, so --wait cannot tell how it ends; "
    "use the FARMHAUL_REDIS_URL of an operator"
)

Ended = Sequence[tuple[str, str]]


def wait(
    settings: Settings,
    upload_ids: Sequence[str],
    entries: Sequence[bytes],
    timeout_s: float | None,
) -> Ended:
    """Wait until all uploads have ended or the time is up; see ``tasks.intake.command``."""
    # The wait has a limit of its own, within which it tries again.
    status = Status(fail_fast_redis(settings), message_codec(settings))
    try:
        return wait_for(status, upload_ids, entries, timeout_s)
    except redis.exceptions.NoPermissionError:
        return [("queued", NOT_READABLE)] * len(upload_ids)
    except redis.RedisError as error:
        raise InboxError(redis_problem(error)) from None


def wait_for(
    status: Status, upload_ids: Sequence[str], entries: Sequence[bytes], timeout_s: float | None
) -> Ended:
    """Poll until all uploads have ended or the time is up.

    Return the last state of each, and what is wrong with it. The records are polled because
    Celery's results can be lost. If Redis restarts, the wait goes on.

    Raises:
        FatalError: a record has expired, or Redis has lost it.
        RedisError: Redis is still unreachable when the time is up.
    """
    began = time.monotonic()
    deadline = began + (float("inf") if timeout_s is None else timeout_s)
    ids = list(dict.fromkeys(upload_ids))
    live: Sequence[str] = ids
    seen = set[str]()
    waiting = entries
    look_at, said = began + FIRST_LOOK_S, ""
    while True:
        now = time.monotonic()
        try:
            if waiting:
                waiting = _not_taken_in(status, waiting)
            if not waiting:
                live = _not_ended(status, live) if seen else status.not_ended(live)
                seen.update(live)
            if not (waiting or live) or now >= deadline:
                well = status.ended_well(ids)
                others = [one for one in ids if one not in well]
                found = dict(zip(others, status.find(others), strict=True))
                return [
                    (well[one], "")
                    if one in well
                    else _result(one, found[one], one in seen, waiting)
                    for one in upload_ids
                ]
            if now >= look_at:
                is_late = now - began >= LOOK_S
                # What was taken in shows that a worker runs.
                notice = _notice(status, waiting if is_late else ()) if is_late or waiting else ""
                look_at = now + LOOK_S if is_late else began + LOOK_S
                if notice not in {"", said}:
                    say(notice)
                said = notice
        except (redis.ConnectionError, redis.TimeoutError):
            if now >= deadline:
                raise
        pause_s = min(max((now - began) / 50, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
        pause_s = max(pause_s, sum(map(len, waiting[:ENTRIES_AT_ONCE])) / BYTES_A_SECOND)
        time.sleep(min(pause_s, max(deadline - now, 0)))


def _notice(status: Status, waiting: Sequence[bytes]) -> str:
    """Return why nothing may happen, or ""."""
    try:
        takers = no_takers(status)
        if not takers:
            found = waits_for_newer(status) if waiting else troubles(status)
            takers = first_lines([" ".join(line) for line in found.items()])
    except redis.exceptions.NoPermissionError:  # this user reads records, and not workers
        takers = []
    return "; ".join(takers) or (NOT_TAKEN_IN if waiting else "")


def _not_taken_in(status: Status, waiting: Sequence[bytes]) -> Sequence[bytes]:
    """Return the entries that wait; those behind one that waits are not looked at."""
    while waiting:
        found = status.not_taken_in(waiting[:ENTRIES_AT_ONCE])
        if found:
            return [*found, *waiting[ENTRIES_AT_ONCE:]]
        waiting = waiting[ENTRIES_AT_ONCE:]
    return []


def _not_ended(status: Status, live: Sequence[str]) -> Sequence[str]:
    """Return the uploads that have not ended; those behind some that have not are not looked at."""
    count = UPLOADS_AT_ONCE
    while live:
        if found := status.not_ended(live[:count]):
            return [*found, *live[count:]]
        live, count = live[count:], 2 * count
    return []


def _result(
    upload_id: str, upload: UploadState | None, is_known: bool, waiting: Sequence[bytes]
) -> tuple[str, str]:
    """Return the state of an upload, and what is wrong with it."""
    # Without its entry, the record may be that of an earlier attempt.
    if waiting and (upload is None or (upload.has_ended and upload.has_failed)):
        return "queued", "not taken in by any worker"
    if upload is None and is_known:
        raise FatalError(f"the record of upload {upload_id} is no longer in Redis")
    if upload is None:
        return "queued", REFUSED
    is_done = upload.has_ended and not upload.has_failed
    return upload.state, "" if is_done else problem(upload)
