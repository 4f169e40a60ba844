"""What a worker does not take in: refused requests, and those of newer versions, which are kept."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, TypeAlias

import redis

from tasks.intake.envelope import NewerError
from tasks.log import log
from tasks.records import unread
from tasks.records.refusals import note as note_refused
from tasks.records.scripts import Scripts

#: What this version cannot read, it keeps for newer ones.
VERSION = version("farmhaul")
#: A flood of refused entries fills the log with so many lines a round, of so many hosts each.
MOST_REASONS, MOST_HOSTS, LONGEST_REASON = 5, 5, 200

#: Why something is refused, and the host that asked for it.
Reason: TypeAlias = "tuple[str, str]"


class Refusals:
    """The requests that were refused or kept, by reason and host."""

    def __init__(self) -> None:
        self.count = 0
        self._hosts: dict[str, list[str]] = defaultdict(list)

    def add(self, reason: str, host: str) -> None:
        self.count += 1
        self._hosts[reason[:LONGEST_REASON]].append(host or "unknown")

    def note(self, client: redis.Redis) -> None:
        """Count those of the first reasons, by the host that asked."""
        for reason, hosts in [*self._hosts.items()][:MOST_REASONS]:
            for host, count in Counter(hosts).most_common(MOST_HOSTS):
                note_refused(client, "request", host, reason, count)

    def log(self) -> None:
        """Write a line for each reason."""
        for fields in self._lines():
            log.error("requests_refused", **fields)

    def log_kept(self) -> None:
        """Write a line for each reason why requests are kept."""
        for fields in self._lines():
            log.error("requests_kept", **fields)

    def _lines(self) -> Iterator[dict[str, Any]]:
        for reason, hosts in [*self._hosts.items()][:MOST_REASONS]:
            names = sorted(set(hosts))
            shown = ",".join([*names[:MOST_HOSTS], *(["…"] if names[MOST_HOSTS:] else [])])
            yield {"count": len(hosts), "hosts": shown, "text": reason}


def keep(
    scripts: Scripts, entries: Sequence[bytes], newer: Mapping[int, NewerError]
) -> dict[int, list[Reason]]:
    """Keep the entries of newer versions, by their numbers, for workers of these versions.

    Return by number why the others are refused: nobody can verify them, and there is no room.
    """
    full: dict[int, list[Reason]] = {}
    for verified in (True, False):
        some = [number for number, error in newer.items() if error.is_verified == verified]
        found = [entries[number] for number in some]
        for place in unread.keep(scripts, VERSION, found, verified=verified):
            error = newer[some[place]]
            why = f"{error.reason}, and too many such entries wait"
            full[some[place]] = [(why, error.host)]
    kept = Refusals()
    for number in newer.keys() - full.keys():
        error = newer[number]
        kept.add(f"{error.reason}: it waits for a worker of that version", error.host)
    kept.log_kept()
    return full
