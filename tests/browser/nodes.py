"""Nodes that are there as long as Redis is, without a worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import redis

from tasks.records import keys


def keep_noting(client: Any, alive: Sequence[str], taking: Sequence[str]) -> None:
    """Note again and again that these nodes are alive, and that these take tasks."""

    def note() -> None:
        now = client.time()[0]
        client.zadd(keys.ALIVE, dict.fromkeys((f"0.1.0 {name}" for name in alive), now))
        client.zadd(keys.WORKERS, dict.fromkeys(taking, now))

    def repeat() -> None:
        with suppress(redis.RedisError, ValueError):
            while True:
                time.sleep(5)
                note()

    note()
    threading.Thread(target=repeat, name="nodes", daemon=True).start()
