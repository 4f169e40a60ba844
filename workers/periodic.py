"""Something done again and again by a thread of a worker's main process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import redis

log = logging.getLogger("farmhaul")


class Periodic:
    """Calls ``act`` each ``interval_s``; a Redis that is away is waited for.

    A thread, and not a timer of Celery's event loop: the loop stands still while the worker
    reconnects or shuts down warmly, and with the solo pool while a task runs. It ends with
    the process, so leases are renewed until the last task has ended.
    """

    def __init__(self, name: str, interval_s: float, act: Callable[[], object]) -> None:
        self.name = name
        self.interval_s = interval_s
        self.act = act
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin, in the background."""
        threading.Thread(target=self._run, name=self.name, daemon=True).start()

    def stop(self) -> None:
        """Let the call under way be the last one."""
        self._stopped.set()

    def _run(self) -> None:
        reachable = True
        while not self._stopped.wait(self.interval_s):
            try:
                self.act()
                reachable = True
            except redis.RedisError as error:
                if reachable:
                    log.warning("redis_away thread=%s %s", self.name, error)
                reachable = False
            except Exception:
                log.exception("periodic_broke thread=%s", self.name)
