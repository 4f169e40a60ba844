"""``farmhaul status``: the state of uploads, and why they wait or failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from tasks.intake.errors import BadInputError
from tasks.intake.exit_codes import say
from tasks.records.fetches import Fetches, FetchState
from tasks.records.inbox import waiting
from tasks.records.query import Query
from tasks.records.scripts import Scripts
from tasks.records.search import Hits
from tasks.records.states import LIVE, UPLOAD_STATES
from tasks.records.status import Status
from tasks.records.upload_state import UploadState
from workers.cli import output
from workers.cli.fetch_task import fetch_line
from workers.cli.found import MOST_READ, columns, failures, lines_of, show_found
from workers.cli.query import find, none_known, not_uploads, query_of, query_options, with_whole_ids
from workers.cli.records import find_known, open_records
from workers.cli.whole import Whole
from workers.held_back import NONE_TAKES, waits_for
from workers.wording import first_lines, late_entries, no_takers, refused_requests, troubles

#: How many of a publish's files are listed below it.
FILES_SHOWN = 20
#: Options that each say which uploads, or downloads, are shown.
CHOICES = ("failed", "active", "all", "fetches")


@click.command()
@click.argument("words", nargs=-1, metavar="[UPLOAD_ID | PATH | WORD]...")
@click.option("--failed", is_flag=True, help="Show failed uploads with the reason.")
@click.option("--active", is_flag=True, help="Show unfinished uploads.")
@click.option("--all", is_flag=True, help="Show all uploads that have a record.")
@click.option("--fetches", is_flag=True, help="Show downloads by workers.")
@query_options
@click.option(
    "--by", metavar="HOW", type=click.Choice(["folder", "version"]), default="folder",
    show_default=True, help="Count many uploads by folder or version.",
)  # fmt: skip
@click.option("--limit", metavar="N", type=Whole(1), default=40, show_default=True,
    help="The most uploads that a table lists.",
)  # fmt: skip
@output.form_option("json", read="lines")
def status(words: tuple[str, ...], by: str, limit: int, form: str, **asked: Any) -> None:
    """Show the state of uploads, and why they wait or failed.

    \b
    farmhaul status
    farmhaul status --failed
    farmhaul status 5d27e920-…
    farmhaul status sh020
    farmhaul status '/mnt/prod/sq010/sh0*' --state failed --since 2h

    Without arguments, shows the number of uploads in each state, and the unfinished ones.
    "In the inbox" is what hooks have sent and no worker has taken in yet. An id may also be that of
    a download (fetch --enqueue). Words are whole words of a path, and all of them must fit.
    """  # noqa: D301 click takes \b for "do not wrap"
    chosen = [name for name in CHOICES if asked.pop(name)]
    if len(chosen) > 1:
        raise _another_choice(*chosen[:2])
    which = chosen[0] if chosen else None
    if which and asked["state"]:
        raise _another_choice("state", which)
    scripts = open_records()
    words = with_whole_ids(scripts, words)
    now = float(scripts.client.time()[0])
    query = query_of(words, now, **asked)
    states = {"failed": ("failed",), "active": LIVE}.get(which or "")
    if which == "fetches" and query is not None:
        raise BadInputError("--fetches takes no words and no option that finds uploads, only ids")
    if query is not None:
        query = replace(query, states=states) if states else query
        hits = find(scripts, query)
        if not hits.ids and not which and not any(asked.values()):
            raise none_known(scripts, words)
        if form == "table" and len(hits.ids) == 1:  # a person wants to know all of it
            _show_named(scripts, hits.ids, now=now, by=by, limit=limit, form=form)
            return
        lives = any(hits.counts.get(state) for state in LIVE)
        _say_what_is_wrong(Status(scripts.client, scripts.codec), waits=lives, about_nodes=lives)
        _show_hits(scripts, hits, now=now, by=by, limit=limit, form=form)
    elif words or which == "fetches":
        _show_named(scripts, words, now=now, by=by, limit=limit, form=form)
    else:
        query = Query(states=UPLOAD_STATES if which == "all" else states or LIVE)
        _show_listed(scripts, query, which, now=now, by=by, limit=limit, form=form)


def _another_choice(one: str, other: str) -> BadInputError:
    return BadInputError(f"--{one} is another choice than --{other}: leave one of them out")


def _show_hits(
    scripts: Scripts, hits: Hits, *, now: float, by: str, limit: int, form: str, more: str = ""
) -> None:
    """Show what was found; *more* is what its counts are to say, too."""
    reader = Status(scripts.client, scripts.codec)
    if form != "table":
        # A program, or grep, gets all that was found.
        uploads = _known(reader, hits.ids)
        if more:  # a list, and nobody has looked for anything
            uploads.sort(key=lambda upload: -upload.updated)
        for upload in uploads:
            output.show(output.state_line(upload, human=form == "lines"))
        _say_if_cut(hits)
        return
    uploads = _known(reader, hits.ids[: max(MOST_READ, limit + 1)])
    none = more or "no upload fits; words are whole words"
    counts = output.counts_line(hits.counts, 0) if hits.ids else none
    show_found(uploads, hits, counts=more or counts, now=now, by=by, limit=limit)
    _say_if_cut(hits)


def _say_if_cut(hits: Hits) -> None:
    if hits.is_cut:
        say(f"there may be more than these {len(hits.ids)}: ask for less, as by --since")


def _show_listed(
    scripts: Scripts, query: Query, which: str | None,
    *, now: float, by: str, limit: int, form: str,
) -> None:  # fmt: skip
    """Show the uploads in some states, and what is wrong if they wait."""
    reader = Status(scripts.client, scripts.codec)
    in_inbox = waiting(reader.client).entries
    hits = find(scripts, query)
    lives = any(hits.counts.get(state) for state in LIVE)
    _say_what_is_wrong(reader, waits=bool(in_inbox) or lives, about_nodes=True)
    for line in refused_requests(reader):  # they have no records, so nothing below shows them
        say(line)
    if form != "json" and which == "failed":
        failed, width = _known(reader, hits.ids), columns() - 2
        lines = (
            failures(failed, lambda one: lines_of(one, now, width), limit)
            if form == "table"
            else failures(failed, lambda one: [output.state_line(one, human=True)], len(failed))
        )
        output.show(*(lines or ["no uploads have failed"]))
        _say_if_cut(hits)
        return
    counts = output.counts_line(reader.counts(), in_inbox)
    _show_hits(scripts, hits, now=now, by=by, limit=limit, form=form, more=counts)
    if form == "lines" and which is None:
        output.show(counts)


def _fetch_lines(found: Mapping[str, FetchState], *, human: bool, of_all: bool) -> Iterable[str]:
    if human and of_all and not found:
        return ["no downloads by workers are known"]
    return (fetch_line(fetch, human=human) for fetch in found.values())


def _show_named(
    scripts: Scripts, ids: Sequence[str], *, now: float, by: str, limit: int, form: str
) -> None:
    """Show uploads and downloads by their ids; without ids, all downloads.

    The id of a version or component stands for its uploads.
    """
    human = form != "json"
    reader = Status(scripts.client, scripts.codec)
    fetches = Fetches(scripts)
    found = fetches.find(ids or fetches.ids())
    said: list[str] = []
    if any(fetch.state in {"queued", "retrying"} for fetch in found.values()):
        said += _say_what_is_wrong(reader, waits=True, about_nodes=False)
    for line in _fetch_lines(found, human=human, of_all=not ids):
        output.show(line)
    upload_ids = [one for one in ids if one not in found]
    if not upload_ids:
        return
    others = not_uploads(scripts, upload_ids)
    named = [one for one in upload_ids if one not in others]
    for hits in others.values():
        if len(hits.ids) > 1:
            _show_hits(scripts, hits, now=now, by=by, limit=limit, form=form)
        else:
            named += hits.ids
    uploads = find_known(reader, named)
    lives = any(upload.state in LIVE for upload in uploads)
    said += _say_what_is_wrong(reader, waits=lives and not said, about_nodes=lives)
    for upload in uploads:
        output.show(output.state_line(upload, human=human))
        if human:
            rows = waits_for(reader, upload, now)
            if said and rows.get("waits for", "").endswith(NONE_TAKES):
                del rows["waits for"]  # it is said once, with what to do
            output.show(*output.details(upload, now, rows))
            for file in reader.members_left(upload.upload_id, FILES_SHOWN) if upload.files else ():
                output.show(f"  {output.state_line(file, human=True)}")


def _known(reader: Status, ids: Sequence[str]) -> list[UploadState]:
    # A record may expire between the two reads.
    return [one for one in reader.find(ids) if one is not None]


def _say_what_is_wrong(reader: Status, *, waits: bool, about_nodes: bool) -> list[str]:
    """Say on stderr, because a program reads stdout, why uploads wait; return what nobody takes."""
    nobody = (no_takers(reader) or late_entries(reader)) if waits else []
    faults = [*map(" ".join, troubles(reader).items())] if about_nodes else []
    for line in dict.fromkeys([*nobody, *first_lines(faults)]):
        say(line)
    return nobody
