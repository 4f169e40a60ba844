"""A boot step that a worker's main process repeats, in a thread, for as long as it runs."""

from __future__ import annotations

import functools
import threading
from contextlib import suppress
from typing import Any

import cryptography.fernet  # noqa: F401 before any thread: see PeriodicStep
import redis
from celery import bootsteps

from tasks.config.redis_client import shared_redis
from tasks.config.settings import Settings
from tasks.log import log
from tasks.records.record import Record, open_record
from workers.wording import redis_problem

#: The pause after an error, for a step that has no interval.
ERROR_PAUSE_S = 1.0
#: The longest pause while Redis is away: then the leases of running tasks are renewed at once.
AWAY_PAUSE_S = 5.0
#: Set while this worker is the one of the farm that reconciles.
IS_RECONCILING = threading.Event()


class PeriodicStep(bootsteps.StartStopStep):
    """A worker's step that calls ``act`` every ``interval_s`` seconds, also after an error.

    It runs in a thread rather than as a timer of Celery's event loop, because the loop stops
    while the worker reconnects or shuts down warmly and, with the solo pool, while a task runs.

    The thread starts when the pool has forked: a process that is forked while a thread imports a
    module would wait for ever for that import. A process that replaces a dead one is forked while
    the threads run, so what they would import late is imported here.
    """

    requires: tuple[str, ...] = ("celery.worker.components:Pool",)
    interval_s = 1.0
    #: Before the first call.
    first_s: float | None = None

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self.worker = worker
        self.settings = Settings.from_environment()
        self.record = self.open_record()
        self._stopped = threading.Event()

    def open_record(self) -> Record:
        """Return the records; the steps share them, and their connections."""
        return _shared_record(self.settings)

    def act(self) -> float | None:
        """Do the step's work once; subclasses define it.

        Returns:
            The seconds until the next call; None stands for ``interval_s``.
        """
        raise NotImplementedError

    def start(self, _worker: Any) -> None:
        """Start the thread; it does not keep the process alive."""
        threading.Thread(target=self._run, name=type(self).__name__, daemon=True).start()

    def stop(self, _worker: Any) -> None:
        """Let the running call of ``act`` be the last one."""
        self._stopped.set()

    def _run(self) -> None:
        reachable = True
        pause_s = self.interval_s if self.first_s is None else self.first_s
        while not self._stopped.wait(pause_s):
            pause_s = max(self.interval_s, ERROR_PAUSE_S)
            try:
                next_s = self.act()
            except redis.RedisError as error:
                if reachable:
                    log.warning("redis_away", step=type(self).__name__, text=redis_problem(error))
                reachable = False
                pause_s = min(pause_s, AWAY_PAUSE_S)
                with suppress(redis.RedisError):  # somebody may have put another type under a key
                    self.record.scripts.repair()
            except Exception:
                log.exception("unexpected_error", step=type(self).__name__)
            else:
                reachable = True
                pause_s = self.interval_s if next_s is None else next_s


@functools.cache
def _shared_record(settings: Settings) -> Record:
    return open_record(settings, shared_redis(settings))
