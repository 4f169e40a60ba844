"""``farmhaul limit``: the limits that all workers share."""

from __future__ import annotations

import click

from tasks.config.timetable import Timetable
from tasks.intake.manifest import BadInputError
from tasks.records.keys import LIMITS
from workers.cli.uploads import open_records


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
    from tasks.stage.limits import read_live

    record = open_records()
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
        record.client.delete(LIMITS)
    for name, value in given.items():
        record.client.hset(LIMITS, name, value)
    live = read_live(record.client)
    for name in wanted:
        click.echo(f"{name:<10} {live.get(name, 'as the environment of each worker says')}")
