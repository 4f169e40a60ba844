"""Entries of a newer form: a worker cannot read them, so it keeps them for workers that can.

Each version of farmhaul keeps those that it cannot read in a list of its own. A worker of a newer
version takes them in from there; the inbox would hand them to the older workers again. Without a
newer worker they wait, and ``status``, ``doctor`` and a metric say so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import redis

from tasks.config.texts import visible
from tasks.intake.envelope import host_in
from tasks.records.inbox import MAX_BYTES, MAX_ENTRIES
from tasks.records.keys import UNREAD, to_text, unread_key
from tasks.records.nodes import in_order
from tasks.records.scripts import Scripts

#: An entry that nobody can verify is refused if more bytes than this would wait. The others have no
#: bound: in the inbox they would take the same memory, and hold up what is behind them.
MOST_BYTES = 32 << 20
MOST_VERSIONS = 50
#: What Lua reads exactly.
SIZE = re.compile("[0-9]{1,15}")


class Unread(NamedTuple):
    """The entries that a version of farmhaul cannot read; ``host`` sent the oldest one."""

    version: str
    entries: int
    host: str

    @property
    def why(self) -> str:
        """What keeps them waiting and, after ``; ``, what to do."""
        host = self.host or "an unknown host"
        many = "1 entry of a hook waits" if self.entries == 1 else f"{self.entries} entries wait"
        return f"{many} for a worker of a newer version, the oldest from {host}; upgrade workers"


def keep(scripts: Scripts, version: str, entries: Sequence[bytes], *, verified: bool) -> list[int]:
    """Move entries from those that are being taken in to those that *version* cannot read.

    Return the places of those for which there is no room, which stay where they are.
    """
    if not entries:
        return []
    most = None if verified else MOST_BYTES
    return cast("list[int]", scripts.run("keep", *entries, version=version, max_bytes=most))


def take(scripts: Scripts, version: str) -> list[bytes]:
    """Move entries that older versions could not read to those that are being taken in."""
    versions = _versions(scripts)
    older = [name for name in versions if in_order(name) < in_order(version)]
    if not older:
        return []
    bounds = {"max_entries": MAX_ENTRIES, "max_bytes": MAX_BYTES}
    return cast("list[bytes]", scripts.run("take_unread", versions=older, **bounds))


def _versions(scripts: Scripts) -> list[str]:
    """Return the versions that keep something; what somebody else has written there is fixed."""
    # redis-py's types of replies cover asyncio, too.
    client: Any = scripts.client
    try:
        sizes = client.hgetall(UNREAD)
        pipeline = client.pipeline(transaction=False)
        for version in sizes:
            pipeline.llen(unread_key(to_text(version)))
        is_whole = all(pipeline.execute()) and all(
            SIZE.fullmatch(to_text(size)) for size in sizes.values()
        )
    except redis.ResponseError:  # another type
        is_whole = False
    if not is_whole:
        scripts.repair()
        sizes = client.hgetall(UNREAD)
    return [*map(to_text, sizes)]


def unread(client: redis.Redis) -> list[Unread]:
    """Return what each version cannot read, the newest version first."""
    # The exporter's user may use HGETALL, and not HKEYS.
    kept: Any = client.hgetall(UNREAD)
    versions = sorted(map(to_text, kept), key=in_order, reverse=True)
    pipeline = client.pipeline(transaction=False)
    for version in versions[:MOST_VERSIONS]:
        pipeline.llen(unread_key(version))
        pipeline.lindex(unread_key(version), -1)
    found = pipeline.execute(raise_on_error=False)
    rows = zip(versions, found[::2], found[1::2], strict=False)
    return [
        Unread(visible(version), count, host_in(_start(oldest)))
        for version, count, oldest in rows
        if isinstance(count, int) and count
    ]


def _start(entry: bytes | str | None) -> bytes:
    return (entry.encode(errors="replace") if isinstance(entry, str) else entry or b"")[:512]
