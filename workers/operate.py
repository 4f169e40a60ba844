"""The commands of operators: try again, stop, send what is spooled."""

from __future__ import annotations

from typing import NoReturn

import click

from tasks.connect import hasty_redis, open_record
from tasks.intake import BadInputError
from tasks.rate import Timetable
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
    record = open_record(settings, hasty_redis(settings))
    try:
        count = Spool(settings.spool).drain(app, record, settings)
    except OSError as error:
        raise BadInputError(
            f"FARMHAUL_SPOOL: {error.filename} cannot be read: {error.strerror}; "
            "run this as the hooks' user"
        ) from None
    click.echo(f"{count} uploads sent from the spool")


@click.command()
@click.option("--bandwidth", metavar="RATE", help="Bytes a second of the whole farm, as 50M.")
@click.option("--api-calls", metavar="RATE", help="Calls of ftrack's API a second, as 20.")
@click.option("--clear", is_flag=True, help="Go back to what the workers' environment says.")
def limit(bandwidth: str | None, api_calls: str | None, *, clear: bool) -> None:
    """Show or change the limits that all workers share; workers heed it within seconds.

    \b
    farmhaul limit --bandwidth 50M
    farmhaul limit --bandwidth 08:00-20:00=50M,else=off
    """  # noqa: D301 click takes \b for "do not wrap"
    from tasks.limits import KEY, read_live

    record = _record()
    wanted = {"bandwidth": bandwidth, "api_calls": api_calls}
    given = {name: value for name, value in wanted.items() if value is not None}
    if clear and given:
        raise BadInputError("--clear goes alone; it takes back all that farmhaul limit has set")
    for name, value in given.items():
        try:
            Timetable.from_text(value)
        except ValueError as error:
            raise BadInputError(f"--{name.replace('_', '-')}: {error}") from None
    if clear:
        record.client.delete(KEY)
    for name, value in given.items():
        record.client.hset(KEY, name, value)
    live = read_live(record.client)
    for name in wanted:
        click.echo(f"{name:<10} {live.get(name, 'as the environment of each worker says')}")


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
