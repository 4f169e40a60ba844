"""Threads for the files of a task: one that hangs is left behind, and the others go on.

A read, a stat or an open on a mount that is gone may never return. No signal ends such a thread,
and in state D not even its process can be killed. So the main thread of a process touches no file:
it waits for its threads, and looks whether each of them moves. That a thread is alive says nothing.

    what runs takes much longer than what is done,
    or GO_ON_S have passed                        → what is done goes on, if the caller can do that,
                                                    and after GO_ON_S, no other item begins
    an item does not move for its limit           → it is left behind, and no other one begins
    WRAP_UP_S later                               → those that move are asked to stop
    LAST_S later                                  → whatever still runs is left behind too

A thread that is left behind and wakes up learns from ``note_progress`` that it must stop.
"""

from __future__ import annotations

import math
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Generic, Literal, TypeVar

from tasks.log import log
from tasks.stage import shared
from tasks.transfer import pace

T = TypeVar("T")
R = TypeVar("R")

#: How often the main thread looks, and how often while it may go on without some items.
POLL_S, SOON_S = 1.0, 0.2
#: Nothing that works is silent for so long: what is done of a batch is handed on within a minute.
STALLED_S = 45.0
#: The same while the worker shuts down.
STALLED_AT_STOP_S = 10.0
#: When the worker shuts down, no other item begins, and those under way have this time.
STOP_S = 12.0
WRAP_UP_S = 6.0
LAST_S = 3.0
#: At a half of the task's time limit no other item begins, at three quarters all are asked to stop.
TIME_SHARE = 0.5
#: What is done of a batch waits no longer for the rest. What has not begun by then goes back, so
#: that this process is soon free for what is done: on a slow line, all of them may be busy.
GO_ON_S = 30.0
#: A thread that was left behind costs about 1.3 MiB. A process with so many is replaced.
MAX_LEFT = 64

Why = Literal["file", "store", "ftrack", "given back"]

_here = threading.local()


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The outcome of an item that did not end.

    ``why`` names what it hangs in; with "given back", it does not hang, or it has not begun.
    ``is_running`` is true if its thread was left behind.
    """

    why: Why
    silent_s: float
    is_running: bool


class StoppedError(Exception):
    """Ends an item that was asked to stop."""


def note_progress() -> None:
    """Note that this thread's item moves. Whatever may take long calls it again and again.

    Raises:
        StoppedError: the item was asked to stop, or was left behind.
    """
    shared.note_moved()
    job = getattr(_here, "job", None)
    if job is not None:
        job.moved = time.monotonic()
        if job.stop:
            raise StoppedError


def note_waiting() -> None:
    """Note that this thread's item waits for its turn, and has done nothing yet.

    Raises:
        StoppedError: no other item begins, so this one does not either; or see ``note_progress``.
    """
    note_progress()
    job = getattr(_here, "job", None)
    if job is not None:
        job.waits = True
        if job.is_closed:
            raise StoppedError


def note_turn() -> None:
    """Note that this thread's item has waited enough, and begins."""
    job = getattr(_here, "job", None)
    if job is not None:
        job.waits = False


def task_share_s() -> float:
    """Return for how long a task begins items: then its rest goes on as a new task."""
    return TIME_SHARE * shared.time_limit_s


def pause(seconds: float) -> None:
    """Sleep, as a part of the item's work: it does not hang meanwhile."""
    end = time.monotonic() + seconds
    while (left_s := end - time.monotonic()) > 0:
        note_progress()
        time.sleep(min(left_s, POLL_S))


@dataclass(eq=False, slots=True)
class _Job(Generic[T]):
    item: T
    limit_s: float
    ident: int = 0
    begun: float = 0.0
    moved: float = 0.0
    took_s: float = 0.0
    is_done: bool = False
    has_gone_on: bool = False
    waits: bool = False
    is_closed: bool = False
    stop: bool = False
    is_left: bool = False
    outcome: Any = None
    error: BaseException | None = None

    @property
    def runs(self) -> bool:
        return self.ident != 0 and not self.is_done and not self.is_left

    @property
    def is_right(self) -> bool:
        """Whether it is done, and neither failed nor was stopped."""
        return self.is_done and not (self.error or isinstance(self.outcome, Unfinished | Exception))

    def silent_s(self, now: float) -> float:
        return now - self.moved


