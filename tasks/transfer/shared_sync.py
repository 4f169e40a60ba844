"""One sync of a folder for many threads whose files end at the same time."""

from __future__ import annotations

import threading

from tasks.transfer import durable

#: A sync that takes longer may hang for ever, and its thread is left behind with the lock.
ALONE_S = 15.0


class SharedSync:
    """Syncs a folder for many threads: a sync counts for all who asked before it began."""

    def __init__(self) -> None:
        self._syncing = threading.Lock()
        self._begun = self._covered = 0

    def __call__(self, descriptor: int) -> None:
        """Return once a sync has ended that began after this call.

        Raises:
            OSError: the disk does not take the names.
        """
        asked_after = self._begun
        if not self._syncing.acquire(timeout=ALONE_S):
            durable.sync(descriptor)
            return
        try:
            if self._covered > asked_after:
                return
            self._begun += 1
            durable.sync(descriptor)
            self._covered = self._begun
        finally:
            self._syncing.release()
