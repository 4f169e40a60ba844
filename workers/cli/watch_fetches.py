"""``farmhaul watch`` of downloads by workers: a line for each change, or live on a screen."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence

import redis

from tasks.intake.exit_codes import say
from tasks.records.fetches import Fetches, FetchState
from workers.cli import output
from workers.cli.fetch_task import fetch_line
from workers.wording import clock, may_pass, redis_problem

INTERVAL_S = 1.0


def watch_fetches(fetches: Fetches, ids: Sequence[str], form: str, *, on_screen: bool) -> bool:
    """Show downloads until all of them have ended; return whether all files are here."""
    if not on_screen:
        return _until_ended(fetches, ids, _printer(human=form != "json"))
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(highlight=False), auto_refresh=False) as live:

        def draw(found: Mapping[str, FetchState]) -> None:
            lines = [fetch_line(one, human=True) for one in found.values()]
            live.update(Text("\n".join(lines)), refresh=True)

        return _until_ended(fetches, ids, draw)


def _printer(*, human: bool) -> Callable[[Mapping[str, FetchState]], None]:
    """Return what prints the downloads that have another state or reason, or got a file."""
    seen: dict[str, tuple[str, int, str]] = {}

    def print_changed(found: Mapping[str, FetchState]) -> None:
        for one in found.values():
            shown = (one.state, one.fetched, one.error)
            if seen.get(one.fetch_id) == shown:
                continue
            seen[one.fetch_id] = shown
            at = f"{clock(time.time())}  " if human else ""
            output.show(at + fetch_line(one, human=human))
        sys.stdout.flush()

    return print_changed


def _until_ended(
    fetches: Fetches, ids: Sequence[str], show: Callable[[Mapping[str, FetchState]], None]
) -> bool:
    away = False
    seen: dict[str, FetchState] = {}  # a record may expire while others are waited for
    while True:
        try:
            found = fetches.find(ids)
            seen.update(found)
            if away:
                say("Redis is back")
            away = False
            show(found)
            if all(one.has_ended for one in found.values()):
                return all(one in seen and seen[one].state == "fetched" for one in ids)
        except redis.RedisError as error:
            if not may_pass(error):
                raise
            if not away:
                say(f"{redis_problem(error)}; trying again")
            away = True
        time.sleep(INTERVAL_S)
