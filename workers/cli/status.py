"""``farmhaul status``: where uploads are, and why they wait or failed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from tasks.config.redis_client import fail_fast_redis
from tasks.config.sealing import message_codec
from tasks.config.settings import Settings
from tasks.intake.manifest import BadInputError
from tasks.records.status import LIVE_STATES, STATES, Status
from workers.cli import output

#: At most this many files of a publish are listed under it.
FILES_SHOWN = 20


@click.command()
@click.argument("upload_ids", nargs=-1, metavar="[UPLOAD_ID]...")
@click.option("--failed", "which", flag_value="failed", help="Those that failed, with the reason.")
@click.option("--active", "which", flag_value="active", help="Those that are not done yet.")
@click.option("--all", "which", flag_value="all", help="All that the records still hold.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, on a terminal too.")
def status(upload_ids: tuple[str, ...], which: str | None, as_json: bool) -> None:
    """Show uploads: where they are, and why they wait or failed.

    Without arguments: how many uploads are in each state, and those that are not done yet.
    """
    settings = Settings.from_environment()
    reader = Status(fail_fast_redis(settings), message_codec(settings))
    human = output.is_terminal(sys.stdout) and not as_json
    if human and not upload_ids and which is None:
        click.echo(output.counts_line(reader.counts()))
    ids = upload_ids or _ids_of(reader, which)
    uploads = reader.find(ids)
    missing = [one for one, found in zip(ids, uploads, strict=True) if found is None]
    if upload_ids and missing:
        raise BadInputError(
            f"no upload {missing[0]} is known here; farmhaul status --all lists those that are"
        )
    known = [one for one in uploads if one is not None]
    if human and which == "failed":
        click.echo("\n".join(output.failures(known)) or "no uploads have failed")
        return
    for one in known:
        click.echo(output.state_line(one, human=human))
        if human and upload_ids:
            for file in reader.files_left(one.upload_id, FILES_SHOWN) if one.files else []:
                click.echo(f"  {output.state_line(file, human=True)}")


def _ids_of(reader: Status, which: str | None) -> Sequence[str]:
    states = {"failed": ("failed",), "all": STATES}.get(which or "", LIVE_STATES)
    return reader.ids_in(states)
