"""``farmhaul watch``: uploads under way, looked at each second.

Only what the screen shows is read, so that ten thousand uploads cost Redis no more than twenty:
some 20 commands a second, and one for each row (a test counts them).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime

import click
import redis

from tasks.config.redis_client import fail_fast_redis
from tasks.config.sealing import message_codec
from tasks.config.settings import Settings
from tasks.intake.build import BadInputError
from tasks.records.keys import state_key, to_text
from tasks.records.status import STATES, Status, UploadState
from workers.cli import exit_codes, output
from workers.cli.watch_table import View, clean
from workers.wording import redis_trouble

INTERVAL_S = 1.0
#: Gives the uploads that have moved since the last look, and whether all has ended.
Look = Callable[[], tuple[list[UploadState], bool]]


@click.command()
@click.argument("upload_ids", nargs=-1, metavar="[UPLOAD_ID]...")
def watch(upload_ids: tuple[str, ...]) -> None:
    """Show uploads as they go on: those named until they have ended, or all until Ctrl-C.

    Where the output is no terminal: a line whenever an upload has changed its state.
    """
    settings = Settings.from_environment()
    status = Status(fail_fast_redis(settings), message_codec(settings))
    if upload_ids:
        for upload_id, one in zip(upload_ids, status.find(upload_ids), strict=True):
            if one is None:
                raise BadInputError(
                    f"no upload {upload_id} is known here; farmhaul status --all lists those "
                    "that are"
                )
    status.counts()  # without Redis it does not begin
    terminal = output.is_terminal(sys.stdout) and os.environ.get("TERM") != "dumb"
    ended = _live(status, upload_ids) if terminal else _lines(status, upload_ids)
    if any(one.has_failed for one in ended):
        raise SystemExit(exit_codes.FAILED)


# Lines


def _lines(status: Status, upload_ids: Sequence[str]) -> list[UploadState]:
    look = _named(status, upload_ids) if upload_ids else _all(status)
    away = False
    while True:
        try:
            moved, ended = look()
            if away:
                click.echo("farmhaul: Redis is back", err=True)
            away = False
        except (redis.ConnectionError, redis.TimeoutError) as error:
            if not away:
                click.echo(f"farmhaul: {redis_trouble(error)}; looking again", err=True)
            away, moved, ended = True, [], False
        for one in moved:
            _say(clean(output.state_line(one, human=True)))
        if ended:
            return [one for one in status.find(upload_ids) if one]
        time.sleep(INTERVAL_S)


def _named(status: Status, upload_ids: Sequence[str]) -> Look:
    seen: dict[str, tuple[str, str]] = {}

    def look() -> tuple[list[UploadState], bool]:
        found = [one for one in status.find(upload_ids) if one]
        moved = [one for one in found if seen.get(one.upload_id) != (one.state, one.job_state)]
        seen.update({one.upload_id: (one.state, one.job_state) for one in moved})
        return moved, all(one.has_ended for one in found)

    return look


def _all(status: Status) -> Look:
    since = [float(status.client.time()[0])]
    _say(output.counts_line(status.counts()))

    def look() -> tuple[list[UploadState], bool]:
        ids, since[0] = _moved(status, since[0])
        return [one for one in status.find(ids) if one], False

    return look


def _moved(status: Status, since: float) -> tuple[list[str], float]:
    """Name the uploads that were moved after a time, in that order, and the time of the last."""
    pipeline = status.client.pipeline(transaction=False)
    for state in STATES:
        pipeline.zrangebyscore(state_key(state), f"({since!r}", "+inf", withscores=True)
    moves = {to_text(one): at for answer in pipeline.execute() for one, at in answer}
    return sorted(moves, key=lambda one: moves[one]), max(moves.values(), default=since)


def _say(line: str) -> None:
    # Each line at once, also into a pipe.
    click.echo(f"{datetime.now().astimezone():%H:%M:%S}  {line}")
    sys.stdout.flush()


# The table


def _live(status: Status, upload_ids: Sequence[str]) -> list[UploadState]:
    from rich.console import Console
    from rich.live import Live

    console, view = Console(highlight=False), View(status, upload_ids)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            view.look(max(console.height - 5, 1))
            live.update(view.table(console), refresh=True)
            if upload_ids and not view.away and view.ended:
                break
            time.sleep(INTERVAL_S)
    # What is left on the terminal.
    console.print(view.table(console))
    return [one for one in status.find(upload_ids) if one]
