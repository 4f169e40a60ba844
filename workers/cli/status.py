"""``farmhaul status``: the state of uploads, and why they wait or failed."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tasks.intake.exit_codes import say
from tasks.records.fetches import Fetches
from tasks.records.inbox import waiting
from tasks.records.states import LIVE, UPLOAD_STATES
from tasks.records.status import Status, UploadState
from workers.cli import output
from workers.cli.fetch_task import fetch_line
from workers.cli.records import find_known, open_records
from workers.wording import no_takers, nodes_aside

#: How many of a publish's files are listed below it.
FILES_SHOWN = 20


@click.command()
@click.argument("upload_ids", nargs=-1, metavar="[UPLOAD_ID]...")
@click.option("--failed", "which", flag_value="failed", help="Show failed uploads with the reason.")
@click.option("--active", "which", flag_value="active", help="Show unfinished uploads.")
@click.option("--all", "which", flag_value="all", help="Show all uploads that have a record.")
@click.option("--fetches", "which", flag_value="fetches", help="Show downloads by workers.")
@output.json_option
def status(upload_ids: tuple[str, ...], which: str | None, human: bool) -> None:
    """Show the state of uploads, and why they wait or failed.

    \b
    farmhaul status
    farmhaul status --failed
    farmhaul status 5d27e920-…

    Without arguments, shows the number of uploads in each state, and the unfinished ones.
    "In the inbox" is what hooks have sent and no worker has taken in yet. An id may also be that of
    a download (fetch --enqueue).
    """  # noqa: D301 click takes \b for "do not wrap"
    scripts = open_records()
    reader, fetches = Status(scripts.client, scripts.codec), Fetches(scripts)
    found = fetches.find(fetches.ids() if which == "fetches" else upload_ids)
    for fetch in found.values():
        output.show(fetch_line(fetch, human=human))
    if which == "fetches" or (found and len(found) == len(set(upload_ids))):
        return
    upload_ids = tuple(one for one in upload_ids if one not in found)
    in_inbox = 0 if upload_ids else waiting(reader.client).entries
    if human and not upload_ids and which is None:
        output.show(output.counts_line(reader.counts(), in_inbox))
    uploads = find_known(reader, upload_ids) if upload_ids else _uploads_in(reader, which)
    lives = any(upload.state in LIVE for upload in uploads)
    # On stderr, because a program reads stdout.
    for line in [
        *(no_takers(reader) if in_inbox or lives else []),
        *(nodes_aside(reader) if lives or not upload_ids else []),
    ]:
        say(line)
    if human and which == "failed":
        output.show("\n".join(output.failures(uploads)) or "no uploads have failed")
        return
    for upload in uploads:
        output.show(output.state_line(upload, human=human))
        if human and upload_ids and upload.files:
            for file in reader.members_left(upload.upload_id, FILES_SHOWN):
                output.show(f"  {output.state_line(file, human=True)}")


def _uploads_in(reader: Status, which: str | None) -> Sequence[UploadState]:
    states = {"failed": ("failed",), "all": UPLOAD_STATES}.get(which or "", LIVE)
    # A record may expire between the two reads.
    return [upload for upload in reader.find(reader.ids_in(states)) if upload is not None]
