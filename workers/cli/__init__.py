"""The command ``farmhaul``: what hooks call, and what operators look with.

Exit codes: 0 ok, 1 doctor found a fault, 2 bad input (nothing queued), 3 Redis not reachable,
4 an upload failed (with --wait), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click
import redis

from tasks.config.remedies import explained
from tasks.config.settings import Settings, SettingsError
from tasks.intake.manifest import BadInputError
from tasks.transfer.errors import UploadError
from workers.cli.enqueue import enqueue
from workers.cli.exit_codes import BAD_INPUT, FAILED, FAULT, INTERRUPTED, NO_REDIS
from workers.cli.fetch import fetch
from workers.cli.limit import limit
from workers.cli.output import is_terminal
from workers.cli.spool import flush_spool
from workers.cli.status import status
from workers.cli.uploads import cancel, retry
from workers.cli.watch import watch
from workers.wording import redis_trouble


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="farmhaul")
def cli() -> None:
    """Bring the files of a render farm into ftrack's media store, each exactly once."""


for command in (enqueue, status, watch, retry, cancel, limit, fetch, flush_spool):
    cli.add_command(command)


@cli.command()
@click.option("--put", is_flag=True, help="Send the media store a few bytes, too.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, on a terminal too.")
def doctor(put: bool, as_json: bool) -> None:
    """Check all that uploads need, and name the next step where something is wrong."""
    from workers.doctor import diagnose

    human = is_terminal(sys.stdout) and not as_json
    faults = 0
    for finding in diagnose(put=put):
        click.echo(finding.line(human=human))
        faults += finding.level == "fault"
    if faults:
        raise SystemExit(FAULT)


@cli.command()
@click.option("--port", type=click.IntRange(1, 65535), default=9840, show_default=True)
@click.option("--address", default="127.0.0.1", show_default=True, help="Where to listen.")
def exporter(port: int, address: str) -> None:
    """Serve metrics for Prometheus, until it is ended."""
    from workers.exporter import serve

    serve(Settings.from_environment(), address, port)


@cli.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def worker(options: tuple[str, ...]) -> None:
    """Start a worker; takes all options of celery worker (--help lists them)."""
    from workers.app import app

    app.worker_main(["worker", "--loglevel=INFO", "--without-gossip", "--without-mingle", *options])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; whatever goes wrong is a line on stderr and an exit code."""
    try:
        code = _run(arguments)
    except (BadInputError, SettingsError) as error:
        code = _complain(error, BAD_INPUT)
    except redis.RedisError as error:
        code = _complain(redis_trouble(error), NO_REDIS)
    except UploadError as error:
        code = _complain(explained(error), FAILED)
    except BrokenPipeError:
        # Whoever read our output has enough of it; what is still buffered goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        code = _complain("interrupted; what is queued goes on", INTERRUPTED)
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> Any:
    # Not cli.main(): of a closed pipe it makes exit code 1, which is none of ours.
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        with cli.make_context("farmhaul", given) as context:
            return cli.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        raise BadInputError(error.format_message()) from None


def _complain(what: object, code: int) -> int:
    for line in str(what).splitlines():
        click.echo(f"farmhaul: {line}", err=True)
    return code


if __name__ == "__main__":
    main()
