"""Something that a worker's main process does again and again, beside its tasks."""

from __future__ import annotations

import logging
import threading
from typing import Any

import redis
from celery import bootsteps

from tasks.config.redis_client import worker_redis
from tasks.config.settings import Settings
from tasks.records.record import open_record

log = logging.getLogger("farmhaul")


class PeriodicStep(bootsteps.StartStopStep):
    """A step of a worker that calls ``act`` each ``interval_s``; without Redis it waits.

    A thread, and not a timer of Celery's event loop: the loop stands still while the worker
    reconnects or shuts down warmly, and with the solo pool while a task runs.
    """

    interval_s = 1.0

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self.worker = worker
        self.settings = Settings.from_environment()
        self.record = open_record(self.settings, worker_redis(self.settings))
        self._stopped = threading.Event()

    def act(self) -> None:
        """Do it once."""
        raise NotImplementedError

    def start(self, worker: Any) -> None:
        """Begin, in the background; the thread ends with the process at the latest."""
        del worker
        threading.Thread(target=self._run, name=type(self).__name__, daemon=True).start()

    def stop(self, worker: Any) -> None:
        """Let the call under way be the last one."""
        del worker
        self._stopped.set()

    def _run(self) -> None:
        reachable = True
        while not self._stopped.wait(self.interval_s):
            try:
                self.act()
                reachable = True
            except redis.RedisError as error:
                if reachable:
                    log.warning("redis_away step=%s %s", type(self).__name__, error)
                reachable = False
            except Exception:
                log.exception("unexpected_error step=%s", type(self).__name__)
