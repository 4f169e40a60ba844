"""Events of tasks, by which Flower shows them: those of half a second go out together.

Celery's consumer sends each event as soon as its loop turns: eight messages for a file that comes
alone, two fifths of the CPU time of a worker's main process (py-spy, 2026-11). Flower reads when an
event happened from the event itself, so it shows the same, and at most so much later.
"""

from __future__ import annotations

from typing import Any

from celery.worker.consumer import Consumer

FLUSH_S = 0.5


class Together(Consumer):
    """Celery's consumer of tasks; ``worker_consumer`` in ``workers.config`` names it."""

    hub: Any
    _is_due = False

    def on_send_event_buffered(self) -> None:
        """Have this event and those that follow it sent soon."""
        if self.hub and not self._is_due:
            self._is_due = True
            self.hub.call_later(FLUSH_S, self._flush_events)

    def _flush_events(self) -> None:
        self._is_due = False
        super()._flush_events()

    def on_close(self) -> None:
        """Send what is left: the next connection begins with nothing."""
        self._flush_events()
        super().on_close()

    def stop(self) -> None:
        """Send what is left before Celery says that the worker is offline."""
        self._flush_events()
        super().stop()

    def shutdown(self) -> None:
        """Send what tasks have said that ended meanwhile."""
        self._flush_events()
        super().shutdown()
