"""``farmhaul retry`` and ``farmhaul cancel``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from tasks.config.texts import visible
from tasks.intake.errors import BadInputError
from tasks.intake.exit_codes import FAILED, say
from tasks.records.commands import Commands
from tasks.records.fetches import Fetches
from tasks.records.scripts import Scripts
from tasks.records.states import LIVE
from tasks.records.status import Status
from tasks.records.typed import is_start_of_id, word_of
from workers.cli import output
from workers.cli.query import ids_meant
from workers.cli.records import find_known, open_app, open_records, person
from workers.downloads import send_fetch

#: An upload in one of these states needs no retry, and its state says so.
UNDER_WAY = {*LIVE} - {"retrying"}


@click.command()
@click.argument("upload_ids", nargs=-1, metavar="[UPLOAD_ID]...")
@click.option("--failed", is_flag=True, help="Retry all failed uploads.")
@output.form_option("lines")
def retry(upload_ids: tuple[str, ...], *, failed: bool, form: str) -> None:
    """Make ended uploads pending again. Stored files are not sent again, unless they have changed.

    \b
    farmhaul retry 5d27e920-…
    farmhaul retry --failed

    Prints each upload's id and state, and on stderr why one stays as it is. The exit code is 4 if
    one stays failed. An id may also be that of a download (fetch --enqueue).
    """  # noqa: D301 click takes \b for "do not wrap"
    if upload_ids and failed:
        raise BadInputError("--failed retries all failed uploads: leave it or the ids out")
    if not upload_ids and not failed:
        raise BadInputError("name the uploads to retry, or retry all failed ones with --failed")
    scripts = open_records()
    human = form != "json"
    upload_ids = _whole_ids(scripts, upload_ids)
    upload_ids = _retry_fetches(Fetches(scripts), upload_ids, human=human)
    if not upload_ids and not failed:
        return
    commands, status = Commands(scripts), Status(scripts.client, scripts.codec)
    find_known(status, upload_ids)
    hosts: dict[str, int] = {}
    stays_failed = False
    who = person()
    chosen = upload_ids or status.ids_in(["failed"])
    if not chosen:
        say("no uploads have failed")
    for upload_id in chosen:
        host, state, new = commands.retry(upload_id, who)
        hosts[host] = hosts.get(host, 0) + new
        if state:  # else its record has just expired
            output.show(output.state_only(upload_id, state, human=human))
        stays_failed |= state == "failed"
        if state and not new:
            [upload] = status.find([upload_id])
            if upload and upload.state not in UNDER_WAY:
                say(output.not_retried(upload))
    _wake({host: count for host, count in hosts.items() if count})
    if stays_failed:
        raise SystemExit(FAILED)


def _wake(hosts: Mapping[str, int]) -> None:
    if not hosts:
        return  # the import of Celery takes longer than the rest of the command
    from tasks.chain import wake

    for host, count in hosts.items():
        if not wake(open_app(), count, host):
            break  # Redis is silent, and each wake-up would wait for it: the reconciler sends them


def _whole_ids(scripts: Scripts, given: Sequence[str]) -> tuple[str, ...]:
    """Return the ids that are meant: the first digits of one are enough.

    Raises:
        BadInputError: one is no id, or begins none or several.
    """
    meant = ids_meant(scripts, given)
    for start, ids in zip(given, meant, strict=True):
        if len(ids) == 1:
            continue
        if ids:
            wrong = f"{visible(start)} begins {len(ids)} ids; give more digits"
        elif is_start_of_id(word_of(start)):
            wrong = f"no id begins with {visible(start)}"
        else:
            wrong = f"{visible(start)} is not the id of an upload, nor its first 8 digits"
        raise BadInputError(f"{wrong}: farmhaul status --format lines lists uploads with their ids")
    return tuple(whole_id for [whole_id] in meant)


def _retry_fetches(fetches: Fetches, ids: Sequence[str], *, human: bool) -> tuple[str, ...]:
    """Send downloads again, and return the other ids. One that is being made is left alone."""
    found = fetches.find(ids)
    who = person()
    for fetch_id, fetch in found.items():
        state = fetch.state
        if state != "fetching":
            if not fetch.folder:
                raise BadInputError(f"the record of {fetch_id} cannot be read here; fetch it again")
            asked = (fetch_id, fetch.component_id, fetch.folder)
            send_fetch(open_app(), fetches, *asked, who=who)
            state = "queued"
        output.show(output.state_only(fetch_id, state, human=human))
    return tuple(any_id for any_id in ids if any_id not in found)


@click.command()
@click.argument("upload_ids", nargs=-1, required=True, metavar="UPLOAD_ID...")
@output.form_option("lines")
def cancel(upload_ids: tuple[str, ...], form: str) -> None:
    """Cancel uploads. A file that is being sent stops within seconds.

    \b
    farmhaul cancel 5d27e920-…

    Prints each upload's id and state. Located uploads stay as they are. An id may also be that of a
    download (fetch --enqueue).
    """  # noqa: D301 click takes \b for "do not wrap"
    scripts = open_records()
    ids = _whole_ids(scripts, upload_ids)
    fetches, commands = Fetches(scripts), Commands(scripts)
    downloads = fetches.find(ids)
    find_known(
        Status(scripts.client, scripts.codec), [any_id for any_id in ids if any_id not in downloads]
    )
    who = person()
    for any_id in ids:
        cancel_it = fetches.cancel if any_id in downloads else commands.cancel
        output.show(output.state_only(any_id, cancel_it(any_id, who), human=form != "json"))
