"""``farmhaul enqueue``: what hooks call."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO

import click
import redis

from tasks.config.redis_client import fail_fast_redis, worker_redis
from tasks.config.sealing import message_codec
from tasks.config.settings import Settings
from tasks.intake.build import Intake
from tasks.intake.manifest import BadInputError, Entry, read_manifest
from tasks.intake.request import PRIORITIES, Request
from tasks.records.record import open_record
from tasks.records.status import Status, UploadState
from workers.cli import exit_codes, output

#: What a hook sends of what earlier hooks had to spool; it must not wait for thousands.
SPOOLED_AT_ONCE = 100


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option("--component-id", metavar="UUID", help="The component whose file this is.")
@click.option("--version-id", metavar="UUID", help="Create a component under this version.")
@click.option("--name", help="The name of that component; by default the file's, without suffix.")
@click.option("--thumbnail", is_flag=True, help="Make it the version's thumbnail.")
@click.option("--task-id", metavar="UUID", help="With --thumbnail: the task's thumbnail too.")
@click.option("--encode", is_flag=True, help="Have ftrack encode it for review.")
@click.option(
    "--reviewable", is_flag=True, help="It can be reviewed as it is: mp4, webm, jpg, png."
)
@click.option("--frame-range", metavar="RANGE", help="Of a reviewable movie, as 1001-1240.")
@click.option("--fps", metavar="FPS", help="Of a reviewable movie: frames a second.")
@click.option("--resolution", metavar="WxH", help="Of a reviewable: width and height in pixels.")
@click.option(
    "--metadata", multiple=True, metavar="KEY=VALUE", help="Of the component; repeatable."
)
@click.option(
    "--manifest", type=click.File(errors="surrogateescape"), help="JSON lines; - reads stdin."
)
@click.option(
    "--priority", type=click.Choice([*PRIORITIES]), default="normal", show_default=True,
    help="Which of the waiting uploads go first.",
)  # fmt: skip
@click.option("--allow-missing", is_flag=True, help="Take sequences that have holes.")
@click.option("--node-local", is_flag=True, help="Only this host sees the files.")
@click.option("--allow-empty", is_flag=True, help="Take files of 0 bytes too.")
@click.option("--no-stat", is_flag=True, help="Do not look at the files here; the worker does.")
@click.option("--wait", is_flag=True, help="Return when all is located, or one has failed.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Wait no longer.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, on a terminal too.")
def enqueue(  # noqa: PLR0917 the arguments are click's
    paths: tuple[str, ...],
    manifest: TextIO | None,
    priority: str,
    allow_missing: bool,
    node_local: bool,
    allow_empty: bool,
    no_stat: bool,
    wait: bool,
    timeout: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Queue files and image sequences for upload, and return at once.

    \b
    farmhaul enqueue /mnt/prod/sh010.mov --component-id 2c5e…
    farmhaul enqueue '/mnt/prod/sh010.%04d.exr [1001-1240]' --version-id 9f1d… --name main
    farmhaul enqueue --manifest list.jsonl --wait

    Prints a line for each upload. Enqueueing a file again is harmless: it is the same upload.
    """  # noqa: D301 click takes \b for "do not wrap"
    if timeout is not None and not wait:
        raise BadInputError("--timeout goes with --wait; without it nothing is waited for")
    entries = _entries(paths, manifest, priority, options)
    settings = Settings.from_environment()
    intake = Intake(settings, allow_empty, not no_stat, node_local, allow_missing)
    requests = intake.requests(entries)

    states = submit(settings, requests)
    failed: list[UploadState] = []
    if wait and "spooled" not in states:
        status = Status(worker_redis(settings), message_codec(settings))
        ids = list(dict.fromkeys(request.upload_id for request in requests))
        ended = output.wait_for(status, ids, timeout)
        states = [ended[request.upload_id].state for request in requests]
        failed = [one for one in ended.values() if one.has_failed or not one.has_ended]
    human = output.is_terminal(sys.stdout) and not as_json
    for request, state in zip(requests, states, strict=True):
        click.echo(output.upload_line(request, state, human=human))
    for one in failed:
        click.echo(f"farmhaul: {one.path}: {output.trouble(one)}", err=True)
    if failed or (wait and "spooled" in states):
        raise SystemExit(exit_codes.FAILED)


def _entries(
    paths: Sequence[str], manifest: TextIO | None, priority: str, options: dict[str, Any]
) -> list[Entry]:
    unset: tuple[object, ...] = (None, False, ())
    options = {name: value for name, value in options.items() if value not in unset}
    if manifest is not None:
        if paths or options:
            raise BadInputError("--manifest goes without paths, ids and what belongs to them")
        try:
            return read_manifest(manifest, priority)
        except OSError as error:
            why = f"cannot read the manifest {manifest.name}: {error.strerror}"
            raise BadInputError(why) from None
    if not paths:
        raise BadInputError("name a file to upload, or a --manifest; see farmhaul enqueue --help")
    for name in ("name", "thumbnail", "reviewable"):
        if name in options and len(paths) > 1:
            given = f"--{name} {options[name]}" if name == "name" else f"--{name}"
            raise BadInputError(f"{given} is for one file, and {len(paths)} are given")
    if "metadata" in options:
        options["metadata"] = dict(map(_pair, options["metadata"]))
    return [Entry(path, priority=priority, **options) for path in paths]


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise BadInputError(f"--metadata {text!r} is no KEY=VALUE; write --metadata colour=ACEScg")
    return key, value


def submit(settings: Settings, requests: Sequence[Request]) -> list[str]:
    """Enqueue uploads, or spool them; gives the state of each. Raises RedisError."""
    from tasks import chain
    from tasks.spool import Spool
    from workers.app import app

    record = open_record(settings, fail_fast_redis(settings))
    try:
        states = chain.enqueue(app, record, requests)
    except redis.RedisError as error:
        if not settings.spool:
            raise
        states = _spool(settings.spool, requests)
        print(  # noqa: T201 for the log of the hook
            f"farmhaul: Redis is away ({type(error).__name__}); kept in {settings.spool}, "
            "and sent by the next enqueue, a worker here, or farmhaul flush-spool",
            file=sys.stderr,
        )
        return states
    if settings.spool:
        # These uploads are queued; what is wrong with the spool, farmhaul flush-spool says.
        with suppress(redis.RedisError, OSError):
            Spool(settings.spool).flush(app, record, settings, most=SPOOLED_AT_ONCE)
    return states


def _spool(folder: str, requests: Sequence[Request]) -> list[str]:
    from tasks.spool import Spool

    try:
        Spool(folder).write(requests)
    except OSError as error:
        why = f"nor can FARMHAUL_SPOOL be written: {error.strerror} in {folder}"
        raise redis.ConnectionError(why) from None
    return ["spooled"] * len(requests)
