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

from tasks.codec import message_codec
from tasks.connect import hasty_redis
from tasks.manifest import BadInputError
from tasks.settings import Settings, SettingsError
from tasks.status import LIVE_STATES, STATES, Status
from tasks.transfer.errors import UploadError
from workers import operate, report
from workers.enqueue import EXIT_FAILED, enqueue
from workers.fetch import fetch
from workers.watch import watch

EXIT_FAULT = 1
EXIT_BAD_INPUT = 2
EXIT_NO_REDIS = 3
EXIT_INTERRUPTED = 130

#: So many files of a publish are listed under it.
FILES_SHOWN = 20


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="farmhaul")
def cli() -> None:
    """Bring the files of a render farm into ftrack's media store, each exactly once."""


for command in (enqueue, operate.retry, operate.cancel, operate.drain, operate.limit, fetch, watch):
    cli.add_command(command)


@cli.command()
@click.argument("upload_ids", nargs=-1, metavar="[UPLOAD_ID]...")
@click.option("--failed", "which", flag_value="failed", help="Those that failed, with the reason.")
@click.option("--active", "which", flag_value="active", help="Those that are not done yet.")
@click.option("--all", "which", flag_value="all", help="All that the records still hold.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, on a terminal too.")
def status(upload_ids: tuple[str, ...], which: str | None, as_json: bool) -> None:
    """Show uploads: where they are, and why they wait or failed.

    Without arguments: how many uploads are in each state, and those that are not done yet.
    """
    settings = Settings.from_environment()
    reader = Status(hasty_redis(settings), message_codec(settings))
    human = report.is_terminal(sys.stdout) and not as_json
    if human and not upload_ids and which is None:
        click.echo(report.counts_line(reader.counts()))
    ids = upload_ids or _ids_of(reader, which)
    uploads = reader.find(ids)
    missing = [one for one, found in zip(ids, uploads, strict=True) if found is None]
    if upload_ids and missing:
        raise BadInputError(
            f"no upload {missing[0]} is known here; farmhaul status --all lists those that are"
        )
    known = [one for one in uploads if one is not None]
    if human and which == "failed":
        click.echo("\n".join(report.failures(known)) or "no uploads have failed")
        return
    for one in known:
        click.echo(report.state_line(one, human=human))
        if human and upload_ids:
            for file in reader.files_left(one.upload_id, FILES_SHOWN) if one.files else []:
                click.echo(f"  {report.state_line(file, human=True)}")


def _ids_of(reader: Status, which: str | None) -> Sequence[str]:
    states = {"failed": ("failed",), "all": STATES}.get(which or "", LIVE_STATES)
    return reader.ids_in(states)


@cli.command()
@click.option("--put", is_flag=True, help="Send the media store a few bytes, too.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, on a terminal too.")
def doctor(put: bool, as_json: bool) -> None:
    """Check all that uploads need, and name the next step where something is wrong."""
    from workers.doctor import diagnose

    human = report.is_terminal(sys.stdout) and not as_json
    faults = 0
    for finding in diagnose(put=put):
        click.echo(finding.line(human=human))
        faults += finding.level == "fault"
    if faults:
        raise SystemExit(EXIT_FAULT)


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
        code = _complain(error, EXIT_BAD_INPUT)
    except redis.RedisError as error:
        code = _complain(report.redis_trouble(error), EXIT_NO_REDIS)
    except UploadError as error:
        code = _complain(error, EXIT_FAILED)
    except BrokenPipeError:
        # Whoever read our output has enough of it; what is still buffered goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        code = _complain("interrupted; what is queued goes on", EXIT_INTERRUPTED)
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
