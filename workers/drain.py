"""Sends what hooks on this host have spooled while Redis was away."""

from __future__ import annotations

from typing import Any

from tasks.spool import Spool
from workers.periodic import PeriodicStep


class DrainSpool(PeriodicStep):
    """Drains FARMHAUL_SPOOL of this host now and then, where it is set."""

    interval_s = 5.0

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self.enabled = bool(self.settings.spool)

    def act(self) -> None:
        """Send what there is."""
        Spool(self.settings.spool).drain(self.worker.app, self.record, self.settings)
