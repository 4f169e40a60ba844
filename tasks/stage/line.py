"""The line out of this process: how many transfers are in flight at a time.

The next transfer begins only when those in flight have few bytes left, compared with how fast the
line has been. On a fast line that holds nothing up. On a slow one, transfers finish one after the
other instead of sharing the line: no connection idles so long that the store gives it up, the
progress can be seen, and a killed worker has little to send again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from tasks.transfer.put import BLOCK_BYTES

#: The bytes that may be in flight however slow the line is: some small files, or one larger one.
LEAST_BYTES = 1 << 20
#: The next transfer begins when those in flight need so much time at most.
OVERLAP_S = 2.0
#: The speed is measured over this time; of a line that has just become busy, over less.
SPAN_S = 3.0
#: What the kernel takes at once, before a byte is on the wire, must not look like speed.
LEAST_SPAN_S = 0.5
#: Bytes are counted in slots of this time.
SLOT_S = 0.1
#: A transfer that has not moved for this long may hang, and does not hold up others.
STALLED_S = 5.0
#: The same for a file that is sent as one block: it shows no move before the store has answered.
WHOLE_STALLED_S = 30.0
#: A transfer that waits says this often that it is alive, and looks whether it may begin.
LOOK_S = 0.25


class Flight:
    """A transfer in flight: the bytes that are left, and when some were last sent."""

    def __init__(self, size_bytes: int, now: float) -> None:
        self.size_bytes = self.left_bytes = size_bytes
        self.moved_at = now
        self.patience_s = WHOLE_STALLED_S if size_bytes <= BLOCK_BYTES else STALLED_S


class Line:
    """All threads of the process begin, move and end their transfers on it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: Held by the thread whose transfer is the next one.
        self._next = threading.Lock()
        self._changed = threading.Condition()
        self._flights: set[Flight] = set()
        self._slots: deque[tuple[float, int]] = deque()
        self._busy_since = self._begun_at = self._held_since = self._ended_at = clock()
        self._bytes_s = 0.0

    def begin(
        self,
        size_bytes: int,
        wait_s: Callable[[int], float] = lambda _left_bytes: 0.0,
        alive: Callable[[], object] = lambda: None,
    ) -> Flight:
        """Wait until one more transfer may begin.

        ``wait_s`` gets the bytes that are left of the others, and returns how long a limit still
        holds the transfer back. ``alive`` is called while it waits, and may raise to stop.
        """
        while not self._next.acquire(timeout=LOOK_S):
            alive()
        try:
            while True:
                held_up_s = wait_s(self.left_bytes) if self._has_room(size_bytes) else LOOK_S
                if not held_up_s:
                    return self._take_off(size_bytes)
                with self._changed:
                    self._changed.wait(min(held_up_s, LOOK_S))
                alive()
        finally:
            self._next.release()

    def moved(self, flight: Flight, sent_bytes: int) -> None:
        """Note how many bytes of a transfer have been sent so far."""
        now = self._clock()
        with self._changed:
            left_bytes = flight.size_bytes - sent_bytes
            self._count(now, flight.left_bytes - left_bytes)
            flight.left_bytes, flight.moved_at = left_bytes, now
            self._changed.notify()

    def end(self, flight: Flight, *, is_sent: bool = False) -> None:
        """Note that a transfer has ended; if all is sent, its last block has now left the kernel.

        That block is all there is of a small file.
        """
        now = self._clock()
        with self._changed:
            if is_sent:
                self._count(now, flight.left_bytes)
            self._flights.discard(flight)
            self._ended_at = now
            self._changed.notify()

    @property
    def left_bytes(self) -> int:
        """The bytes that are left of the transfers that move."""
        with self._changed:
            return sum(flight.left_bytes for flight in self._moving(self._clock()))

    @property
    def held_s(self) -> float:
        """How long the transfers of this process have followed each other without a pause."""
        now = self._clock()
        with self._changed:
            return 0.0 if self._has_paused(now) else now - self._held_since

    def _has_paused(self, now: float) -> bool:
        return not self._flights and now - self._ended_at > LOOK_S

    def _moving(self, now: float) -> list[Flight]:
        return [flight for flight in self._flights if now - flight.moved_at < flight.patience_s]

    def _take_off(self, size_bytes: int) -> Flight:
        now = self._clock()
        flight = Flight(size_bytes, now)
        with self._changed:
            if self._has_paused(now):
                self._held_since = now
            if not self._flights:
                self._busy_since = now
            self._flights.add(flight)
            self._begun_at = now
        return flight

    def _has_room(self, size_bytes: int) -> bool:
        now = self._clock()
        with self._changed:
            if not self._flights:
                return True
            if not (moving := self._moving(now)):
                return now - self._begun_at >= STALLED_S
            left_bytes = sum(flight.left_bytes for flight in moving)
            self._measure(now)
            ends_soon = left_bytes <= self._bytes_s * OVERLAP_S
            return ends_soon or left_bytes + size_bytes <= LEAST_BYTES

    def _count(self, now: float, sent_bytes: int) -> None:
        if sent_bytes <= 0:  # the transfer has started again
            return
        if self._slots and now - self._slots[-1][0] < SLOT_S:
            at, before = self._slots[-1]
            self._slots[-1] = (at, before + sent_bytes)
        else:
            self._measure(now)
            self._slots.append((now, sent_bytes))

    def _measure(self, now: float) -> None:
        while self._slots and now - self._slots[0][0] > SPAN_S:
            self._slots.popleft()
        busy_s = now - self._busy_since if self._flights else 0.0
        first_at = self._slots[0][0] if self._slots else now
        since_s = now - min(self._busy_since, first_at)
        span_s = min(max(since_s, LEAST_SPAN_S), SPAN_S)
        bytes_s = sum(sent_bytes for _, sent_bytes in self._slots) / span_s
        # A line that had nothing to do has not become slower.
        self._bytes_s = bytes_s if busy_s >= SPAN_S else max(self._bytes_s, bytes_s)
