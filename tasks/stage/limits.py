"""What the whole farm shares: bytes a second on the line out, and API calls a second.

All workers of all nodes draw from one bucket in Redis. The limits stand in the environment
(FARMHAUL_BANDWIDTH, FARMHAUL_API_RATE), and ``farmhaul limit`` overrides them live.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime

import redis

from tasks.config.timetable import Timetable
from tasks.records.keys import LIMITS, to_text
from tasks.records.record import Record

NAMES = ("bandwidth", "api_calls")

#: A limit that was changed is heeded after this time at the latest.
REFRESH_S = 2.0
#: What was not used lately may be used at once; more would show as a peak on the line.
BURST_S = 0.1
#: Bytes are drawn in pieces: small ones keep many slow connections moving, large ones spare
#: Redis. A hundredth of the rate makes at most 100 draws a second for the whole farm.
SMALLEST_DRAW = 256 << 10
LARGEST_DRAW = 4 << 20


class Limits:
    """Holds the threads of this process to the farm's limits; costs nothing without any."""

    def __init__(
        self,
        record: Record,
        defaults: Mapping[str, Timetable],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._record = record
        self._defaults = defaults
        self._sleep = sleep
        self._tables = dict(defaults)
        self._refreshed = float("-inf")
        self._refreshing = threading.Lock()

    def api_call(self) -> None:
        """Wait until the farm may make one more API call."""
        if rate := self._rate("api_calls"):
            self._wait("api_calls", rate, 1)

    def throttle(self, size_bytes: int) -> Callable[[int], None]:
        """Make what one PUT calls with the bytes it has sent so far; it waits its turn."""
        drawn = 0

        def throttled(sent_bytes: int) -> None:
            nonlocal drawn
            rate = self._rate("bandwidth")
            if rate is None:
                drawn = sent_bytes
            elif drawn <= sent_bytes < size_bytes:
                piece = int(min(max(rate / 100, SMALLEST_DRAW), LARGEST_DRAW, size_bytes - drawn))
                drawn += piece
                self._wait("bandwidth", rate, piece)

        return throttled

    def _wait(self, bucket: str, rate: float, amount: int) -> None:
        try:
            wait_s = float(self._record.run("take_tokens", bucket, rate, amount, BURST_S))
        except redis.RedisError:
            wait_s = amount / rate  # alone, then
        if wait_s:
            self._sleep(wait_s)

    def _rate(self, name: str) -> float | None:
        now = time.monotonic()
        if now - self._refreshed > REFRESH_S and self._refreshing.acquire(blocking=False):
            try:
                self._refresh(now)
            finally:
                self._refreshing.release()
        table = self._tables.get(name)
        return table.at(datetime.now().astimezone()) if table else None

    def _refresh(self, now: float) -> None:
        self._refreshed = now
        try:
            live = read_live(self._record.client)
            tables = {name: Timetable.from_text(value) for name, value in live.items()}
        except (redis.RedisError, ValueError):
            return  # what held so far goes on to hold
        self._tables = dict(self._defaults) | tables


def read_live(client: redis.Redis) -> dict[str, str]:
    """Give the limits that ``farmhaul limit`` has set."""
    fields = client.hgetall(LIMITS)
    return {
        to_text(name): to_text(value) for name, value in fields.items() if to_text(name) in NAMES
    }
