"""``farmhaul watch``: show uploads as they change, polled every second.

Only what the screen shows is read, so that ten thousand uploads cost Redis no more than twenty:
about 20 commands per second, and one for each row (a test counts them).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

import click
import redis

from tasks.intake.errors import BadInputError
from tasks.intake.exit_codes import FAILED, say
from tasks.records.fetches import Fetches
from tasks.records.inbox import waiting
from tasks.records.keys import state_key, to_text
from tasks.records.states import UPLOAD_STATES
from tasks.records.status import Status, answers
from tasks.records.upload_state import UploadState
from tasks.transfer.targets import is_uuid
from workers.cli import output
from workers.cli.query import find, none_known, not_uploads, query_of, query_options, with_whole_ids
from workers.cli.records import open_records
from workers.cli.watch_fetches import watch_fetches
from workers.cli.watch_table import WatchTable
from workers.wording import clock, first_lines, may_pass, redis_problem, troubles

INTERVAL_S = 1.0
#: As many moves of each state are read in a poll.
MOST_MOVES = 10_000
#: As many reasons are written below the table when it ends.
MOST_REASONS = 20
#: The records of as many uploads that were found by words are read in a poll.
MOST_WATCHED = 2000


class Changes(NamedTuple):
    """The uploads that changed since the last poll, and whether there is nothing left to watch."""

    uploads: list[UploadState]
    all_ended: bool


Poll = Callable[[], Changes]


@click.command()
@click.argument("words", nargs=-1, metavar="[UPLOAD_ID | PATH | WORD]...")
@query_options
@output.form_option("lines")
def watch(words: tuple[str, ...], form: str, **asked: str | None) -> None:
    """Show uploads as they change.

    If you name uploads, downloads (fetch --enqueue), or what farmhaul status finds, exits when they
    have ended. Otherwise, shows all uploads until Ctrl-C.

    \b
    farmhaul watch
    farmhaul watch 5d27e920-…
    farmhaul watch sh020 --since 2h

    On a terminal, shows a table. Otherwise, prints a line whenever an upload changes its state,
    a gate closes or opens, or a node has a fault.
    """  # noqa: D301 click takes \b for "do not wrap"
    scripts = open_records()
    status = Status(scripts.client, scripts.codec)
    upload_ids: Sequence[str] = with_whole_ids(scripts, words)
    words = tuple(upload_ids)
    terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    fetches = Fetches(scripts)
    if words and (downloads := fetches.find([*filter(is_uuid, words)])):
        if unlike := [one for one in words if one not in downloads]:
            raise BadInputError(
                f"{unlike[0]} is no download, as others of these are: watch them by themselves"
            )
        show = terminal and form == "table"
        raise SystemExit(0 if watch_fetches(fetches, words, form, on_screen=show) else FAILED)
    # This fails now if Redis is unreachable; later, watch waits for it.
    if query := query_of(words, float(scripts.client.time()[0]), **asked):
        upload_ids = _newest(find(scripts, query).ids)
        if not upload_ids:
            raise none_known(scripts, words, **asked)
    else:
        others = not_uploads(scripts, words)
        found = [_newest(others[one].ids) if one in others else (one,) for one in words]
        upload_ids = tuple(dict.fromkeys(chain(*found)))
    if terminal and form == "table":
        ended = _table(status, upload_ids)
    else:
        ended = _lines(status, upload_ids, human=form != "json")
    if any(upload.has_failed for upload in ended):
        raise SystemExit(FAILED)


def _newest(ids: Sequence[str]) -> tuple[str, ...]:
    if len(ids) > MOST_WATCHED:
        say(f"the newest {MOST_WATCHED} of {len(ids)} uploads are watched")
    return tuple(ids[:MOST_WATCHED])


def _existing(status: Status, upload_ids: Sequence[str]) -> list[UploadState]:
    return [upload for upload in status.find(upload_ids) if upload]


# Lines


def _lines(status: Status, upload_ids: Sequence[str], *, human: bool) -> list[UploadState]:
    if human and not upload_ids:
        _print(output.counts_line(status.counts(), waiting(status.client).entries))
    poll = _poll_named(status, upload_ids) if upload_ids else _poll_all(status)
    away = False
    told: set[str] = set()
    while True:
        try:
            _tell_troubles(status, told, _print if human else say)
            changes = poll()
            if away:
                say("Redis is back")
            away = False
        except redis.RedisError as error:
            if not may_pass(error):
                raise
            if not away:
                say(f"{redis_problem(error)}; trying again")
            away, changes = True, Changes([], all_ended=False)
        for upload in changes.uploads:
            if human:
                _print(output.state_line(upload, human=True))
            else:
                output.show(output.state_line(upload, human=False))
                sys.stdout.flush()
        if changes.all_ended:
            return _existing(status, upload_ids)
        time.sleep(INTERVAL_S)


def _tell_troubles(status: Status, told: set[str], tell: Callable[[str], None]) -> None:
    """Tell which gates have closed, which nodes have faults, and which no longer."""
    found = troubles(status)
    new = [f"{name} {text}" for name, text in found.items() if name not in told]
    over = [f"{name} is all right again" for name in sorted(told - found.keys())]
    for line in first_lines(new) + first_lines(over):
        tell(line)
    told.clear()
    told.update(found)


def _poll_named(status: Status, upload_ids: Sequence[str]) -> Poll:
    seen: dict[str, tuple[str, str]] = {}

    def poll() -> Changes:
        found = _existing(status, upload_ids)
        states = {upload.upload_id: (upload.state, upload.job_state) for upload in found}
        changed = [
            upload for upload in found if seen.get(upload.upload_id) != states[upload.upload_id]
        ]
        seen.update(states)
        return Changes(changed, all(upload.has_ended for upload in found))

    return poll


def _poll_all(status: Status) -> Poll:
    since = float(status.client.time()[0])

    def poll() -> Changes:
        nonlocal since
        ids, since = _moved(status, since)
        return Changes(_existing(status, ids), all_ended=False)

    return poll


def _moved(status: Status, since: float) -> tuple[list[str], float]:
    """Return the uploads that moved after a time, in that order, and the time of the last move.

    Both times are seconds since 1970 by Redis' clock.
    """
    seconds, micros = status.client.time()
    now = seconds + micros / 1e6
    pipeline = status.client.pipeline(transaction=False)
    for state in UPLOAD_STATES:
        # What claims to have moved later than now was written by somebody else: after it, no move
        # would be seen.
        key = state_key(state)
        pipeline.zrangebyscore(key, f"({since!r}", now, withscores=True, start=0, num=MOST_MOVES)
    read = [rows if isinstance(rows, list) else [] for rows in answers(pipeline)]
    moves = {to_text(upload_id): at for rows in read for upload_id, at in rows}
    if any(len(rows) == MOST_MOVES for rows in read):
        # The next poll goes on after the earliest of the last, so that no move is left out.
        since = min(rows[-1][1] for rows in read if len(rows) == MOST_MOVES)
        moves = {upload_id: at for upload_id, at in moves.items() if at <= since}
    return sorted(moves, key=moves.__getitem__), max(moves.values(), default=since)


def _print(line: str) -> None:
    # Flushed, because a pipe would hold lines back.
    output.show(f"{clock(time.time())}  {line}")
    sys.stdout.flush()


# The table


def _table(status: Status, upload_ids: Sequence[str]) -> list[UploadState]:
    from rich.console import Console
    from rich.live import Live

    console, table = Console(highlight=False), WatchTable(status, upload_ids)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            table.poll(max(console.height - 5, 1))
            live.update(table.render(console), refresh=True)
            if upload_ids and not table.away and table.all_ended:
                break
            time.sleep(INTERVAL_S)
    # The screen is restored; leave the last table on it, and the reasons that it has cut off.
    console.print(table.render(console))
    ended = _existing(status, upload_ids)
    failed = [upload for upload in ended if upload.has_failed]
    for upload in failed[:MOST_REASONS]:
        say(f"{upload.path}: {output.problem(upload)}")
    return ended
