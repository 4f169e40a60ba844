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
    poll, notices = _Poll(status, upload_ids, entries), _Notices(status, began)
    while True:
        now = time.monotonic()
        try:
            poll.look()
            if poll.is_over or now >= deadline:
                return poll.results(upload_ids)
            notices.say_if_due(now, poll.waiting)
        except (redis.ConnectionError, redis.TimeoutError):
            if now >= deadline:
                raise
        pause_s = min(max((now - began) / 50, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
        pause_s = max(pause_s, sum(map(len, poll.waiting[:ENTRIES_AT_ONCE])) / BYTES_A_SECOND)
        time.sleep(min(pause_s, max(deadline - now, 0)))


class _Poll:
    """What is known of the uploads: ``waiting`` are entries that no worker has taken in."""

    def __init__(self, status: Status, upload_ids: Sequence[str], entries: Sequence[bytes]) -> None:
        self.waiting = entries
        self._status = status
        self._ids = list(dict.fromkeys(upload_ids))
        self._live: Sequence[str] = self._ids
        self._seen = set[str]()

    def look(self) -> None:
        """Ask Redis; records are asked for once all entries were taken in."""
        if self.waiting:
            self.waiting = _not_taken_in(self._status, self.waiting)
        if not self.waiting:
            status, live = self._status, self._live
            self._live = _not_ended(status, live) if self._seen else status.not_ended(live)
            self._seen.update(self._live)

    @property
    def is_over(self) -> bool:
        """Whether all uploads have ended."""
        return not (self.waiting or self._live)

    def results(self, upload_ids: Sequence[str]) -> Ended:
        """Return the state of each upload, and what is wrong with it."""
        well = self._status.ended_well(self._ids)
        others = [upload_id for upload_id in self._ids if upload_id not in well]
        found = dict(zip(others, self._status.find(others), strict=True))
        return [
            (well[upload_id], "")
            if upload_id in well
            else _result(upload_id, found[upload_id], upload_id in self._seen, self.waiting)
            for upload_id in upload_ids
        ]


class _Notices:
    """Tells people now and then why nothing may happen, and nothing twice in a row."""

    def __init__(self, status: Status, began: float) -> None:
        self._status = status
        self._began = began
        self._look_at = began + FIRST_LOOK_S
        self._said = ""

    def say_if_due(self, now: float, waiting: Sequence[bytes]) -> None:
        if now < self._look_at:
            return
        is_late = now - self._began >= LOOK_S
        # What was taken in shows that a worker runs.
        notice = _notice(self._status, waiting if is_late else ()) if is_late or waiting else ""
        self._look_at = now + LOOK_S if is_late else self._began + LOOK_S
        if notice not in {"", self._said}:
            say(notice)
        self._said = notice


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
