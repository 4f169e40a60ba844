"""The commands of operators: try again, stop, send what is spooled."""

from __future__ import annotations

from typing import NoReturn

import click

from tasks.connect import hasty_redis, open_record
from tasks.intake import BadInputError
from tasks.record import Record
from tasks.settings import Settings
from tasks.status import Status


@click.command()
@click.argument("upload_ids", nargs=-1, metavar="[UPLOAD_ID]...")
@click.option("--failed", is_flag=True, help="All uploads that have failed.")
def retry(upload_ids: tuple[str, ...], *, failed: bool) -> None:
    """Start failed or cancelled uploads again; what is already stored is not sent again."""
    from tasks.pipeline import ring
    from workers.app import app

    if bool(upload_ids) == failed:
        raise BadInputError("name the uploads to retry, or give --failed for all that have failed")
    record = _record()
    ids = Status(record.client, record.codec).ids_in(["failed"]) if failed else upload_ids
    _require_known(record, ids)
    hosts: dict[str, int] = {}
    for upload_id in ids:
        host, state, new = record.retry(upload_id)
        hosts[host] = hosts.get(host, 0) + new
        click.echo(f"{upload_id} {state}")
    for host, count in hosts.items():
        ring(app, count, host)


@click.command()
@click.argument("upload_ids", nargs=-1, required=True, metavar="UPLOAD_ID...")
def cancel(upload_ids: tuple[str, ...]) -> None:
    """Stop uploads; one that is being sent stops within a second."""
    record = _record()
    _require_known(record, upload_ids)
    for upload_id in upload_ids:
        click.echo(f"{upload_id} {record.cancel(upload_id)}")


@click.command()
def drain() -> None:
    """Send what enqueue has spooled while Redis was away (FARMHAUL_SPOOL)."""
    from tasks.spool import Spool
    from workers.app import app

    settings = Settings.from_environment()
    if not settings.spool:
        raise BadInputError("FARMHAUL_SPOOL is not set, so there is no spool to drain")
    count = Spool(settings.spool).drain(app, open_record(settings, hasty_redis(settings)))
    click.echo(f"{count} uploads sent from the spool")


def _record() -> Record:
    settings = Settings.from_environment()
    return open_record(settings, hasty_redis(settings))


def _require_known(record: Record, upload_ids: tuple[str, ...] | list[str]) -> None:
    found = Status(record.client, record.codec).find(upload_ids)
    for upload_id, one in zip(upload_ids, found, strict=True):
        if one is None:
            _unknown(upload_id)


def _unknown(upload_id: str) -> NoReturn:
    raise BadInputError(
        f"no upload {upload_id} is known here; farmhaul status --all lists those that are"
    )
