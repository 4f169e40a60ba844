"""How ``farmhaul check --farm`` compares: by tasks on workers, whose results it waits for.

The command sends a few files with each task, and so many tasks that all workers have something to
do. It keeps account of them itself: a task that nobody has heard of is sent again.
"""

from __future__ import annotations

import math
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from typing import Any, cast

import redis
from kombu.transport.redis import Channel

from tasks.chain import FETCH_PRIORITY, QUEUE
from tasks.config.sealing import message_codec
from tasks.config.settings import Settings
from tasks.intake.exit_codes import say
from tasks.records.checks import GIVEN_BACK, OPEN_S, Checks, Row
from tasks.records.fail_fast import fail_fast_redis
from tasks.records.scripts import open_scripts
from tasks.records.status import Status
from tasks.stage.comparison import OnResult
from tasks.transfer.compare import Compared, Pair, State
from workers.cli.records import open_app
from workers.downloads import sending
from workers.wording import no_takers

#: Files for each task, and tasks at a time: together they bound what is in Redis.
FILES = 20
TASKS = 400

POLL_S = 0.2
#: How often people see how far it is, and whether a worker is there.
LOOK_S = 10.0
#: A worker that still works tells it each second. After this time beyond a lease, within which
#: another worker gets the task of a dead one, a task counts as lost.
LOST_S = 90.0
#: How long Redis may be away.
OUTAGE_S = 60.0

#: A node without a mount finds no file, so another worker is to confirm these results.
DOUBTFUL = {"missing on disk", "not readable"}
#: While all others are busy, the same worker takes the files again. They wait longer each time.
PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0

LIST = f"{QUEUE}{Channel.sep}{FETCH_PRIORITY}"


@dataclass(slots=True)
class Group:
    """The files of a task, by their numbers, and when it was last heard of.

    ``avoid`` is the worker that has found them doubtful, or empty. They wait until ``due``.
    """

    files: Sequence[int]
    avoid: str = ""
    given_back: int = 0
    due: float = 0.0
    beat: str = ""
    heard: float = 0.0

    def hear(self, beat: str) -> None:
        """Note the sign of life that the task has given last."""
        if beat not in {"", self.beat}:
            self.beat, self.heard = beat, time.monotonic()


def compare_by_farm(
    settings: Settings, pairs: Mapping[int, Pair], *, download: bool, on_result: OnResult
) -> None:
    """Let workers compare files, and call ``on_result`` for each.

    Raises:
        RedisError: Redis is not reachable.
    """
    client = fail_fast_redis(settings)
    client.ping()
    checks = Checks(open_scripts(settings, client), str(uuid.uuid4()))
    status = Status(client, message_codec(settings))
    run = Run(
        checks,
        pairs,
        _sender(download=download),
        workers=status.workers,
        on_result=on_result,
        lost_s=settings.lease_s + LOST_S,
    )
    reporter = _Reporter(status, run)
    answered = time.monotonic()
    try:
        while run.left:
            try:
                run.step()
                answered = time.monotonic()
                reporter.say_if_due()
            except redis.exceptions.NoPermissionError:
                raise
            except redis.RedisError:
                if time.monotonic() - answered > OUTAGE_S:
                    raise
            if run.left:
                time.sleep(POLL_S)
    finally:
        with suppress(redis.RedisError):
            checks.close()


class _Reporter:
    """Tells people now and then how far a run is, or that no worker is there."""

    def __init__(self, status: Status, run: Run) -> None:
        self._status = status
        self._run = run
        self._looked = time.monotonic()
        self._said = ""

    def say_if_due(self) -> None:
        if time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        text = "; ".join(no_takers(self._status)) or self._run.progress()
        if text != self._said:
            say(text)
            self._said = text


def _sender(*, download: bool) -> Callable[..., None]:
    app = open_app()

    def send(**task: Any) -> None:
        with sending():
            app.send_task(
                "farmhaul.check_files",
                kwargs={**task, "download": download},
                queue=QUEUE,
                priority=FETCH_PRIORITY,
                ignore_result=True,
                retry=False,
                # Shown in events instead of the arguments: messages are sealed, events not.
                kwargsrepr=f"({len(task['files'])} files)",
            )

    return send


