"""``farmhaul status``: the state of uploads, and why they wait or failed."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import click

from tasks.config.texts import visible
from tasks.intake.answer import size
from tasks.intake.exit_codes import say
from tasks.records.fetches import Fetches
from tasks.records.inbox import waiting
from tasks.records.scripts import Scripts
from tasks.records.search import summary
from tasks.records.states import LIVE, UPLOAD_STATES
from tasks.records.status import Status, UploadState
from workers.cli import output
from workers.cli.fetch_task import fetch_line
from workers.cli.query import find, none_known, query_of, query_options
from workers.cli.records import find_known, open_records
from workers.wording import no_takers, troubles

#: How many of a publish's files are listed below it.
FILES_SHOWN = 20


@click.command()
@click.argument("words", nargs=-1, metavar="[UPLOAD_ID | PATH | WORD]...")
@click.option("--failed", "which", flag_value="failed", help="Show failed uploads with the reason.")
@click.option("--active", "which", flag_value="active", help="Show unfinished uploads.")
@click.option("--all", "which", flag_value="all", help="Show all uploads that have a record.")
@click.option("--fetches", "which", flag_value="fetches", help="Show downloads by workers.")
@query_options
@click.option(
    "--by", metavar="HOW", type=click.Choice(["folder", "version"]), default="folder",
    show_default=True, help="Count many uploads by folder or version.",
)  # fmt: skip
@click.option("--limit", metavar="N", type=click.IntRange(1), default=40, show_default=True,
    help="The most uploads that a table lists.",
)  # fmt: skip
@output.form_option("json")
def status(
    words: tuple[str, ...], which: str | None, by: str, limit: int, form: str, **asked: str | None
) -> None:
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
    scripts = open_records()
    now = float(scripts.client.time()[0])
    query = query_of(words, now, **asked)
    if query is not None:
        if which in {"failed", "active"}:
            states = ("failed",) if which == "failed" else LIVE
            query = replace(query, states=states)
        uploads, is_cut = find(scripts, query)
        if not uploads and not which and not any(asked.values()):
            raise none_known(scripts, words)
        _show_found(uploads, is_cut, now=now, by=by, limit=limit, form=form)
        return
    # A program, or grep, gets all of them.
    most = limit if form == "table" else None
    _show_known(scripts, words, which, now=now, human=form != "json", most=most)


def _show_found(
    uploads: Sequence[UploadState], is_cut: bool, *, now: float, by: str, limit: int, form: str
) -> None:
    if form != "table":
        for upload in uploads:
            output.show(output.state_line(upload, human=form == "lines"))
        return
    width = shutil.get_terminal_size().columns
    if len(uploads) > limit:
        for key, counts, size_bytes in summary(uploads, by):
            failed = f", {counts['failed']} failed" if counts["failed"] else ""
            line = f"{counts['located']} of {sum(counts.values())} located{failed}"
            line += f", {size(size_bytes)}"
            output.show(f"{output.from_left(visible(key), width - len(line) - 2)}  {line}")
        output.show(f"the first {limit} of {len(uploads)}{' or more' if is_cut else ''}:")
    for upload in uploads[:limit]:
        output.show(output.short_line(upload, width))
        for line in output.why_lines(upload, now):
            output.show(line)
    counts = Counter(upload.state for upload in uploads)
    output.show(
        output.counts_line(counts, 0) if uploads else "no upload fits; words are whole words"
    )


def _show_known(
    scripts: Scripts,
    ids: Sequence[str],
    which: str | None,
    *,
    now: float,
    human: bool,
    most: int | None,
) -> None:
    reader = Status(scripts.client, scripts.codec)
    fetches = Fetches(scripts)
    found = fetches.find(fetches.ids() if which == "fetches" else ids)
    for fetch in found.values():
        output.show(fetch_line(fetch, human=human))
    if which == "fetches" or (found and len(found) == len(set(ids))):
        return
    upload_ids = tuple(one for one in ids if one not in found)
    in_inbox = 0 if upload_ids else waiting(reader.client).entries
    if human and not upload_ids and which is None:
        output.show(output.counts_line(reader.counts(), in_inbox))
    if upload_ids:
        uploads, left_out = find_known(reader, upload_ids), 0
    else:
        uploads, left_out = _uploads_in(reader, which, most)
    lives = any(upload.state in LIVE for upload in uploads)
    _say_what_is_wrong(reader, waits=bool(in_inbox) or lives, about_nodes=lives or not upload_ids)
    if human and which == "failed":
        output.show("\n".join(output.failures(uploads, most)) or "no uploads have failed")
        return
    for upload in uploads:
        output.show(output.state_line(upload, human=human))
        if human and upload_ids:
            output.show("\n".join(output.details(upload, now)))
            for file in reader.members_left(upload.upload_id, FILES_SHOWN) if upload.files else ():
                output.show(f"  {output.state_line(file, human=True)}")
    if left_out:
        output.show(f"and {left_out} more: --limit {len(uploads) + left_out} shows them")


def _say_what_is_wrong(reader: Status, *, waits: bool, about_nodes: bool) -> None:
    # On stderr, because a program reads stdout.
    for line in [
        *(no_takers(reader) if waits else []),
        *(map(" ".join, troubles(reader).items()) if about_nodes else []),
    ]:
        say(line)


def _uploads_in(
    reader: Status, which: str | None, most: int | None
) -> tuple[list[UploadState], int]:
    """Return the uploads to show, and how many are left out beyond *most*."""
    states = {"failed": ("failed",), "all": UPLOAD_STATES}.get(which or "", LIVE)
    ids = reader.ids_in(states)
    # Failed uploads are counted by their errors first, so all of them are read.
    shown = ids if which == "failed" else ids[:most]
    # A record may expire between the two reads.
    return [one for one in reader.find(shown) if one is not None], len(ids) - len(shown)
