"""``farmhaul enqueue``: the command that hooks call."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO

import click
import redis

from tasks.config.redis_client import fail_fast_redis, worker_redis
from tasks.config.sealing import message_codec
from tasks.config.settings import Settings
from tasks.intake.answer import upload_line
from tasks.intake.build import Options, build_requests
from tasks.intake.errors import BadInputError
from tasks.intake.exit_codes import FAILED, complain
from tasks.intake.manifest import Entry, read_manifest
from tasks.intake.request import PRIORITIES, Request
from tasks.records.commands import Commands
from tasks.records.scripts import open_scripts
from tasks.records.status import Status, UploadState
from workers.cli import output
from workers.cli.wait import wait_for

#: How many spooled uploads one ``enqueue`` sends along; a hook must not wait for thousands.
SPOOLED_AT_ONCE = 100


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option("--component-id", metavar="UUID", help="The existing component to upload PATH to.")
@click.option("--version-id", metavar="UUID", help="Create a component in this asset version.")
@click.option("--name", help="Name of the new component; by default the file name without suffix.")
@click.option("--thumbnail", is_flag=True, help="Make the file the version's thumbnail.")
@click.option("--task-id", metavar="UUID", help="With --thumbnail: make it this task's as well.")
@click.option("--encode", is_flag=True, help="Let ftrack encode the file for review.")
@click.option(
    "--reviewable", is_flag=True, help="The file can be reviewed as it is: mp4, webm, jpg or png."
)
@click.option(
    "--frame-range", metavar="RANGE", help="Frame range of a reviewable movie, such as 1001-1240."
)
@click.option("--fps", metavar="FPS", help="Frames per second of a reviewable movie.")
@click.option("--resolution", metavar="WxH", help="Width and height of a reviewable, in pixels.")
@click.option(
    "--metadata", multiple=True, metavar="KEY=VALUE",
    help="Metadata of the new component; repeatable.",
)  # fmt: skip
@click.option(
    "--manifest", type=click.File(errors="surrogateescape"),
    help="Read uploads from a file of JSON lines; - reads stdin.",
)  # fmt: skip
@click.option(
    "--priority", type=click.Choice([*PRIORITIES]), default="normal", show_default=True,
    help="Which pending uploads go first.",
)  # fmt: skip
@click.option("--allow-missing", is_flag=True, help="Accept sequences with missing frames.")
@click.option("--node-local", is_flag=True, help="Only this host sees the files.")
@click.option("--allow-empty", is_flag=True, help="Accept files of 0 bytes.")
@click.option("--no-stat", is_flag=True, help="Do not check the files here; a worker does.")
@click.option(
    "--wait", is_flag=True, help="Return when all uploads, and their encodings, have ended."
)
@click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="S",
    help="With --wait: return after this many seconds at the latest.",
)  # fmt: skip
@output.json_option
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
    human: bool,
    **options: Any,
) -> None:
    """Queue files and image sequences for upload. Returns at once, except with --wait.

    \b
    farmhaul enqueue /mnt/prod/sh010.mov --component-id 2c5e…
    farmhaul enqueue '/mnt/prod/sh010.%04d.exr [1001-1240]' --version-id 9f1d… --name main
    farmhaul enqueue --manifest list.jsonl --wait

    Prints a line for each upload. You can enqueue a file again: it is the same upload.
    """  # noqa: D301 click takes \b for "do not wrap"
    if timeout is not None and not wait:
        raise BadInputError("--timeout needs --wait; without --wait, enqueue returns at once")
    entries = _entries(paths, manifest, priority, options)
    settings = Settings.from_environment()
    how = Options(
        allow_empty=allow_empty,
        stat=not no_stat,
        node_local=node_local,
        allow_missing=allow_missing,
    )
    requests = build_requests(entries, settings, how)

    states = submit(settings, requests)
    failed: list[UploadState] = []
    if wait and "spooled" not in states:
        status = Status(worker_redis(settings), message_codec(settings))
        ids = list(dict.fromkeys(request.upload_id for request in requests))
        ended = wait_for(status, ids, timeout)
        states = [ended[request.upload_id].state for request in requests]
        failed = [upload for upload in ended.values() if upload.has_failed or not upload.has_ended]
    for request, state in zip(requests, states, strict=True):
        click.echo(upload_line(request, state, human=human))
    for upload in failed:
        complain(f"{upload.path}: {output.problem(upload)}", FAILED)
    if failed or (wait and "spooled" in states):
        raise SystemExit(FAILED)


def _entries(
    paths: Sequence[str], manifest: TextIO | None, priority: str, options: dict[str, Any]
) -> list[Entry]:
    unset: tuple[object, ...] = (None, False, ())
    options = {name: value for name, value in options.items() if value not in unset}
    if manifest is not None:
        if paths or options:
            raise BadInputError(
                "--manifest cannot be combined with paths or options of a single upload; "
                "write these into its lines"
            )
        try:
            return read_manifest(manifest, priority)
        except OSError as error:
            why = f"cannot read the manifest {manifest.name}: {error.strerror}"
            raise BadInputError(why) from None
    if not paths:
        raise BadInputError("name a file to upload, or use --manifest; see farmhaul enqueue --help")
    for name in ("name", "thumbnail", "reviewable"):
        if name in options and len(paths) > 1:
            given = f"--{name} {options[name]}" if name == "name" else f"--{name}"
            raise BadInputError(
                f"{given} is for one file, but {len(paths)} are given; enqueue them one by one, "
                "or use --manifest"
            )
    if "metadata" in options:
        options["metadata"] = dict(map(_pair, options["metadata"]))
    return [Entry(path, priority=priority, **options) for path in paths]


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise BadInputError(
            f"--metadata {text!r} is not KEY=VALUE; write, for example, --metadata colour=ACEScg"
        )
    return key, value


def submit(settings: Settings, requests: Sequence[Request]) -> list[str]:
    """Enqueue uploads, or spool them when Redis is unreachable; return the state of each.

    Raises:
        RedisError: there is no spool, or the spool cannot be written.
    """
    from tasks import chain
    from tasks.spool import Spool
    from workers.app import app

    commands = Commands(open_scripts(settings, fail_fast_redis(settings)))
    try:
        states = chain.enqueue(app, commands, requests)
    except redis.RedisError as error:
        if not settings.spool:
            raise
        states = _spool(settings.spool, requests)
        # For the log of the hook.
        click.echo(
            f"farmhaul: Redis is unreachable ({type(error).__name__}); kept in {settings.spool} "
            "until the next enqueue, a worker on this host, or farmhaul flush-spool sends it",
            err=True,
        )
        return states
    if settings.spool:
        # These uploads are queued. farmhaul flush-spool reports what is wrong with the spool.
        with suppress(redis.RedisError, OSError):
            Spool(settings.spool).flush(app, commands, settings, limit=SPOOLED_AT_ONCE)
    return states


def _spool(folder: str, requests: Sequence[Request]) -> list[str]:
    from tasks.spool import Spool

    try:
        Spool(folder).write(requests)
    except OSError as error:
        why = f"FARMHAUL_SPOOL cannot be written either: {error.strerror} in {folder}"
        raise redis.ConnectionError(why) from None
    return ["spooled"] * len(requests)
