"""``farmhaul retry`` and ``farmhaul cancel``."""

from __future__ import annotations

from typing import NoReturn

import click

from tasks.config.redis_client import fail_fast_redis
from tasks.config.settings import Settings
from tasks.intake.build import BadInputError
from tasks.records.record import Record, open_record
from tasks.records.status import Status


@click.command()
@click.argument("upload_ids", nargs=-1, metavar="[UPLOAD_ID]...")
@click.option("--failed", is_flag=True, help="All uploads that have failed.")
def retry(upload_ids: tuple[str, ...], *, failed: bool) -> None:
    """Start failed or cancelled uploads again; what is already stored is not sent again."""
    from tasks.chain import wake
    from workers.app import app

    if bool(upload_ids) == failed:
        raise BadInputError("name the uploads to retry, or give --failed for all that have failed")
    record = open_records()
    ids = Status(record.client, record.codec).ids_in(["failed"]) if failed else upload_ids
    require_known(record, ids)
    hosts: dict[str, int] = {}
    for upload_id in ids:
        host, state, new = record.retry(upload_id)
        hosts[host] = hosts.get(host, 0) + new
        click.echo(f"{upload_id} {state}")
    for host, count in hosts.items():
        wake(app, count, host)


@click.command()
@click.argument("upload_ids", nargs=-1, required=True, metavar="UPLOAD_ID...")
def cancel(upload_ids: tuple[str, ...]) -> None:
    """Stop uploads; one that is being sent stops within a second."""
    record = open_records()
    require_known(record, upload_ids)
    for upload_id in upload_ids:
        click.echo(f"{upload_id} {record.cancel(upload_id)}")


def open_records() -> Record:
    settings = Settings.from_environment()
    return open_record(settings, fail_fast_redis(settings))


def require_known(record: Record, upload_ids: tuple[str, ...] | list[str]) -> None:
    found = Status(record.client, record.codec).find(upload_ids)
    for upload_id, one in zip(upload_ids, found, strict=True):
        if one is None:
            _unknown(upload_id)


def _unknown(upload_id: str) -> NoReturn:
    raise BadInputError(
        f"no upload {upload_id} is known here; farmhaul status --all lists those that are"
    )
