"""Sends what hooks on this host have spooled while Redis was away."""

from __future__ import annotations

from typing import Any

from celery import bootsteps

from tasks.connect import open_record, worker_redis
from tasks.settings import Settings
from tasks.spool import Spool
from workers.periodic import Periodic

INTERVAL_S = 5.0


class DrainSpool(bootsteps.StartStopStep):
    """Drains FARMHAUL_SPOOL of this host now and then, where it is set."""

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        settings = Settings.from_environment()
        self.enabled = bool(settings.spool)
        if self.enabled:
            spool = Spool(settings.spool)
            record = open_record(settings, worker_redis(settings))
            act = lambda: spool.drain(worker.app, record)  # noqa: E731
            self.periodic = Periodic("drain", INTERVAL_S, act)

    def start(self, worker: Any) -> None:
        """Begin, in the background."""
        del worker
        self.periodic.start()

    def stop(self, worker: Any) -> None:
        """Leave the rest to the next worker, or enqueue, on this host."""
        del worker
        self.periodic.stop()
