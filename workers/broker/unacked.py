"""The unacknowledged messages: which are overdue, and are sent again.

Anyone who can write to Redis can write there too. What is no message is removed and counted.
"""

from __future__ import annotations

import time
from typing import Any

import redis
from kombu.transport import redis as kombu_redis
from kombu.utils import json

from tasks.log import log
from workers.broker import seal
from workers.wording import redis_problem

#: So many overdue messages are looked at together, but larger ones one by one: what they hold is
#: in memory at a time.
OVERDUE_AT_A_TIME = 100
LARGEST_TOGETHER_BYTES = 256 << 10
#: So often before tasks are asked for again.
MOST_TIMES = 20

MALFORMED = "an unacknowledged message is malformed"
#: Nothing has its number: it was acknowledged meanwhile, or somebody has removed it.
GONE = "gone"
#: Removes messages that are still overdue: with the same number, one may have been taken again.
REMOVE = """
local removed = 0
for i = 2, #ARGV do
  local since = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if since and tonumber(since) <= tonumber(ARGV[1]) then
    redis.call('ZREM', KEYS[1], ARGV[i])
    redis.call('HDEL', KEYS[2], ARGV[i])
    removed = removed + 1
  end
end
return removed
"""


class QoS(kombu_redis.QoS):
    """The unacknowledged messages; an entry that is malformed is removed."""

    #: When the oldest of them may be overdue, by time.monotonic().
    _overdue_at = 0.0

    def restore_visible(self, *args: Any, **options: Any) -> None:
        self.channel.note_refused()
        # Redelivery is for workers: Flower's Redis user, for example, may not touch their messages.
        if self.channel.shared_redis is None or time.monotonic() < self._overdue_at:
            return
        try:
            if self._none_is_overdue():
                return
            self._remove_refused()
            super().restore_visible(*args, **options)
        except redis.OutOfMemoryError:
            raise
        except redis.ResponseError as error:
            log.warning("redis_refuses", text=redis_problem(error))

    def _none_is_overdue(self) -> bool:
        """Return whether no message is overdue, and note until when none can be.

        Leases are only ever renewed, and a message that is taken later is due later, apart from
        the difference between the clocks of the workers that take them.
        """
        with self.channel.conn_or_acquire() as client:
            oldest = client.zrange(self.unacked_index_key, 0, 0, withscores=True)
        lease_s = float(self.visibility_timeout)
        left_s = oldest[0][1] + lease_s - time.time() if oldest else lease_s
        self._overdue_at = time.monotonic() + min(left_s, lease_s)
        return bool(left_s > 0)

    def _remove_refused(self) -> None:
        """Remove the overdue messages that every node would refuse, many at a time.

        kombu redelivers one by one. A flood of garbage would hold up what a dead worker has left.
        """
        until, place = time.time() - float(self.visibility_timeout), 0
        keys = (self.unacked_index_key, self.unacked_key)
        with self.channel.conn_or_acquire() as client:
            # Not by EVAL, which a worker's Redis user may not call.
            remove = client.register_script(REMOVE)
            for _ in range(MOST_TIMES):
                tags = client.zrange(
                    keys[0], 0, until, byscore=True, offset=place, num=OVERDUE_AT_A_TIME
                )
                found = self._refused_of(client, tags) if tags else {}
                for why, some in found.items():
                    removed = remove(keys, [until, *some])
                    if removed and why != GONE:  # another worker may do the same
                        self.channel.refuse(why, removed)
                place += len(tags) - sum(map(len, found.values()))
                if len(tags) < OVERDUE_AT_A_TIME:
                    return

    def _refused_of(self, client: Any, tags: list[bytes]) -> dict[str, list[bytes]]:
        """Return those of these messages that every node would refuse, by reason."""
        with client.pipeline() as pipe:
            for tag in tags:
                pipe.hstrlen(self.unacked_key, tag)
            sizes = pipe.execute()
        small = [
            tag for tag, size in zip(tags, sizes, strict=True) if size <= LARGEST_TOGETHER_BYTES
        ]
        texts = client.hmget(self.unacked_key, small) if small else []
        found: dict[str, list[bytes]] = {}
        for tag, text in zip(small, texts, strict=True):
            if why := GONE if text is None else _refusal(text):
                found.setdefault(why, []).append(tag)
        return found

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        try:
            super().restore_by_tag(tag, client, leftmost)
        except (ValueError, TypeError, KeyError, RecursionError):
            with self.channel.conn_or_acquire(client) as connected, connected.pipeline() as pipe:
                self._remove_from_indices(tag, pipe).execute()
            self.channel.refuse(MALFORMED)


def _refusal(text: bytes) -> str:
    """Return why every node would refuse an unacknowledged message; empty if one might take it."""
    try:
        message, _exchange, queue = json.loads(text)
    except seal.MALFORMED:
        return MALFORMED
    why = seal.refusal(message, queue) if isinstance(queue, str) else MALFORMED
    return "" if why in seal.HERE else why