@dataclass(eq=False)
class _Run(Generic[T, R]):
    """The items of one call of ``Threads.run``."""

    act: Callable[[T], R]
    jobs: list[_Job[T]]
    waiting: deque[_Job[T]] = field(init=False)
    lock: threading.Lock = field(default_factory=threading.Lock)
    ended: threading.Event = field(default_factory=threading.Event)
    #: What is under way must have taken this long before what is done goes on without it.
    least_s: float = field(default_factory=lambda: pace.LEAST_S)
    went_on_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.waiting = deque(self.jobs)

    def work(self) -> bool:
        """Act on items until none waits; return False if this thread was left behind."""
        while (job := self._begin()) is not None:
            try:
                job.outcome = self.act(job.item)
            except StoppedError:
                job.outcome = Unfinished("given back", 0.0, is_running=False)
            except BaseException as error:  # noqa: BLE001 raised again in the main thread
                job.error = error
            finally:
                _here.job = None
            with self.lock:
                if job.is_left:
                    return False
                job.is_done, job.took_s = True, time.monotonic() - job.begun
                self._note_if_ended()
        return True

    def _begin(self) -> _Job[T] | None:
        with self.lock:
            if not self.waiting:
                return None
            job = self.waiting.popleft()
            job.begun = job.moved = time.monotonic()
            job.ident = threading.get_ident()
        _here.job = job
        return job

    def _note_if_ended(self) -> None:
        if not self.waiting and not any(job.runs for job in self.jobs):
            self.ended.set()

    def watched(self) -> Iterator[_Job[T]]:
        """Yield the items under way that may hang; the others have time limits of their own."""
        for job in self.jobs:
            if job.runs and job.limit_s < math.inf:
                yield job
            elif job.runs:
                shared.note_moved()

    def ahead(self, now: float) -> list[_Job[T]]:
        """Return what is done, if it has waited long for what is under way.

        That is GO_ON_S, or less if all that is under way takes much longer than what is done.
        """
        with self.lock:
            done = [
                job for job in self.jobs if job.is_done and not isinstance(job.outcome, Unfinished)
            ]
            begun = [job.begun for job in self.jobs if job.runs]
        fresh = [job for job in done if not (job.has_gone_on or job.error or job.stop)]
        if not fresh or not begun:
            return []
        usual_s = statistics.median(job.took_s for job in done)
        if now - max(begun) >= max(self.least_s, pace.FACTOR * usual_s):
            # Where sizes are mixed, each slow item would go on by itself otherwise.
            self.least_s *= 2
        elif now - self.went_on_at < GO_ON_S:
            return []
        self.went_on_at = now
        for job in fresh:
            job.has_gone_on = True
        return fresh

    def has_work(self) -> bool:
        """Return whether something was done, or is being done now.

        Otherwise all that has begun waits for its turn. Nothing is won if it goes back.
        """
        with self.lock:
            return any(job.is_right or (job.runs and not job.waits) for job in self.jobs)

    def close(self) -> None:
        """Begin no other item."""
        with self.lock:
            for job in self.jobs:
                job.is_closed = True
            for job in self.waiting:
                job.outcome = Unfinished("given back", 0.0, is_running=False)
            self.waiting.clear()
            self._note_if_ended()

    def stop(self) -> None:
        """Ask all items to stop."""
        for job in self.jobs:
            job.stop = True

    def leave(self, job: _Job[T], why: Why, silent_s: float) -> bool:
        """Leave an item behind; return False if it has ended meanwhile."""
        with self.lock:
            if job.is_done:
                return False
            job.is_left = job.stop = True
            job.outcome = Unfinished(why, silent_s, is_running=True)
            self._note_if_ended()
        return True


