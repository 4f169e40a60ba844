"""Sends what hooks on this host have spooled while Redis was away."""

from __future__ import annotations

import logging
from typing import Any

from tasks.spool import Spool
from workers.steps.periodic import PeriodicStep

log = logging.getLogger("farmhaul")


class DrainSpool(PeriodicStep):
    """Drains FARMHAUL_SPOOL of this host now and then, where it is set."""

    interval_s = 5.0

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self.enabled = bool(self.settings.spool)
        self._told = False

    def act(self) -> None:
        """Send what there is."""
        try:
            Spool(self.settings.spool).flush(self.worker.app, self.record, self.settings)
            self._told = False
        except OSError as error:
            # Hooks under another user have a spool that only that user can send.
            if not self._told:
                log.warning("spool_not_readable %s: %s", error.filename, error.strerror)
            self._told = True
