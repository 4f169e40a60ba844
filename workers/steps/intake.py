"""Takes in what hooks have pushed, in each worker: when, and how much at a time.

``workers.steps.entries`` turns it into records.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import redis

from tasks.config.hook_settings import HookSettings
from tasks.config.redis_client import worker_redis
from tasks.log import log
from tasks.records import unread
from tasks.records.record import Record, open_record
from workers.self_check import KEY_IS_WRONG, may_lack_key
from workers.steps import pulse, refusals
from workers.steps.entries import Intake
from workers.steps.periodic import PeriodicStep
from workers.wording import redis_problem

#: How long a worker waits for an entry, and its client for an answer of Redis. When there is an
#: entry, the answer comes at once.
WAIT_S, ANSWER_S = 25.0, 30.0
#: How often a worker looks for what older ones could not read, at most.
UNREAD_S = 5.0
#: The pause of a worker that cannot take in, so that others get the entries it has put back.
PAUSE_S = 5.0
#: Meanwhile it looks so often whether hooks have pushed more.
LOOK_S = 0.25
#: How long a warm shutdown waits for what is being taken in; the rest goes back.
STOP_S = 60.0
#: A larger entry is taken in by a thread of its own, so that the others do not wait for it: 100,000
#: frames have 2.8 MB, and take 15 s of CPU and 80 MiB of memory (measured 2026-11).
LARGE_BYTES = 64 << 10


class TakeIn(PeriodicStep):
    """Takes in whatever hooks push, in this worker as in all others."""

    #: A worker whose key is wrong refuses no request: it knows that before it takes the first.
    requires = (*PeriodicStep.requires, "workers.steps.breaker:Breaker")
    interval_s = 0.0

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        keys = HookSettings.from_environment().hook_keys
        path_map, node = self.record.form.path_map, str(worker.hostname)
        scripts = self.record.scripts
        lacks = partial(may_lack_key, self.settings, scripts.client, node)
        self.intake = Intake(worker.app, scripts, keys, path_map, node, may_lack_key=lacks)
        self.inbox = self.intake.inbox
        #: Held while entries are taken in, and for ever by ``stop``.
        self._round = threading.Lock()
        #: Held while a large entry is taken in.
        self._large = threading.Lock()
        self._said: set[str] = set()
        self._look_at = 0.0
        self._pause_s = 0.0

    def open_record(self) -> Record:
        """Return records of its own: this step waits for Redis, and outlives its restart."""
        return open_record(self.settings, worker_redis(self.settings, answer_s=ANSWER_S))

    def stop(self, worker: Any) -> None:
        """Finish what is being taken in, and take no more."""
        super().stop(worker)
        end = time.monotonic() + STOP_S
        for lock in (self._round, self._large):
            lock.acquire(timeout=max(end - time.monotonic(), 0))

    def act(self) -> None:
        """Wait for entries, and take them in."""
        if KEY_IS_WRONG.is_set():
            self._stopped.wait(PAUSE_S)
            return
        entries = self._unread_by_others() or self.inbox.take(WAIT_S)
        if not entries:
            return
        # Meanwhile the key may have turned out to be wrong, or the worker stops.
        if KEY_IS_WRONG.is_set() or not self._round.acquire(blocking=False):
            self.inbox.give_back(entries)
            return
        try:
            entries, suspects = self.inbox.divided(entries)
            # One that may kill this worker takes no other with it.
            self.inbox.give_back(suspects[1:])
            self._take_in_by_size(entries)
            for suspect in suspects[:1]:
                self.inbox.note_alone(suspect)
                self._take_in_by_size([suspect])
        finally:
            self._round.release()

    def _unread_by_others(self) -> list[bytes]:
        """Return what older workers could not read."""
        if not pulse.latest().has_unread or time.monotonic() < self._look_at:
            return []
        self._look_at = time.monotonic() + UNREAD_S
        return unread.take(self.inbox.scripts, refusals.VERSION)

    def _take_in_by_size(self, entries: Sequence[bytes]) -> None:
        small = [entry for entry in entries if len(entry) <= LARGE_BYTES]
        if small:
            self._take_in(small)
        for entry in entries:
            if len(entry) > LARGE_BYTES:
                self._take_in_large(entry)

    def _take_in_large(self, entry: bytes) -> None:
        if not self._large.acquire(blocking=False):
            self._take_in([entry])  # there are several: wait for this one
            return

        def run() -> None:
            try:
                self._take_in([entry])
            except redis.RedisError as error:  # the reconciler gives it back
                log.warning("redis_away", step=type(self).__name__, text=redis_problem(error))
            finally:
                self._large.release()

        threading.Thread(target=run, name="large entry", daemon=True).start()

    def _take_in(self, entries: Sequence[bytes]) -> None:
        try:
            keyless, taken = self.intake.take_in(entries)
        except redis.OutOfMemoryError:
            if self._is_news("full"):
                log.error("redis_full", text="requests wait in the inbox: raise maxmemory")  # noqa: TRY400 no traceback
            self._put_back(entries)
            return
        self._said.discard("full")
        if keyless and self._is_news("no key"):
            why = "requests are signed with no key of this worker"
            log.error("no_hook_key", text=f"{why}: set FARMHAUL_SECRET_KEY as on the other nodes")
        if len(keyless) < len(entries):
            self._pause_s = 0.0
        if keyless:
            self.inbox.give_back(keyless)
            self._leave_to_others(len(keyless))
        if taken:
            self.inbox.give_back(taken)
            self._stopped.wait(LOOK_S)

    def _put_back(self, entries: Sequence[bytes]) -> None:
        self.inbox.give_back(entries)
        self._stopped.wait(PAUSE_S)

    def _leave_to_others(self, keyless: int) -> None:
        """Pause until the inbox has more: what somebody invents must not delay what hooks push.

        While each round brings nothing else, the least pause doubles: others have the key.
        """
        end = time.monotonic() + PAUSE_S
        self._pause_s = min(max(2 * self._pause_s, LOOK_S), PAUSE_S)
        is_over = self._stopped.wait(self._pause_s)
        while not is_over and time.monotonic() < end and self.inbox.length() <= keyless:
            is_over = self._stopped.wait(LOOK_S)

    def _is_news(self, trouble: str) -> bool:
        is_news = trouble not in self._said
        self._said.add(trouble)
        return is_news
