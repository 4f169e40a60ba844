"""``farmhaul limit``: the limits that all workers share."""

from __future__ import annotations

import click

from tasks.config.texts import visible
from tasks.config.timetable import Timetable
from tasks.intake.errors import BadInputError
from tasks.records.keys import LIMITS
from workers.cli.records import open_records


@click.command()
@click.option("--bandwidth", metavar="RATE", help="Bytes per second for the whole farm.")
@click.option("--api-rate", metavar="RATE", help="ftrack API calls per second.")
@click.option("--clear", is_flag=True, help="Return to the limits in each worker's environment.")
def limit(bandwidth: str | None, api_rate: str | None, *, clear: bool) -> None:
    """Show or change the limits that all workers share. Workers follow within seconds.

    \b
    farmhaul limit --bandwidth 50M
    farmhaul limit --bandwidth 08:00-20:00=50M,else=off
    farmhaul limit --api-rate 20

    RATE is a number with an optional k, M or G; off; or a timetable of the node's local time.
    """  # noqa: D301 click takes \b for "do not wrap"
    from tasks.stage.limits import read_live

    client = open_records().client
    wanted = {"bandwidth": bandwidth, "api_rate": api_rate}
    given = {name: value for name, value in wanted.items() if value is not None}
    if clear and given:
        raise BadInputError(
            "--clear cannot be combined with other options; it removes the overrides"
        )
    for name, value in given.items():
        try:
            Timetable.from_text(value)
        except ValueError as error:
            raise BadInputError(f"--{name.replace('_', '-')}: {error}") from None
    if clear:
        client.delete(LIMITS)
    for name, value in given.items():
        client.hset(LIMITS, name, value)
    live = read_live(client)
    for name in wanted:
        value = live.get(name, "not set; workers use their own environment")
        click.echo(f"{name:<10} {visible(str(value))}")