class Threads:
    """At most *size* threads at a time, and those that were left behind.

    They are daemons: a process does not wait for them when it exits.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._todo: SimpleQueue[Callable[[], bool]] = SimpleQueue()
        self._started = 0
        #: What those that were left behind were busy with, by their idents.
        self._left: dict[int, Any] = {}

    def run(
        self,
        items: Sequence[T],
        act: Callable[[T], R],
        limit_s: Callable[[T], float] = lambda _: math.inf,
        begin_limit_s: float = math.inf,
        go_on: Callable[[dict[int, R]], None] | None = None,
    ) -> list[R | Unfinished]:
        """Act on each item, several at a time, and return the outcome of each.

        ``limit_s`` tells how long an item may be silent. After ``begin_limit_s`` no other item
        begins, and after half as much again those under way are asked to stop. ``go_on`` is called
        with the outcomes so far, by the places of their items, if the other items take much longer.
        With it, no item begins after GO_ON_S, unless nothing was done until then.
        """
        run: _Run[T, R] = _Run(act, [_Job(item, limit_s(item)) for item in items])
        count = min(len(items), self.size)
        self._start(count)
        for _ in range(count):
            self._todo.put(run.work)
        if items:
            self._watch(run, begin_limit_s, go_on)
        for job in run.jobs:
            if job.error is not None:
                raise job.error
        return [job.outcome for job in run.jobs]

    def _watch(
        self, run: _Run[T, R], begin_limit_s: float, go_on: Callable[[dict[int, R]], None] | None
    ) -> None:
        shared.note_moved()  # a task has begun, so another one has ended
        begun = time.monotonic()
        stop_at = begun + 1.5 * begin_limit_s  # three quarters of the task's time limit
        is_closed = False
        while not run.ended.wait(SOON_S if go_on else POLL_S):
            now = time.monotonic()
            if go_on and (ahead := run.ahead(now)):
                try:
                    go_on({at: job.outcome for at, job in enumerate(run.jobs) if job in ahead})
                except Exception:  # what runs is still watched
                    log.exception("unexpected_error", step="go on")
                    go_on = None
            if self._leave_hung(run, now):
                is_closed, stop_at = True, min(stop_at, now + WRAP_UP_S)
            if shared.is_stopping():
                is_closed, stop_at = True, min(stop_at, now + STOP_S)
            is_slow = go_on is not None and now > begun + GO_ON_S
            if is_closed or now > begun + begin_limit_s or (is_slow and run.has_work()):
                run.close()
            if now > stop_at:
                run.stop()
            if now > stop_at + LAST_S:
                for job in run.watched():
                    self._leave(run, job, "given back", job.silent_s(now))

    def _leave_hung(self, run: _Run[T, R], now: float) -> bool:
        """Leave behind what has been silent for its limit; return whether there is any."""
        found = False
        for job in run.watched():
            silent_s = job.silent_s(now)
            why = _hangs_in(job.ident) if silent_s > _silence_limit_s(job) else None
            if why and self._leave(run, job, why, silent_s):
                found = True
        return found

    def _start(self, count: int) -> None:
        """Start threads until there are so many, or as many as this node allows.

        Raises:
            RuntimeError: it allows none, such as by a limit of processes.
        """
        while self._started < count:
            try:
                threading.Thread(target=self._loop, name="file", daemon=True).start()
            except RuntimeError:
                if not self._started:
                    raise
                return
            self._started += 1

    def _loop(self) -> None:
        while True:
            if not self._todo.get()():
                return  # another thread has taken its place

    def _leave(self, run: _Run[T, R], job: _Job[T], why: Why, silent_s: float) -> bool:
        is_left = run.leave(job, why, silent_s)
        if is_left:
            self._left[job.ident] = job.item
            self._started -= 1
        return is_left

    @property
    def left_behind(self) -> list[Any]:
        """The items whose threads were left behind and still hang."""
        alive = {thread.ident for thread in threading.enumerate()}
        self._left = {ident: item for ident, item in self._left.items() if ident in alive}
        return [*self._left.values()]


def _silence_limit_s(job: _Job[Any]) -> float:
    return min(job.limit_s, STALLED_AT_STOP_S) if shared.is_stopping() else job.limit_s


#: Whoever waits in one of these waits for ftrack or the store.
IN_EXCHANGE = {f"tasks.transfer.{name}" for name in ("exchange", "ftrack", "hearing", "http")}


def _hangs_in(ident: int) -> Why | None:
    """Return what a thread hangs in; None if it waits for Redis, which has time limits of its own.

    The innermost function of farmhaul tells.
    """
    names = []
    frame = sys._current_frames().get(ident)  # noqa: SLF001 documented in spite of its name
    while frame is not None:
        names.append((str(frame.f_globals.get("__name__")), frame.f_code.co_name))
        frame = frame.f_back
    ours = [name for name in names if name[0].startswith("tasks.")] or [("", "")]
    module, function = ours[0]
    if module.startswith("tasks.records"):
        return None
    if module in IN_EXCHANGE or function == "send":
        is_ftrack = any(name[0] == "tasks.transfer.ftrack" for name in ours)
        return "ftrack" if is_ftrack else "store"
    return "file"
