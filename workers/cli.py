"""The command ``farmhaul``: what hooks call, and what operators look with.

Exit codes: 0 ok, 1 doctor found a fault, 2 bad input (nothing queued), 3 Redis not reachable,
4 an upload failed (with --wait), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import click
import redis

from tasks.codec import message_codec
from tasks.connect import hasty_redis, worker_redis
from tasks.intake import BadInputError, Entry, Intake, read_manifest
from tasks.request import PRIORITIES
from tasks.settings import Settings, SettingsError
from tasks.status import LIVE_STATES, STATES, Status, UploadState
from tasks.transfer.errors import UploadError
from workers import operate, report

EXIT_FAULT = 1
EXIT_BAD_INPUT = 2
EXIT_NO_REDIS = 3
EXIT_FAILED = 4
EXIT_INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="farmhaul")
def cli() -> None:
    """Bring the files of a render farm into ftrack's media store, each exactly once."""


for command in (operate.retry, operate.cancel, operate.drain, operate.limit):
    cli.add_command(command)


@cli.command()
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option("--component-id", metavar="UUID", help="The component whose file this is.")
@click.option("--version-id", metavar="UUID", help="Create a component under this version.")
@click.option("--name", help="The name of that component; by default the file's, without suffix.")
@click.option("--thumbnail", is_flag=True, help="Make it the version's thumbnail.")
@click.option("--encode", is_flag=True, help="Have ftrack encode it for review.")
@click.option(
    "--manifest", type=click.File(errors="surrogateescape"), help="JSON lines; - reads stdin."
)
@click.option(
    "--priority", type=click.Choice([*PRIORITIES]), default="normal", show_default=True,
    help="Which of the waiting uploads go first.",
)  # fmt: skip
@click.option("--node-local", is_flag=True, help="Only this host sees the files.")
@click.option("--allow-empty", is_flag=True, help="Take files of 0 bytes too.")
@click.option("--no-stat", is_flag=True, help="Do not look at the files here; the worker does.")
@click.option("--wait", is_flag=True, help="Return when all is located, or one has failed.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Wait no longer.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, on a terminal too.")
def enqueue(  # noqa: PLR0917 the arguments are click's
    paths: tuple[str, ...],
    component_id: str | None,
    version_id: str | None,
    name: str | None,
    thumbnail: bool,
    encode: bool,
    manifest: TextIO | None,
    priority: str,
    node_local: bool,
    allow_empty: bool,
    no_stat: bool,
    wait: bool,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Queue files for upload and return at once.

    \b
    farmhaul enqueue /mnt/prod/sh010.mov --component-id 2c5e…
    farmhaul enqueue /mnt/prod/sh010.mov --version-id 9f1d… --name main --encode
    farmhaul enqueue --manifest list.jsonl --wait

    Prints a line for each upload. Enqueueing a file again is harmless: it is the same upload.
    """  # noqa: D301 click takes \b for "do not wrap"
    if timeout is not None and not wait:
        raise BadInputError("--timeout goes with --wait; without it nothing is waited for")
    if manifest is not None:
        if paths or component_id or version_id or name or thumbnail or encode:
            raise BadInputError("--manifest goes without paths, ids and what belongs to them")
        entries = _manifest_entries(manifest, priority)
    else:
        extras = (component_id, version_id, name, thumbnail, encode, priority)
        entries = _entries(paths, *extras)
    settings = Settings.from_environment()
    intake = Intake(settings, allow_empty=allow_empty, stat=not no_stat, node_local=node_local)
    requests = intake.requests(entries)

    from workers.submit import submit

    states = submit(settings, requests)
    failed: list[UploadState] = []
    if wait and "spooled" not in states:
        status = Status(worker_redis(settings), message_codec(settings))
        ids = list(dict.fromkeys(request.upload_id for request in requests))
        ended = report.wait_for(status, ids, timeout)
        states = [ended[request.upload_id].state for request in requests]
        failed = [one for one in ended.values() if one.state != "located"]
    human = report.is_terminal(sys.stdout) and not as_json
    for request, state in zip(requests, states, strict=True):
        click.echo(report.upload_line(request, state, human=human))
    for one in failed:
        why = one.error or "not done yet"
        click.echo(f"farmhaul: {one.path}: {one.state}: {why}", err=True)
    if failed or (wait and "spooled" in states):
        raise SystemExit(EXIT_FAILED)


def _entries(paths: Sequence[str], *extras: Any) -> list[Entry]:
    _, _, name, *_ = extras
    if not paths:
        raise BadInputError("name a file to upload, or a --manifest; see farmhaul enqueue --help")
    if name and len(paths) > 1:
        raise BadInputError(f"--name {name} is for one file, and {len(paths)} are given")
    return [Entry(path, *extras) for path in paths]


def _manifest_entries(manifest: TextIO, priority: str) -> list[Entry]:
    try:
        return read_manifest(manifest, priority)
    except OSError as error:
        raise BadInputError(f"cannot read the manifest {manifest.name}: {error.strerror}") from None


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


def _ids_of(reader: Status, which: str | None) -> Sequence[str]:
    states = {"failed": ("failed",), "all": STATES}.get(which or "", LIVE_STATES)
    return reader.ids_in(states)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="JSON lines, on a terminal too.")
def doctor(as_json: bool) -> None:
    """Check all that uploads need, and name the next step where something is wrong."""
    from workers.doctor import diagnose

    human = report.is_terminal(sys.stdout) and not as_json
    faults = 0
    for finding in diagnose():
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
