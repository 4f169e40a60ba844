"""``farmhaul fetch``: download files from ftrack.server to this node, or let a worker do it."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence

import click

from tasks.config.settings import Settings
from tasks.intake.errors import BadInputError
from tasks.intake.exit_codes import FAILED
from tasks.records.fail_fast import fail_fast_redis
from tasks.records.fetches import Fetches
from tasks.records.scripts import open_scripts
from tasks.transfer.allowed import check_roots
from tasks.transfer.errors import FileRefusedError
from tasks.transfer.hanging import HungError, look
from tasks.transfer.targets import is_uuid
from workers.cli import output
from workers.cli.records import open_app, person
from workers.downloads import send_fetch


@click.command()
@click.argument("component_ids", nargs=-1, required=True, metavar="COMPONENT_ID...")
@click.option("--to", "folder", required=True, metavar="DIR", help="Existing folder to fetch into.")
@click.option("--enqueue", is_flag=True, help="Let a worker fetch; the worker must see DIR too.")
@output.json_option
def fetch(component_ids: tuple[str, ...], folder: str, *, enqueue: bool, human: bool) -> None:
    """Download files from ftrack.server into a folder.

    \b
    farmhaul fetch 3a7f0ed1-… --to /mnt/prod/plates
    farmhaul fetch 3a7f0ed1-… --to /mnt/prod/plates --enqueue

    Files of the same names are replaced, unless they have the same contents. An interrupted
    download continues.
    """  # noqa: D301 click takes \b for "do not wrap"
    for component_id in component_ids:
        if not is_uuid(component_id):
            raise BadInputError(
                f"component id {component_id[:100]!r} is not a UUID; copy it from ftrack"
            )
    ids = list(dict.fromkeys(component_id.lower() for component_id in component_ids))
    settings = Settings.from_environment()
    if enqueue:
        _enqueue(settings, ids, folder, human=human)
        return
    from workers.cli.fetch_here import fetch_here

    if not fetch_here(settings, ids, folder, human=human):
        raise SystemExit(FAILED)


def _enqueue(settings: Settings, ids: Sequence[str], folder: str, *, human: bool) -> None:
    if not os.path.isabs(folder):
        raise BadInputError(
            f"--to {folder} is a relative path; write an absolute path, because workers run in "
            "other folders"
        )
    try:
        look(lambda: check_roots(folder, os.path.realpath(folder), settings.storage_roots))
    except HungError:
        raise BadInputError(
            f"--to {folder} does not answer here: look at the mount on this host"
        ) from None
    except FileRefusedError as error:
        raise BadInputError(
            f"--to {error}; name a folder below them, or add this one to FARMHAUL_STORAGE_ROOTS"
        ) from None
    client = fail_fast_redis(settings)
    client.ping()
    fetches = Fetches(open_scripts(settings, client))
    who = person()
    for component_id in ids:
        fetch_id = str(uuid.uuid4())
        send_fetch(open_app(), fetches, fetch_id, component_id, folder, who=who)
        line = {"component_id": component_id, "task_id": fetch_id, "state": "queued"}
        output.show(f"queued     {fetch_id}  {component_id}" if human else json.dumps(line))
