"""The farm's last hour: a sample each minute, for the charts of the page Farm."""

from __future__ import annotations

import json
from contextlib import suppress
from math import isfinite
from typing import Any

import redis

from tasks.records import counters
from tasks.records.keys import HISTORY, state_key
from tasks.records.states import LIVE

#: A sample each minute of the last hour; without workers, they expire.
EACH_S, SAMPLES, LIVES_S = 60, 61, 7200


def note(client: redis.Redis) -> None:
    """Add a sample: what the farm has done since it began, and what it has left to do.

    Its fields are ``at`` (seconds since 1970), the counters ``stored_bytes``, ``located`` and
    ``failed``, and the number of uploads in each live state.
    """
    totals = counters.read(client)
    pipeline = client.pipeline(transaction=False)
    pipeline.time()
    for state in LIVE:
        pipeline.zcard(state_key(state))
    (seconds, _), *counts = pipeline.execute()
    sample = {name: totals.plain[name] for name in ("stored_bytes", "located")}
    sample |= {"at": seconds, "failed": sum(totals.by_kind.get("failed", {}).values())}
    sample |= dict(zip(LIVE, counts, strict=True))
    pipeline.rpush(HISTORY, json.dumps(sample))
    pipeline.ltrim(HISTORY, -SAMPLES, -1)
    pipeline.expire(HISTORY, LIVES_S)
    pipeline.execute()


def read(client: Any) -> list[dict[str, float]]:
    """Return the samples, the oldest first, without odd ones: anybody may have written them."""
    found = []
    for row in client.lrange(HISTORY, -SAMPLES, -1):
        with suppress(ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            sample = {str(name): float(value) for name, value in json.loads(row).items()}
            found += [sample] if "at" in sample and all(map(isfinite, sample.values())) else []
    return found