class Run:
    """The tasks of a check, and the files that have no result yet."""

    def __init__(
        self,
        checks: Checks,
        pairs: Mapping[int, Pair],
        send: Callable[..., None],
        *,
        workers: Callable[[], Sequence[str]],
        on_result: OnResult,
        lost_s: float,
    ) -> None:
        """Take files by their numbers, and ``send``, which gets the arguments of a task.

        ``workers`` returns the names of those that take tasks.
        """
        self.left = len(pairs)
        self._checks = checks
        self._pairs = pairs
        self._send_task = send
        self._workers = workers
        self._on_result = on_result
        self._lost_s = lost_s
        self._waiting: deque[Group] = deque()
        self._sent: dict[int, Group] = {}
        #: The task that has each file which was sent, and has no result.
        self._holder: dict[int, int] = {}
        self._doubted: dict[int, Row] = {}
        self._tasks = 0
        self._opened = -math.inf
        self._wait([*pairs])

    def progress(self) -> str:
        """Return how far it is."""
        total = len(self._pairs)
        return f"{total - self.left} of {total} files are compared"

    def step(self) -> None:
        """Read what workers have told, and send what is to be compared next.

        Raises:
            RedisError: Redis does not answer; the next step goes on.
        """
        if time.monotonic() - self._opened > OPEN_S / 4:
            self._checks.open()
            self._opened = time.monotonic()
        told = self._checks.take()
        doubts: dict[str, list[int]] = {}
        for row in told.rows:
            if self._is_doubtful(row):
                doubts.setdefault(row[-1], []).append(row[0])
        for worker, files in doubts.items():
            self._wait(files, worker)
        ended = [number for number in [*self._sent] if self._has_ended(number, told.beats)]
        self._checks.forget(ended)
        now = time.monotonic()
        due = [group for group in self._waiting if group.due <= now]
        for group in due[: TASKS - len(self._sent)]:
            self._send(group)
            self._waiting.remove(group)

    def _wait(self, files: Sequence[int], avoid: str = "", given_back: int = 0) -> None:
        pause_s = min(given_back * PAUSE_S, LONGEST_PAUSE_S)
        due = time.monotonic() + pause_s if avoid else 0.0
        for start in range(0, len(files), FILES):
            self._waiting.append(Group(files[start : start + FILES], avoid, given_back, due))

    def _is_doubtful(self, row: Row) -> bool:
        """Return whether another worker is to confirm a result; if not, it is the file's."""
        number, state, *_, worker = row
        if number not in self._holder:
            return False  # it has a result, or waits
        doubted = self._doubted.get(number)
        if state in DOUBTFUL and doubted is None:
            self._doubted[number] = row
            del self._holder[number]
            return True
        if state not in DOUBTFUL or doubted is None or doubted[-1] != worker:
            self._end(row)
        return False

    def _end(self, row: Row) -> None:
        number, state, size_bytes, stored_bytes, why, _ = row
        del self._holder[number]
        self.left -= 1
        self._on_result(number, Compared(cast(State, state), size_bytes, stored_bytes, why))

    def _has_ended(self, number: int, beats: Mapping[int, str]) -> bool:
        """Return whether a task has ended; what is left of its files waits again."""
        group = self._sent[number]
        group.hear(beats.get(number, ""))
        rest = [file for file in group.files if self._holder.get(file) == number]
        is_given_back = group.beat == GIVEN_BACK
        if rest and not is_given_back and not self._is_lost(group):
            return False
        is_believed = is_given_back and group.avoid and self._is_alone(group.avoid)
        del self._sent[number]
        if is_believed:
            for file in rest:
                self._end(self._doubted[file])
            return True
        for file in rest:
            del self._holder[file]
        self._wait(rest, group.avoid, group.given_back + is_given_back)
        return True

    def _is_alone(self, worker: str) -> bool:
        """Return whether no other worker takes tasks."""
        return not {*self._workers()} - {worker}

    def _is_lost(self, group: Group) -> bool:
        """Return whether no worker has a task, nor the queue."""
        if time.monotonic() - group.heard < self._lost_s:
            return False
        return not self._checks.redis.llen(LIST)

    def _send(self, group: Group) -> None:
        self._tasks += 1
        files = [(number, *astuple(self._pairs[number])) for number in group.files]
        self._send_task(
            check_id=self._checks.check_id, number=self._tasks, files=files, avoid=group.avoid
        )
        self._sent[self._tasks] = replace(group, beat="", heard=time.monotonic())
        for file in group.files:
            self._holder[file] = self._tasks
