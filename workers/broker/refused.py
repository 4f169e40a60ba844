"""The messages that this process has refused: logged and counted together.

Anyone who can write to Redis can put thousands of strings into a queue. Noted one by one, each
would cost a line of the log and five round trips, which good messages wait for.
"""

from __future__ import annotations

import socket
import time
from collections import Counter

import redis
from kombu.utils import json

from tasks.log import log
from tasks.records import refusals
from tasks.records.keys import REFUSALS, TOTALS

#: The first is noted at once; those that follow within this time, together.
EVERY_S = 1.0
#: Reasons that are noted by themselves at a time; those of all other messages are noted as OTHER.
MOST_REASONS = 5
OTHER = "it is malformed"

#: What to do, by words of the reason; the last one is for all others.
STEPS = {
    "key of this node": "compare FARMHAUL_SECRET_KEY of this node with that of the others",
    "by the clock": "set the clocks of this node and of the sender by NTP",
    "": "find out who else writes to Redis",
}
#: How long the last refusal of each node is remembered.
REFUSALS_S = 86400


class Refused:
    """The refused messages that are not noted yet, by reason."""

    def __init__(self) -> None:
        self._waiting: Counter[str] = Counter()
        self._due_at = 0.0

    def add(self, why: str, count: int = 1) -> None:
        """Take in messages that were refused for one reason."""
        is_new = why not in self._waiting
        self._waiting[OTHER if is_new and len(self._waiting) >= MOST_REASONS else why] += count

    def is_due(self, at_once: bool = False) -> bool:
        """Return whether there is something to note now."""
        return bool(self._waiting) and (at_once or time.monotonic() >= self._due_at)

    def note(self, client: redis.Redis) -> None:
        """Log the messages, and count them for the whole farm."""
        waiting, self._waiting = self._waiting, Counter()
        self._due_at = time.monotonic() + EVERY_S
        for why, count in waiting.items():
            _note(client, why, count)


def _note(client: redis.Redis, why: str, count: int) -> None:
    node = socket.gethostname()
    step = next(step for words, step in STEPS.items() if words in why)
    what = "a message" if count == 1 else f"{count} messages"
    log.error("message_refused", count=count, text=f"{node} refuses {what}: {why}; {step}")
    try:
        client.hincrby(TOTALS, "refused", count)
        refusals.note(client, "message", node, why, count)
        client.hset(REFUSALS, node, json.dumps({"at": round(time.time()), "why": why}))
        client.expire(REFUSALS, REFUSALS_S)
    except redis.RedisError:  # Flower's user may not write; a count is not worth a worker
        log.debug("refusal_not_counted")
