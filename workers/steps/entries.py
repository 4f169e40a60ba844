"""Turns entries of the inbox into records: checks each, writes its records, and removes it.

    inbox → taking → records → wake-ups → out of taking

An entry leaves ``farmhaul:taking`` last. A worker that dies before leaves it there, and the
reconciler gives it back. Entries of a newer version are kept for workers that can read them
(``tasks.records.unread``). Storage roots are not checked here, because a node that lacks a root
must not refuse what other nodes can read: ``compute_checksum`` checks them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import NamedTuple

import redis
from celery import Celery

from tasks.chain import enqueue
from tasks.intake.envelope import (
    AnotherKeyError,
    EntryRefusedError,
    Envelope,
    NewerError,
    SignedButNoKeyError,
    open_entry,
)
from tasks.intake.fields import MAX_FILES
from tasks.intake.from_wire import from_wire
from tasks.intake.newer import is_newer
from tasks.intake.request import PublishRequest, Request
from tasks.log import log
from tasks.records.commands import LEFT, Commands
from tasks.records.inbox import Inbox
from tasks.records.scripts import Scripts
from workers.steps.refusals import Reason, Refusals, keep

#: The files of a round; what a hook sends in one entry has as many, or is one request.
ROUND_FILES = 10_000


def files_of(request: Request) -> int:
    """Return the number of files that a request asks for."""
    return len(request.files) if isinstance(request, PublishRequest) else 1


class Asked(NamedTuple):
    """A request, with the number of its entry, and the host that asked for it."""

    entry: int
    host: str
    request: Request


class Left(NamedTuple):
    """Entries that are left to other workers."""

    #: They need a key that this worker lacks.
    keyless: list[bytes]
    #: A place in them is taken, as this worker reads paths.
    taken: list[bytes]


class Intake:
    """Turns entries into records."""

    def __init__(
        self,
        app: Celery,
        scripts: Scripts,
        keys: Sequence[bytes],
        path_map: Sequence[tuple[str, str]] = (),
        node: str | None = None,
        *,
        may_lack_key: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare. ``may_lack_key`` tells whether the wrong key may be that of this worker."""
        self.app = app
        self.inbox = Inbox(scripts)
        self.commands = Commands(scripts, path_map, node)
        self.keys = keys
        self.may_lack_key = may_lack_key

    def take_in(self, entries: Sequence[bytes]) -> Left:
        """Take entries in, and return those that are left to other workers."""
        # Counted when an entry leaves: before, it may come back, or go to a newer worker.
        refusals: dict[int, list[Reason]] = {}
        newer: dict[int, NewerError] = {}
        keyless: set[int] = set()
        asked: list[Asked] = []
        files = 0
        may_lack_key = cache(self.may_lack_key)
        for number, entry in enumerate(entries):
            try:
                opened, refusals[number] = self._opened(number, entry)
            except (SignedButNoKeyError, AnotherKeyError) as error:
                if isinstance(error, AnotherKeyError) and not may_lack_key():
                    refusals[number] = [(error.reason, error.host)]
                else:
                    keyless.add(number)
                continue
            except NewerError as error:
                newer[number] = error
                continue
            asked += opened
            files += sum(files_of(one.request) for one in opened)
            if files >= ROUND_FILES:
                # The others do not wait for these: another worker may take them in.
                self.inbox.give_back(entries[number + 1 :])
                entries = entries[: number + 1]
                break
        wanted = {one.entry for one in asked}
        # These go first: if Redis is full, they make room.
        self._remove(entries, refusals.keys() - wanted, refusals)
        full = keep(self.inbox.scripts, entries, newer)
        self._remove(entries, full, full)

        unwritten, taken = set[int](), set[int]()
        if asked:
            unwritten = self._write(asked, refusals, taken)
            self.inbox.forgive([entries[number] for number in unwritten])
        self._remove(entries, wanted - unwritten - taken, refusals)
        return Left(
            [entries[number] for number in sorted(keyless)],
            [entries[number] for number in sorted(taken)],
        )

    def _opened(self, number: int, entry: bytes) -> tuple[list[Asked], list[Reason]]:
        """Return the requests of an entry, and why others of it are refused.

        Raises:
            SignedButNoKeyError, AnotherKeyError, NewerError: this worker can do nothing with it.
        """
        asked: list[Asked] = []
        refused: list[Reason] = []
        host = ""
        try:
            envelope = open_entry(entry, self.keys)
            host = envelope.host
            _read_requests(number, envelope, asked, refused)
        except (SignedButNoKeyError, AnotherKeyError, NewerError):
            raise
        except EntryRefusedError as error:
            return [], [*refused, (error.reason, error.host)]
        except Exception as error:  # the other entries are taken in
            log.exception("unexpected_error", step=type(self).__name__)
            refused.append((f"it cannot be read: {type(error).__name__}", host))
        return asked, refused

    def _write(
        self, asked: Sequence[Asked], refusals: dict[int, list[Reason]], taken: set[int]
    ) -> set[int]:
        """Write records and send wake-ups; return the entries that Redis refused, which stay.

        Add those to *taken* of which another worker is to look at a request.
        """
        try:
            states = enqueue(self.app, self.commands, [one.request for one in asked])
        except (redis.ConnectionError, redis.TimeoutError, redis.OutOfMemoryError):
            raise
        except Exception as error:
            log.exception("unexpected_error", step=type(self).__name__)
            if len(asked) > 1:
                return set[int]().union(*(self._write([one], refusals, taken) for one in asked))
            [one] = asked
            if isinstance(error, redis.RedisError):
                return {one.entry}
            why = f"it cannot be recorded: {type(error).__name__}"
            refusals[one.entry].append((why, one.host))
            return set()
        taken.update(one.entry for one, state in zip(asked, states, strict=True) if state == LEFT)
        return set()

    def _remove(
        self,
        entries: Sequence[bytes],
        numbers: Iterable[int],
        reasons: Mapping[int, Sequence[Reason]],
    ) -> None:
        """Remove entries by their numbers, and count what is refused of them."""
        gone, refusals = sorted(numbers), Refusals()
        for number in gone:
            for reason in reasons[number]:
                refusals.add(*reason)
        self.inbox.remove([entries[number] for number in gone], refused=refusals.count)
        refusals.log()
        with suppress(redis.RedisError):  # a full Redis: the entries are gone, and logged
            refusals.note(self.inbox.scripts.client)


def _read_requests(
    number: int, envelope: Envelope, asked: list[Asked], refused: list[Reason]
) -> None:
    """Add the requests of an entry to ``asked``, and why others are refused to ``refused``.

    Raises:
        NewerError: a newer version has asked.
        EntryRefusedError: it asks for too much.
    """
    host = envelope.host
    files = 0
    for values in envelope.requests:
        try:
            request = from_wire(values)
        except ValueError as error:
            if is_newer(values, error):
                raise NewerError(f"a newer version has asked ({error})", host) from None
            refused.append((str(error), host))
            continue
        files += files_of(request)
        if files > MAX_FILES:
            # A few bytes ask for a sequence: this would take all memory.
            raise EntryRefusedError(f"it has more than {MAX_FILES} files", host)
        # The time as it was said: enqueue.lua recognizes the request by it.
        request = request._replace(
            asked_at=envelope.asked_at, asked_host=host, asked_user=envelope.user
        )
        asked.append(Asked(number, host, request))
