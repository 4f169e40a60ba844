"""Rate limits that the whole farm shares: bytes a second, sent and fetched, and API calls a second.

All workers of all nodes take tokens from one bucket in Redis. FARMHAUL_BANDWIDTH and
FARMHAUL_API_RATE set the limits, and ``farmhaul limit`` overrides them live. A transfer begins only
when those in flight on the whole farm leave some of the bandwidth unused, so with a limit a few
transfers go at full speed, and not many slowly (see ``tasks.stage.line``).
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, tzinfo

import redis

from tasks.config.timetable import Timetable, zone_named
from tasks.records.keys import LIMITS, to_text
from tasks.records.scripts import Scripts
from tasks.stage.line import LOOK_S, Line

NAMES = ("bandwidth", "api_rate")
#: The field for the zone of all timetables, so that nodes with other zones keep the same hours.
ZONE = "zone"

#: A changed limit takes effect after this time and LOOK_S at the latest, in 2 s together.
REFRESH_S = 1.5
NEVER = float("-inf")
#: Capacity that was unused for this long may be used at once; more would show as a peak.
BURST_S = 0.1
#: Tokens for bytes are taken in pieces. Large ones spare Redis: at a hundredth of the rate, the
#: whole farm asks at most 100 times a second. A piece is sent at once, and the connection idles
#: until the next one: so it is at most what the rate gives in PIECE_S.
SMALL_PIECE_BYTES = 256 << 10
LARGEST_PIECE_BYTES = 4 << 20
PIECE_S = 0.5
#: The first piece is so much of a transfer. At the rate of the limit, enough of them still begin.
FIRST_SHARE = 4
#: The next transfer of a process begins when the limit gives the others so much time at most.
OVERLAP_S = 0.25
#: After this time, a process whose transfers follow each other lets another one begin first.
HOLD_S = 5.0


def _piece(rate: float, left_bytes: int) -> int:
    bounded = min(max(rate / 100, SMALL_PIECE_BYTES), LARGEST_PIECE_BYTES, rate * PIECE_S)
    return max(int(min(bounded, left_bytes)), 1)


def _first_piece(rate: float, size_bytes: int) -> int:
    """Return a larger piece: until it is sent, a part is hashed, and perhaps a connection opened.

    No transfer of another process begins before the time of the piece is over.
    """
    share = min(size_bytes / FIRST_SHARE, rate * PIECE_S, LARGEST_PIECE_BYTES)
    return max(int(share), _piece(rate, size_bytes))


class Limits:
    """Keeps the threads of this process within the farm's limits; costs little without limits."""

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
        self._out, self._in = Line(), Line()
        self._process = uuid.uuid4().hex

    def api_call(self) -> None:
        """Wait until the farm may make one more API call."""
        if rate := self._rate("api_rate"):
            self._wait("api_rate", rate, 1)

    @contextmanager
    def transfer(
        self, size_bytes: int, alive: Callable[[], object] = lambda: None
    ) -> Iterator[Callable[[int], int | None]]:
        """Wait until a transfer may begin, and end it on leaving.

        The transfer calls the result before each block, with the number of bytes sent so far. The
        call may wait, and returns the largest size of the block (None: any). ``alive`` is called
        while the transfer waits for its begin, and may raise to stop.
        """
        with self._flight(self._out, self._process, size_bytes, alive) as throttle:
            yield throttle

    @contextmanager
    def download(
        self, size_bytes: int, alive: Callable[[], object] = lambda: None
    ) -> Iterator[Callable[[int], int | None]]:
        """Keep a download within the bandwidth; the result is called as that of ``transfer`` is.

        Without a limit nothing waits. With one, the downloads of a process follow each other: one
        that has begun waits for no other, because the store would close its connection.
        ``size_bytes`` may be wrong: ftrack knows no better.
        """
        begin = end = 0
        inner: Callable[[int], int | None]
        with ExitStack() as turn:

            def throttle(fetched_bytes: int) -> int | None:
                nonlocal begin, end, inner
                if not begin <= fetched_bytes < end:
                    turn.close()
                    begin = end = 0
                    if self._rate("bandwidth") is None:
                        return None
                    left_bytes = size_bytes - fetched_bytes
                    amount = left_bytes if left_bytes > 0 else SMALL_PIECE_BYTES
                    flight = self._flight(self._in, f"{self._process}.in", amount, alive)
                    inner = turn.enter_context(flight)
                    begin, end = fetched_bytes, fetched_bytes + amount
                allowed = inner(fetched_bytes - begin)
                left_bytes = end - fetched_bytes
                return left_bytes if allowed is None else min(allowed, left_bytes)

            yield throttle

    @contextmanager
    def _flight(
        self, line: Line, process: str, size_bytes: int, alive: Callable[[], object]
    ) -> Iterator[Callable[[int], int | None]]:
        taken = asked = 0

        def wait_s(left_bytes: int) -> float:
            nonlocal taken
            if (rate := self._rate("bandwidth")) is None:
                return 0.0
            # The farm's transfers leave nothing of the rate to another one. Those of this process
            # do, if they end so soon that the line would be idle until the next one has begun.
            ends_soon = 0 < left_bytes < rate * OVERLAP_S
            piece = (_piece if ends_soon else _first_piece)(rate, size_bytes)
            held = line.held_s >= HOLD_S
            held_up_s = self._take(
                "bandwidth", rate, piece, if_free=not ends_soon, held=held, process=process
            )
            if held_up_s < 0:  # another process begins first
                return LOOK_S
            if ends_soon and held_up_s:
                self._pause("bandwidth", rate, held_up_s)
            elif held_up_s:
                return held_up_s
            taken = piece
            return 0.0

        def throttle(sent_bytes: int) -> int | None:
            nonlocal taken, asked
            line.moved(flight, sent_bytes)
            rate = self._rate("bandwidth")
            if rate is None or sent_bytes < asked:  # without a limit, or sent once more
                taken = sent_bytes
            asked = sent_bytes
            if rate is None or sent_bytes == size_bytes:
                return None
            if taken <= sent_bytes:
                piece = _piece(rate, size_bytes - sent_bytes)
                taken = sent_bytes + piece
                self._wait("bandwidth", rate, piece)
            return taken - sent_bytes

        flight, is_sent = line.begin(size_bytes, wait_s, alive), False
        try:
            yield throttle
            is_sent = True
        finally:
            line.end(flight, is_sent=is_sent)

    def _wait(self, bucket: str, rate: float, amount: int) -> None:
        if wait_s := self._take(bucket, rate, amount):
            self._pause(bucket, rate, wait_s)

    def _pause(self, bucket: str, rate: float, wait_s: float) -> None:
        """Wait for tokens that were taken at a rate; a limit that changes meanwhile counts."""
        while wait_s > 0:
            self._sleep(step_s := min(wait_s, LOOK_S))
            wait_s -= step_s
            if wait_s <= 0 or (now := self._rate(bucket)) is None:
                return
            wait_s *= rate / now
            rate = now

    def _take(
        self,
        bucket: str,
        rate: float,
        amount: int,
        *,
        if_free: bool = False,
        held: bool = False,
        process: str = "",
    ) -> float:
        """Take tokens; return the seconds to wait before they may be used.

        With ``if_free``, they are taken only if there is nothing to wait for. With ``held``, -1
        tells that the transfer of another ``process`` begins first.
        """
        try:
            wait_s = self._scripts.run(
                "take_tokens",
                bucket=bucket,
                rate=rate,
                amount=amount,
                burst_s=BURST_S,
                if_free=if_free,
                held=held,
                process=process,
            )
        except redis.RedisError:
            # Without Redis, each process keeps the limit by itself.
            cost_s = amount / rate
            if not if_free:
                return cost_s
            self._sleep(cost_s)
            return 0.0
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
