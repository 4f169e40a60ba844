"""Nodes: the workers of the farm, by name (``celery@host``), as they note themselves in Redis."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import redis

from tasks.config.sealing import UNREADABLE, Codec
from tasks.records.keys import ALIVE, LEFT_TO_OTHERS, OWN_QUEUES, PAUSED, gate_key, to_text
from tasks.records.numbers import number
from tasks.records.states import SERVICES, STAGES

if TYPE_CHECKING:
    from packaging.version import Version

#: A worker that has not taken tasks for this long is gone, in seconds.
WORKER_S = 30
#: So long after its last note a worker may come back, such as after a restart of all. Until then,
#: nothing fails that it might do.
RETURN_S = 120

#: Behind the name of a worker that takes what its host alone sees: nothing else is left to it.
IS_LOCAL = " local"

#: What may be wrong with a node.
MEANINGS = {
    "files": "cannot read files that other nodes read",
    "locations": "does not know a location as other nodes do",
    "records": "cannot open what other nodes have sealed",
    "ftrack": "cannot call ftrack",
    "store": "cannot send files to the media store",
    "clock": "has a wrong clock",
    "version": "has another version of farmhaul than most nodes",
    **dict.fromkeys(STAGES, "fails where other nodes do not"),
}

#: What a fault keeps a node from: all uploads that all nodes see; all of them, until the next
#: probe of a service that failed on this node alone; some of them, which it leaves to others; or
#: none that is known.
Extent: TypeAlias = "Literal['all', 'held', 'some', 'none']"
EXTENTS = ("all", "held", "some", "none")
#: So many uploads that other nodes managed within this time are no chance, in seconds.
SOME, SOME_S = 3, 900


@dataclass(frozen=True, slots=True)
class NodeFault:
    """A node that cannot do what other nodes can.

    ``what`` is a key of MEANINGS. ``known`` is true if the node itself has found the fault, and
    false if it failed what other nodes managed. ``until`` is when a held node tries again, and when
    one that leaves some uploads to others has last done so; ``count`` is how many these are. Times
    are in seconds since 1970.
    """

    name: str
    since: float
    what: str
    error: str
    known: bool
    extent: Extent = "all"
    until: float = 0.0
    count: int = 0

    @property
    def why(self) -> str:
        """What is wrong with it, in words that continue its name."""
        if self.extent == "held":
            return f"{MEANINGS[self.what]}, unless {self.what} is down"
        meaning = MEANINGS.get(self.what, f"fails ({self.what})")
        # What farmhaul does next about the upload is of no use here.
        parts = self.error.removeprefix(f"on {self.name}: ").split("; ")
        error = "; ".join(part for part in parts if not part.startswith("farmhaul "))
        return f"{meaning}: {error}" if error and error != UNREADABLE else meaning


def heard_lately(client: redis.Redis, key: str, most: int = 0) -> list[str]:
    """Return the entries of WORKERS or ALIVE that count, the latest one last; 0 stands for all.

    What is noted for the future was written by somebody else: the scripts do not believe it either.
    """
    now, _ = client.time()
    found: Any = client.zrange(key, 0, most - 1, desc=True, withscores=True)
    return [to_text(entry) for entry, at in reversed(found) if abs(at - now) < WORKER_S]


def hosts_with_workers(client: redis.Redis) -> set[str]:
    """Return the hosts on which workers run, or from whose queue one takes."""
    # An entry of ALIVE is a version, a space and a name. A worker that is not there keeps no queue:
    # anyone who can write to Redis can note any number of them.
    names = [to_text(entry).partition(" ")[2] for entry in client.zrange(ALIVE, 0, -1)]
    queues: Any = client.hmget(OWN_QUEUES, names) if names else []
    return {name.partition("@")[2] for name in names} | {
        to_text(queue).partition(".")[2] for queue in queues
    }


def are_other_hosts(client: redis.Redis, name: str) -> bool:
    """Return whether workers run on other hosts than that of this worker.

    If Redis is away, there may be some.
    """
    host = name.partition("@")[2]
    with suppress(redis.RedisError):
        return any(row.partition("@")[2] != host for row in heard_lately(client, ALIVE))
    return True


def node_faults(client: redis.Redis, codec: Codec) -> list[NodeFault]:
    """Return the running nodes that cannot do what others can, each with its worst fault.

    Those that take no uploads come first, as only the first ones may be shown.
    """
    now, _ = client.time()
    rows = heard_lately(client, ALIVE)
    # In the order of time, so that an upgraded worker counts with its new version.
    versions = {name: version for version, _, name in (row.partition(" ") for row in rows)}
    alive = sorted(versions)
    aside, some = (
        {to_text(name): note for name, note in client.hgetall(key).items()}
        for key in (PAUSED, LEFT_TO_OTHERS)
    )
    found = {name: noted_fault(name, aside[name], codec) for name in alive if name in aside}
    for fault in _held(client, [name for name in alive if name not in found], now):
        found.setdefault(fault.name, fault)
    for name in alive:
        fault = noted_fault(name, some.get(name, b""), codec, "some")
        if fault.count >= SOME and fault.until > now - SOME_S:
            found.setdefault(name, fault)
    for fault in _of_other_version(versions):
        found.setdefault(fault.name, fault)
    return sorted(found.values(), key=lambda fault: (EXTENTS.index(fault.extent), fault.name))


def _of_other_version(versions: Mapping[str, str]) -> Iterator[NodeFault]:
    """Return the nodes that have another version than most; of two as common ones, the older."""
    counts = Counter(versions.values())
    if len(counts) == 1:
        return
    usual = max(counts, key=lambda version: (counts[version], in_order(version)), default="")
    for name, version in versions.items():
        if version != usual:
            error = f"{version} and not {usual}"
            yield NodeFault(name, 0.0, "version", error, known=True, extent="none")


def in_order(version: str) -> Version:
    """Return what compares as versions do: 1.0rc1 is before 1.0. What is no version comes first."""
    # Imported late, because most farms have one version. celery[redis] needs it, too.
    from packaging.version import Version

    try:
        return Version(version)
    except ValueError:  # anybody may have written it
        return Version("0.dev0")


def _held(client: redis.Redis, names: list[str], now: float) -> Iterator[NodeFault]:
    """Return the nodes that wait for a service that failed on them alone."""
    pipeline = client.pipeline(transaction=False)
    for service in SERVICES:
        pipeline.hmget(gate_key(service), "since", *(f"until:{name}" for name in names))
    for service, (since, *times) in zip(SERVICES, pipeline.execute(), strict=True):
        what = "ftrack" if service == "credentials" else service
        for name, until in zip(names, times, strict=True):
            if now < number(until, 0.0, 2.0**33):
                begun = number(since, 0.0, 2.0**33)
                held = NodeFault(name, begun, what, "", known=False, extent="held")
                yield replace(held, until=number(until))


def noted_fault(name: str, note: bytes | str, codec: Codec, extent: Extent = "all") -> NodeFault:
    """Return the fault of a node from its note in Redis. Anybody may have written the note."""
    try:
        fields: Any = json.loads(note)
        return NodeFault(
            name,
            number(fields.get("since"), 0.0, 2.0**33),
            str(fields.get("what")),
            codec.unseal_text(to_text(fields.get("error"))),
            known=bool(fields.get("known")),
            extent=extent,
            until=number(fields.get("last"), 0.0, 2.0**33),
            count=int(number(fields.get("count"))),
        )
    except (ValueError, TypeError, AttributeError, RecursionError):
        return NodeFault(name, 0.0, "unknown", "", known=False, extent=extent)
