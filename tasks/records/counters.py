"""The lifetime counters of the farm, in one hash in Redis.

A field is ``NAME`` or ``NAME:KIND``, such as ``located`` and ``failed:FileRefusedError``. Durations
from enqueue to location are counted by powers of two of a second (``seconds:8``), and added up.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import redis

from tasks.records.keys import TOTALS, to_text

#: The upper bounds of the durations, in seconds, as lua/includes/counters.lua has them.
BOUNDS_S = tuple(2**n for n in range(18))
#: Reported as 0 before they first happen, because a rate needs a first value.
NAMES = (
    *("enqueued", "located", "located_bytes", "stored", "stored_bytes", "cancelled"),
    *("superseded", "claims_lost", "redelivered", "events_dropped", "refused_requests"),
    *("notices_dropped", "repaired", "found"),
)
#: Bounds of what is read. farmhaul stays far below them, but anyone who can write to Redis may not.
MOST_NAMES, MOST_KINDS = 100, 500
#: A name that Prometheus accepts too; other fields of the hash are ignored.
FIELD = re.compile(r"([a-z][a-z_]{0,63})(?::(.{0,100}))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Totals:
    """The counters since the first upload; ``buckets`` are cumulative, as Prometheus wants them."""

    plain: dict[str, int]
    by_kind: dict[str, dict[str, int]]
    buckets: dict[str, int]
    seconds_sum: float


def read(client: redis.Redis) -> Totals:
    """Read all counters by one command, so that they agree with each other."""
    plain = dict.fromkeys(NAMES, 0)
    by_kind: dict[str, dict[str, int]] = {}
    durations: dict[str, int] = {}
    seconds_sum = 0.0
    for name, value in client.hgetall(TOTALS).items():
        match, number = FIELD.fullmatch(to_text(name)), _number(to_text(value))
        if match is None or number is None:
            continue
        if match[1] == "seconds":
            durations[match[2] or ""] = int(number)
        elif match[1] == "seconds_sum":
            seconds_sum = number
        elif match[2] is None:
            if match[1] in plain or len(plain) < MOST_NAMES:
                plain[match[1]] = int(number)
        elif match[1] in by_kind or len(by_kind) < MOST_NAMES:
            kinds = by_kind.setdefault(match[1], {})
            # A metric for each would take the memory of whoever reads them.
            if match[2] in kinds or len(kinds) < MOST_KINDS:
                kinds[match[2]] = int(number)
    buckets, sum_ = {}, 0
    for bound in (*map(str, BOUNDS_S), "+Inf"):
        sum_ += durations.get(bound, 0)
        buckets[bound] = sum_
    return Totals(plain, by_kind, buckets, seconds_sum)


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
