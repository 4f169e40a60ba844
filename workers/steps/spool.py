"""Enqueues the requests that hooks on this host spooled while Redis was unreachable."""

from __future__ import annotations

from typing import Any

from tasks.log import log
from tasks.records.commands import Commands
from tasks.spool import Spool
from workers.steps.periodic import PeriodicStep


class FlushSpool(PeriodicStep):
    """Flushes this host's FARMHAUL_SPOOL every few seconds, if it is set."""

    interval_s = 5.0

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self.enabled = bool(self.settings.spool)
        self._reported = False

    def act(self) -> None:
        """Enqueue what is spooled; log an unreadable spool once."""
        try:
            commands = Commands(self.record.scripts)
            Spool(self.settings.spool).flush(self.worker.app, commands, self.settings)
            self._reported = False
        except OSError as error:
            # If hooks run as another user, only that user can read their spool.
            if not self._reported:
                log.warning("spool_not_readable", path=error.filename, text=str(error.strerror))
            self._reported = True
