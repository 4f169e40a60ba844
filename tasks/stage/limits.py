"""Rate limits that the whole farm shares: bytes a second sent, and API calls a second.

All workers of all nodes take tokens from one bucket in Redis. FARMHAUL_BANDWIDTH and
FARMHAUL_API_RATE set the limits, and ``farmhaul limit`` overrides them live.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo

import redis

from tasks.config.timetable import Timetable, zone_named
from tasks.records.keys import LIMITS, to_text
from tasks.records.scripts import Scripts

NAMES = ("bandwidth", "api_rate")
#: The field for the zone of all timetables, so that nodes with other zones keep the same hours.
ZONE = "zone"

#: A changed limit takes effect after this time at the latest.
REFRESH_S = 2.0
NEVER = float("-inf")
#: Capacity that was unused for this long may be used at once; more would show as a peak.
BURST_S = 0.1
#: Tokens for bytes are taken in pieces: small ones keep many slow connections moving, large ones
#: spare Redis. At a hundredth of the rate, the whole farm asks at most 100 times a second.
SMALLEST_PIECE_BYTES = 256 << 10
LARGEST_PIECE_BYTES = 4 << 20


class Limits:
    """Keeps the threads of this process within the farm's limits; costs nothing without limits."""

    def __init__(
        self,
        scripts: Scripts,
        defaults: Mapping[str, Timetable],
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._scripts = scripts
        self._defaults = defaults
        self._sleep = sleep
        self._tables = dict(defaults)
        self._zone: tzinfo = UTC
        self._refreshed = NEVER
        self._refreshing = threading.Lock()

    def api_call(self) -> None:
        """Wait until the farm may make one more API call."""
        if rate := self._rate("api_rate"):
            self._wait("api_rate", rate, 1)

    def throttle(self, size_bytes: int) -> Callable[[int], None]:
        """Return a function that a PUT calls with the number of bytes sent so far; it may wait."""
        taken = 0

        def throttled(sent_bytes: int) -> None:
            nonlocal taken
            rate = self._rate("bandwidth")
            if rate is None:
                taken = sent_bytes
            elif taken <= sent_bytes < size_bytes:
                bounded = min(max(rate / 100, SMALLEST_PIECE_BYTES), LARGEST_PIECE_BYTES)
                piece = int(min(bounded, size_bytes - taken))
                taken += piece
                self._wait("bandwidth", rate, piece)

        return throttled

    def _wait(self, bucket: str, rate: float, amount: int) -> None:
        try:
            wait_s = self._take(bucket, rate, amount)
        except redis.RedisError:
            wait_s = amount / rate  # without Redis, each process keeps the limit by itself
        if wait_s:
            self._sleep(wait_s)

    def _take(self, bucket: str, rate: float, amount: int) -> float:
        wait_s = self._scripts.run(
            "take_tokens", bucket=bucket, rate=rate, amount=amount, burst_s=BURST_S
        )
        return float(wait_s)

    def _rate(self, name: str) -> float | None:
        # The first time, all threads wait for the limits: else the others would have none.
        if self._is_stale() and self._refreshing.acquire(blocking=self._refreshed == NEVER):
            try:
                if self._is_stale():  # another thread may have refreshed meanwhile
                    self._refresh()
            finally:
                self._refreshing.release()
        table = self._tables.get(name)
        return table.at(datetime.now(self._zone)) if table else None

    def _is_stale(self) -> bool:
        return time.monotonic() - self._refreshed > REFRESH_S

    def _refresh(self) -> None:
        try:
            live = read_live(self._scripts.client)
            zone = live.pop(ZONE, "UTC")
            tables = {name: Timetable.from_text(value) for name, value in live.items()}
            self._tables = dict(self._defaults) | tables
            self._zone = zone_named(zone)
        except (redis.RedisError, ValueError):
            pass  # the previous limits stay in force
        finally:
            self._refreshed = time.monotonic()


def read_live(client: redis.Redis) -> dict[str, str]:
    """Return the limits that ``farmhaul limit`` has set, and the zone of their times."""
    fields = client.hgetall(LIMITS)
    known = (*NAMES, ZONE)
    return {
        to_text(name): to_text(value) for name, value in fields.items() if to_text(name) in known
    }
