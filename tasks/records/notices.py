"""Notices for people that wait to be sent to FARMHAUL_NOTIFY_URL.

The scripts note them in the move that they tell of (``lua/includes/notices.lua``), so none is lost
with a process. One worker at a time sends them. A notice is removed when the receiver has it, so
one may be sent twice, with the same id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from tasks.config.sealing import Codec
from tasks.records.keys import NOTICES, NOTICES_WANTED, NOTIFIER, TOTALS, to_text
from tasks.records.numbers import LATEST_S, number

#: An error has a few hundred characters, and sealed a third more.
MOST_BYTES = 64 << 10
#: Notices are noted for so long after a worker has last said that it sends them.
WANTED_S = 86400
#: The worker that sends keeps the lock; another one takes over after this time. It is longer than
#: a call takes.
LOCK_S = 60
#: What Redis answers for the time that is left to a key which does not expire.
FOR_EVER = -1


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that people want to hear of; ``raw`` is the notice in Redis.

    ``event`` is upload_failed, publish_visible, node_set_aside or node_back. ``subject`` is the id
    of an upload, or the name of a node. ``at`` is in seconds since 1970. ``what`` is what is wrong
    with a node, a key of tasks.records.nodes.MEANINGS.
    """

    raw: bytes | str
    event: str
    subject: str
    at: float
    kind: str
    error: str
    what: str

    @property
    def id(self) -> str:
        """It stays the same when the notice is sent again."""
        raw = self.raw.encode() if isinstance(self.raw, str) else self.raw
        return hashlib.sha256(raw).hexdigest()[:32]


class Notices:
    """The notices that wait, as the worker *name* sees them."""

    def __init__(self, client: redis.Redis, codec: Codec, name: str) -> None:
        self.client = client
        self.codec = codec
        self.name = name

    def want(self) -> None:
        """Say that notices are wanted: from now on they are noted."""
        self.client.set(NOTICES_WANTED, 1, ex=WANTED_S)
        self.client.expire(NOTICES, WANTED_S)

    def may_send(self) -> bool:
        """Say that notices are wanted, and return whether it is this worker that sends them."""
        self.want()
        if to_text(self.client.get(NOTIFIER)) == self.name:
            return bool(self.client.expire(NOTIFIER, LOCK_S))
        left_s: Any = self.client.ttl(NOTIFIER)
        if left_s == FOR_EVER or left_s > LOCK_S:
            self.client.delete(NOTIFIER)  # no worker holds it: somebody else has written it
        return bool(self.client.set(NOTIFIER, self.name, nx=True, ex=LOCK_S))

    def first(self, most: int) -> list[Notice]:
        """Return the oldest notices. What is malformed is removed: anybody may have written it."""
        rows: Any = self.client.zrange(NOTICES, 0, most - 1)
        found = {raw: self._read(raw) for raw in rows}
        self.remove([raw for raw, notice in found.items() if notice is None])
        return [notice for notice in found.values() if notice is not None]

    def remove(self, raws: Sequence[bytes | str], *, lost: bool = False) -> None:
        """Remove notices that were sent; those that are *lost* are counted."""
        if not raws:
            return
        removed = self.client.zrem(NOTICES, *raws)
        if lost and removed:
            self.client.hincrby(TOTALS, "notices_dropped", removed)

    def dropped(self) -> int:
        """Return how many notices were never sent, since the farm was new."""
        return int(number(to_text(self.client.hget(TOTALS, "notices_dropped"))))

    def _read(self, raw: bytes | str) -> Notice | None:
        if len(raw) > MOST_BYTES:
            return None
        try:
            fields = json.loads(raw)
            subject = str(fields.get("id") or fields["node"])
            subject.encode()  # Redis is asked by it, and half a pair of surrogates is no text
            return Notice(
                raw,
                str(fields["event"]),
                subject,
                _time(fields["at"]),
                str(fields.get("kind") or ""),
                self.codec.unseal_text(str(fields.get("error") or "")),
                str(fields.get("what") or ""),
            )
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return None


def _time(value: Any) -> float:
    at = number(value, -1.0, LATEST_S)
    if at < 0:
        raise ValueError("it is no time")
    return at
