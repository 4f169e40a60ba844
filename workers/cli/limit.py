"""``farmhaul limit``: the limits that all workers share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

import click

from tasks.config.settings import Settings
from tasks.config.timetable import NO_LIMIT, Timetable, rate_text, zone_named
from tasks.intake.errors import BadInputError
from tasks.records.keys import LIMITS
from workers.cli import output
from workers.cli.records import open_records


@click.command()
@click.option("--bandwidth", metavar="RATE", help="Bytes per second for the whole farm.")
@click.option("--api-rate", metavar="RATE", help="ftrack API calls per second.")
@click.option("--zone", metavar="ZONE", help="Time zone of all timetables, such as Europe/Berlin.")
@click.option("--clear", is_flag=True, help="Return to the limits in each worker's environment.")
@output.form_option("lines")
def limit(
    bandwidth: str | None, api_rate: str | None, zone: str | None, *, clear: bool, form: str
) -> None:
    """Show or change the limits that all workers share. Workers follow within seconds.

    \b
    farmhaul limit --bandwidth 50M
    farmhaul limit --bandwidth 08:00-20:00=50M,else=off --zone Europe/Berlin
    farmhaul limit --api-rate 20

    RATE is a number with an optional k, M or G; off; or a timetable. ZONE is that of all
    timetables of the farm, also of those in the workers' environment: UTC until you set it.
    """  # noqa: D301 click takes \b for "do not wrap"
    from tasks.stage.limits import NAMES, read_live

    client = open_records().client
    wanted = {"bandwidth": bandwidth, "api_rate": api_rate, "zone": zone}
    given = {name: value for name, value in wanted.items() if value is not None}
    if clear and given:
        raise BadInputError(
            "--clear cannot be combined with other options; it removes the overrides"
        )
    for name, value in given.items():
        try:
            (zone_named if name == "zone" else Timetable.from_text)(value)
        except ValueError as error:
            raise BadInputError(f"--{name.replace('_', '-')}: {error}") from None
    if clear:
        client.hdel(LIMITS, *NAMES)
    for name, value in given.items():
        client.hset(LIMITS, name, value)
    try:
        live = read_live(client)
        lines = _lines(live)
    except ValueError as error:
        raise BadInputError(f"{LIMITS} in Redis: {error}; set it again") from None
    if form == "json":
        # What is not set is null: workers use their own environment.
        output.show(json.dumps({name: live.get(name) for name in (*NAMES, "zone")}))
        return
    for line in lines:
        output.show(line)


def _lines(live: Mapping[str, str]) -> list[str]:
    """Return a line for each limit, with the rate of now, and one for the zone."""
    settings = Settings.from_environment()
    own = {"bandwidth": settings.bandwidth, "api_rate": settings.api_rate}
    zone = live.get("zone", "UTC")
    now = datetime.now(zone_named(zone))
    shown = {name: _shown(live.get(name), table, now) for name, table in own.items()}
    shown["zone"] = f"{zone}, where it is {now:%H:%M} now"
    return [f"{name:<10} {text}" for name, text in shown.items()]


def _shown(value: str | None, own: Timetable, now: datetime) -> str:
    if value is not None:
        rate = rate_text(Timetable.from_text(value).at(now))
        return f"{value}; now {rate}" if "=" in value else value
    text = "not set; workers use their own environment"
    return text if own == NO_LIMIT else f"{text}, which here gives {rate_text(own.at(now))} now"
