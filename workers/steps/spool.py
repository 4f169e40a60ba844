"""Sends what hooks on this host have spooled while Redis was unreachable."""

from __future__ import annotations

from typing import Any

import redis

from tasks.config.hook_settings import HookSettings
from tasks.intake.deliver import flush_spool
from tasks.intake.inbox import InboxError
from tasks.log import log
from workers.steps.periodic import PeriodicStep


class FlushSpool(PeriodicStep):
    """Sends this host's FARMHAUL_SPOOL to the inbox every few seconds, if it is set."""

    interval_s = 5.0

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self.enabled = bool(self.settings.spool)
        self.hook_settings = HookSettings.from_environment()
        self._said: set[str] = set()
        self._reported = False

    def act(self) -> None:
        """Send what is spooled; log an unreadable spool, and each unreadable file, once."""
        try:
            flush_spool(self.hook_settings, self._say)
            self._reported = False
        except InboxError as error:
            raise redis.ConnectionError(str(error)) from None
        except OSError as error:
            # If hooks run as another user, only that user can read their spool.
            if not self._reported:
                log.warning("spool_not_readable", path=error.filename, text=str(error.strerror))
            self._reported = True

    def _say(self, text: str) -> None:
        if text not in self._said:
            log.warning("spool_unreadable", text=text)
        self._said.add(text)
