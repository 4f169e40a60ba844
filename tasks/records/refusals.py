"""How many messages, records and requests were refused: of what, why, and on which node.

The farm's totals count them too. The number of fields is bounded, because reasons and the hosts of
requests come from whoever has sent them. A day after the last of them, a count is forgotten: what
was wrong then is over.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any, NamedTuple

import redis

from tasks.config.texts import visible
from tasks.records.keys import REFUSALS, REFUSED_BY, to_text
from tasks.records.numbers import number

#: What is refused.
WHAT = ("message", "record", "request")
#: As many different ones are counted by themselves; the others together.
MOST = 500
OTHER = "other"
#: How long a count is kept after the last refusal.
KEPT_S = 86400
#: How the field begins that has the time of the last refusal, by Redis' clock.
AT = "at|"
#: By how much Redis' clock may differ from that of the Redis before a failover.
CLOCKS_S = 300
LONGEST_NODE, LONGEST_REASON = 64, 100


class Refused(NamedTuple):
    """A count; ``node`` is the one that refused, or for a request the one that asked.

    ``age_s`` is how long ago the last one was refused.
    """

    what: str
    node: str
    reason: str
    times: int
    age_s: float


def note(client: redis.Redis, what: str, node: str, reason: str, count: int = 1) -> None:
    """Count refusals.

    Raises:
        RedisError: they were not counted.
    """
    # Numbers, as in "73 s ago", would make a reason of each.
    why = re.sub(r"\d+", "#", visible(reason))[:LONGEST_REASON]
    field = _field(what, node, why)
    now, _ = client.time()
    if not _is_recent(client.hget(REFUSED_BY, AT + field), now):
        _forget_old(client, now)
        if client.hlen(REFUSED_BY) >= 2 * MOST:
            field = _field(what, OTHER, OTHER)
    pipeline = client.pipeline()
    pipeline.hincrby(REFUSED_BY, field, count)
    pipeline.hset(REFUSED_BY, AT + field, now)
    pipeline.execute()


def read(client: redis.Redis) -> list[Refused]:
    """Return the counts of the last day, the largest first."""
    now, _ = client.time()
    fields = _fields(client)
    found = []
    for field, count in fields.items():
        what, _, rest = field.partition("|")
        node, _, reason = rest.partition("|")
        at = fields.get(AT + field)
        if what in WHAT and reason and _is_recent(at, now):
            age_s = max(now - number(at), 0)
            times = int(number(count))
            found.append(Refused(what, visible(node), visible(reason), times, age_s))
    return sorted(found, key=lambda one: (-one.times, one))[: MOST + len(WHAT)]


def _fields(client: redis.Redis) -> dict[str, str]:
    fields: dict[Any, Any] = client.hgetall(REFUSED_BY)
    return {to_text(field): to_text(value) for field, value in fields.items()}


def _is_recent(at: Any, now: int) -> bool:
    # Somebody else may have written a time to come; that of another Redis differs by seconds.
    return at is not None and -CLOCKS_S < now - number(to_text(at)) < KEPT_S


def _forget_old(client: redis.Redis, now: int) -> None:
    fields = _fields(client)
    kept = {field for field in fields if _is_recent(fields.get(AT + field), now)}
    kept |= {AT + field for field in kept}
    if old := fields.keys() - kept:
        client.hdel(REFUSED_BY, *old)


def of_requests(client: redis.Redis) -> list[Refused]:
    """Return the counts of requests of hooks alone, the largest first."""
    return [one for one in read(client) if one.what == "request"]


def last_messages(client: redis.Redis) -> list[tuple[str, float, str]]:
    """Return each host that has refused a message in the last day, when the last one, and why."""
    found = []
    notes: dict[Any, Any] = client.hgetall(REFUSALS)
    for host, text in sorted((to_text(host), to_text(text)) for host, text in notes.items()):
        # Anybody may have written it.
        with suppress(ValueError, LookupError, TypeError, RecursionError):
            note = json.loads(text)
            found.append((visible(host), number(note["at"]), visible(str(note["why"]))))
    return found


def _field(what: str, node: str, reason: str) -> str:
    name = visible(node or "unknown").replace("|", "/")
    return f"{what}|{name[:LONGEST_NODE]}|{reason}"
