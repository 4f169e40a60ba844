"""How many messages, records and requests were refused: of what, why, and on which node.

The farm's totals count them too. The number of fields is bounded, because reasons and the hosts of
requests come from whoever has sent them.
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
LONGEST_NODE, LONGEST_REASON = 64, 100


class Refused(NamedTuple):
    """A count; ``node`` is the one that refused, or for a request the one that asked."""

    what: str
    node: str
    reason: str
    times: int


def note(client: redis.Redis, what: str, node: str, reason: str, count: int = 1) -> None:
    """Count refusals.

    Raises:
        RedisError: they were not counted.
    """
    # Numbers, as in "73 s ago", would make a reason of each.
    why = re.sub(r"\d+", "#", visible(reason))[:LONGEST_REASON]
    field = _field(what, node, why)
    if not client.hexists(REFUSED_BY, field) and client.hlen(REFUSED_BY) >= MOST:
        field = _field(what, OTHER, OTHER)
    client.hincrby(REFUSED_BY, field, count)


def read(client: redis.Redis) -> list[Refused]:
    """Return the counts, the largest first."""
    fields: dict[Any, Any] = client.hgetall(REFUSED_BY)
    found = []
    for field, count in fields.items():
        what, _, rest = to_text(field).partition("|")
        node, _, reason = rest.partition("|")
        if what in WHAT and reason:
            found.append(Refused(what, visible(node), visible(reason), int(number(count))))
    return sorted(found, key=lambda one: (-one.times, one))[: MOST + len(WHAT)]


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
