"""``farmhaul limit``: the limits that all workers share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, time, timedelta

import click

from tasks.config.settings import Settings
from tasks.config.timetable import NO_LIMIT, Timetable, rate_text, zone_named
from tasks.intake.errors import BadInputError
from tasks.intake.exit_codes import say
from tasks.records.keys import LIMITS
from workers.cli import output
from workers.cli.records import open_records

#: A bandwidth below this many bytes per second is probably a number without its M.
SLOW = 1000


@click.command()
@click.argument("words", nargs=-1, metavar="")
@click.option("--bandwidth", metavar="RATE", help="Bytes per second for the whole farm.")
@click.option("--api-rate", metavar="RATE", help="ftrack API calls per second.")
@click.option("--zone", metavar="ZONE", help="Time zone of all timetables, such as Europe/Berlin.")
@click.option("--clear", is_flag=True, help="Return to the limits in each worker's environment.")
@output.form_option("lines")
def limit(
    words: tuple[str, ...], bandwidth: str | None, api_rate: str | None, zone: str | None,
    *, clear: bool, form: str,
) -> None:  # fmt: skip
    """Show or change the limits that all workers share. Workers follow within seconds.

    \b
    farmhaul limit --bandwidth 50M
    farmhaul limit --bandwidth 08:00-20:00=50M,else=off --zone Europe/Berlin
    farmhaul limit --api-rate 20

    RATE is a number with an optional k, M or G; off; or a timetable. ZONE is that of all
    timetables of the farm, also of those in the workers' environment: UTC until you set it.
    """  # noqa: D301 click takes \b for "do not wrap"
    from tasks.stage.limits import NAMES, read_live

    if words:
        rate = next((word for word in words if word[:1].isdecimal() or word == "off"), "RATE")
        raise BadInputError(
            f"{' '.join(words)!r} does not say what to limit: write farmhaul limit --bandwidth "
            f"{rate} for bytes per second, or --api-rate for calls of ftrack"
        )
    client = open_records().client
    wanted = {"bandwidth": bandwidth, "api_rate": api_rate, "zone": zone}
    given = {name: value for name, value in wanted.items() if value is not None}
    if clear and given:
        raise BadInputError(
            "--clear cannot be combined with other options; it removes the overrides"
        )
    forms = {
        "bandwidth": Timetable.from_text,
        "api_rate": Timetable.of_calls,
        "zone": zone_named,
    }
    for name, value in given.items():
        try:
            forms[name](value)
        except ValueError as error:
            raise BadInputError(f"--{name.replace('_', '-')}: {error}") from None
    _warn_of_bytes(bandwidth or "off")
    if clear:
        client.hdel(LIMITS, *NAMES)
    for name, value in given.items():
        client.hset(LIMITS, name, value)
    try:
        live = read_live(client)
        shown = [json.dumps(_as_json(live))] if form == "json" else _lines(live)
    except ValueError as error:
        raise BadInputError(f"{LIMITS} in Redis: {error}; set it again") from None
    output.show(*shown)


def _warn_of_bytes(bandwidth: str) -> None:
    """Warn of a rate so low that whoever has set it may have meant megabytes."""
    table = Timetable.from_text(bandwidth)
    rates = [rate for *_, rate in table.spans] + [table.otherwise]
    lowest = min((rate for rate in rates if rate is not None), default=SLOW)
    if lowest < SLOW:
        number = f"{lowest:g}"
        say(
            f"--bandwidth {bandwidth} holds the whole farm to {number} bytes per second: "
            f"write {number}M for millions of bytes"
        )


def _as_json(live: Mapping[str, str]) -> dict[str, str | float | None]:
    """Return the limits; what is not set is null, because workers use their own environment.

    ``…_now`` is the rate of now, or null if there is no limit, and ``…_until`` when it changes.
    """
    now = _now(live)
    fields: dict[str, str | float | None] = {"zone": live.get("zone")}
    for name in ("bandwidth", "api_rate"):
        text = live.get(name)
        table = NO_LIMIT if text is None else Timetable.from_text(text)
        _, border = table.entry_at(now)
        until = None if border is None else _next(now, border).isoformat(timespec="minutes")
        fields |= {name: text, f"{name}_now": table.at(now), f"{name}_until": until}
    return fields


def _now(live: Mapping[str, str]) -> datetime:
    return datetime.now(zone_named(live.get("zone", "UTC")))


def _next(now: datetime, border: time) -> datetime:
    """Return when the clock shows a time next."""
    day = now.date() if border > now.time() else now.date() + timedelta(days=1)
    return datetime.combine(day, border, now.tzinfo)


def _lines(live: Mapping[str, str]) -> list[str]:
    """Return a line for each limit, with the rate of now and until when, and one for the zone."""
    settings = Settings.from_environment()
    own = {"bandwidth": settings.bandwidth, "api_rate": settings.api_rate}
    zone, now = live.get("zone", "UTC"), _now(live)
    shown = {name: _shown(live.get(name), table, now, zone) for name, table in own.items()}
    shown["zone"] = f"{zone}, where it is {now:%H:%M} now"
    return [f"{name:<10} {text}" for name, text in shown.items()]


def _shown(value: str | None, own: Timetable, now: datetime, zone: str) -> str:
    if value is not None:
        table = Timetable.from_text(value)  # somebody else may have written it
        return f"{value}; now {_rate(table, now, zone)}" if "=" in value else value
    text = "not set; workers use their own environment"
    return text if own == NO_LIMIT else f"{text}, which here gives {_rate(own, now, zone)}"


def _rate(table: Timetable, now: datetime, zone: str) -> str:
    """Return the rate of now, and until when it holds: 50M until 20:00 in Europe/Berlin."""
    _, until = table.entry_at(now)
    rate = rate_text(table.at(now))
    return f"{rate} until {until:%H:%M} in {zone}" if until else rate
