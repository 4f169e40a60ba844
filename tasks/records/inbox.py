"""The inbox as workers use it: they take entries, and remove each once its requests have records.

An entry is in ``farmhaul:inbox`` until a worker takes it, and then in ``farmhaul:taking``, which
all workers share. If the worker dies, the reconciler gives the entry back. An entry may therefore
be taken in twice, which changes nothing: ``enqueue.lua`` recognizes the request.

The entry itself may be what the worker died of. If it comes back again, it is taken in alone, so
that it takes no other with it, and at last it is refused.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

import redis

from tasks.intake.inbox import INBOX
from tasks.records.keys import RETURNED, TAKING, to_text
from tasks.records.numbers import number
from tasks.records.scripts import Scripts

#: The bounds of what a worker takes in at once, so that a round takes about a second.
MAX_ENTRIES = 500
MAX_BYTES = 1 << 20

#: When a worker that has not finished with an entry is taken for dead. A large entry takes longer:
#: a publish of 100,000 frames has 2.8 MB, and takes from 15 s to a minute on a busy machine.
OVERDUE_S = 10.0
BYTES_A_SECOND = 25_000
#: An entry that has come back from so many workers is taken in alone, and at last refused. After an
#: outage of Redis, each entry that a worker held comes back once. A worker that dies with many
#: entries has died of one of them at most, so only what was taken in alone is counted further.
ALONE_RETURNS = 2
MAX_RETURNS = 5
#: How many of the oldest entries the reconciler looks at each second, so that it blocks Redis for
#: a few milliseconds at most.
OLDEST = 100
OLDEST_BYTES = 8 << 20

#: When an entry says that it was made; an entry whose beginning looks otherwise has no age.
_ASKED_AT = re.compile(rb'"asked_at":(\d{1,11}(?:\.\d{1,9})?)[,}]')


class Inbox:
    """Takes entries from the inbox; one instance a thread, because ``take`` blocks its connection.

    A client's ``socket_timeout`` must be longer than ``wait_s``.
    """

    def __init__(self, scripts: Scripts) -> None:
        self.scripts = scripts

    def take(self, wait_s: float) -> list[bytes]:
        """Wait for an entry, and return it with those behind it; after *wait_s*, return none."""
        # redis-py's types of replies cover asyncio, too.
        client: Any = self.scripts.client
        try:
            first = client.blmove(INBOX, TAKING, wait_s, "RIGHT", "LEFT")
        except redis.OutOfMemoryError:
            # The script may take entries nevertheless. Those that are refused make room.
            return self._take_more(MAX_ENTRIES, MAX_BYTES)
        if first is None:
            return []
        return [first, *self._take_more(MAX_ENTRIES - 1, MAX_BYTES - len(first))]

    def _take_more(self, max_entries: int, max_bytes: int) -> list[bytes]:
        if max_bytes <= 0:
            return []
        return cast(
            "list[bytes]", self.scripts.run("take", max_entries=max_entries, max_bytes=max_bytes)
        )

    def divided(self, entries: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Return the entries to take in together, and those to take in one by one."""
        client: Any = self.scripts.client
        counts = [number(count) for count in client.hmget(RETURNED, [*map(_mark, entries)])]
        rows = list(zip(entries, counts, strict=True))
        return (
            [entry for entry, count in rows if count < ALONE_RETURNS],
            [entry for entry, count in rows if count >= ALONE_RETURNS],
        )

    def note_alone(self, entry: bytes) -> None:
        """Count that an entry is taken in alone: if this worker dies now, it is the cause."""
        # A full Redis refuses this, and the entry as well. Or somebody has put no integer there.
        with suppress(redis.ResponseError):
            self.scripts.client.hincrby(RETURNED, _mark(entry), 1)

    def forgive(self, entries: Sequence[bytes]) -> None:
        """Forget that entries have come back: no worker died of them."""
        if entries:
            self.scripts.client.hdel(RETURNED, *map(_mark, entries))

    def remove(self, entries: Sequence[bytes], refused: int = 0) -> None:
        """Remove entries: their requests have records, or were *refused*, which is counted."""
        if entries or refused:
            self.scripts.run("taken", *entries, refused=refused)

    def length(self) -> int:
        """Return how many entries wait."""
        return int(self.scripts.client.llen(INBOX))

    def give_back(self, entries: Sequence[bytes]) -> None:
        """Put entries back into the inbox, behind all others."""
        if entries:
            self.scripts.run("taken", *entries, refused=0, give_back=True)


def _mark(entry: bytes) -> str:
    """Return the mark of an entry, as ``oldest_taken.lua`` makes it."""
    return hashlib.sha1(entry[:512], usedforsecurity=False).hexdigest()


class Returned(NamedTuple):
    """How many entries went back to the inbox, and how those begin that are refused instead."""

    entries: int
    refused: list[bytes]


class Overdue:
    """Gives entries back whose worker has died; for the process that holds the reconciler's lock.

    Entries do not say when they were taken, so this process notes when it first saw them.
    """

    def __init__(self, scripts: Scripts, clock: Callable[[], float] = time.monotonic) -> None:
        self.scripts = scripts
        self._clock = clock
        #: For each mark (see ``oldest_taken.lua``): when it becomes overdue.
        self._due: dict[str, float] = {}

    def give_back(self) -> Returned:
        """Give back what has been there for too long; refuse what has come back too often."""
        now = self._clock()
        overdue = [mark for mark, due in self._due.items() if due <= now]
        given_back, rows, refused = self.scripts.run(
            "oldest_taken",
            overdue=overdue,
            alone_returns=ALONE_RETURNS,
            max_returns=MAX_RETURNS,
            max_entries=OLDEST,
            max_bytes=OLDEST_BYTES,
        )
        found = {
            to_text(mark): now + OVERDUE_S + number(size) / BYTES_A_SECOND for mark, size in rows
        }
        # What is not there any more was taken in.
        self._due = {mark: self._due.get(mark, due) for mark, due in found.items()}
        return Returned(int(given_back), refused)

    def forget(self) -> None:
        """Forget what was seen: another process holds the lock."""
        self._due.clear()


class Waiting(NamedTuple):
    """What is not taken in yet: the number of entries, and the age of the oldest in seconds.

    An entry is what one hook has sent: up to 500 requests. The age is by the clock of that hook;
    it is None if there is no entry, or if the oldest one does not say when it was made.
    """

    entries: int
    oldest_s: float | None


def waiting(client: redis.Redis) -> Waiting:
    """Count the entries that are not taken in yet."""
    pipeline = client.pipeline(transaction=False)
    pipeline.time()
    for key in (INBOX, TAKING):
        pipeline.llen(key)
        pipeline.lindex(key, -1)
    (seconds, micros), in_inbox, first, in_taking, second = pipeline.execute()
    now = seconds + micros / 1e6
    ages = [now - float(asked[1]) for asked in map(_asked_at, (first, second)) if asked]
    return Waiting(in_inbox + in_taking, max(0.0, *ages) if ages else None)


def _asked_at(entry: bytes | str | None) -> re.Match[bytes] | None:
    start = (entry or b"")[:2048]
    return _ASKED_AT.search(start if isinstance(start, bytes) else start.encode())
