"""The command ``farmhaul fetch``: brings what ftrack.server holds onto this node's disk."""

from __future__ import annotations

import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tasks.config.redis_client import fail_fast_redis
from tasks.config.remedies import explained
from tasks.config.settings import FtrackSettings, Settings
from tasks.intake.build import BadInputError
from tasks.intake.request import UUID
from tasks.stage.retry_policy import (
    DOWNLOAD_COMMAND_OTHER,
    DOWNLOAD_COMMAND_OUTAGE,
    full_jitter,
)
from tasks.transfer.errors import (
    CredentialsRefusedError,
    FatalError,
    FileRefusedError,
    RetryableError,
    ServiceUnavailableError,
    UploadError,
)
from tasks.transfer.files import check_roots
from workers.cli import exit_codes, output
from workers.wording import size

if TYPE_CHECKING:
    from tasks.transfer.get import Fetched
    from tasks.transfer.lookup import ComponentFile

T = TypeVar("T")


@click.command()
@click.argument("component_ids", nargs=-1, required=True, metavar="COMPONENT_ID...")
@click.option("--to", "folder", required=True, metavar="DIR", help="The folder to fetch into.")
@click.option("--enqueue", is_flag=True, help="Let a worker do it; DIR is a folder it sees.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines, on a terminal too.")
def fetch(component_ids: tuple[str, ...], folder: str, *, enqueue: bool, as_json: bool) -> None:
    """Bring files and sequences from ftrack.server into a folder.

    A file that is there already is left alone, and one that was interrupted goes on.
    """
    for one in component_ids:
        if not UUID.fullmatch(one):
            raise BadInputError(f"component id {one[:100]!r} is not a UUID; copy it from ftrack")
    ids = list(dict.fromkeys(one.lower() for one in component_ids))
    settings = Settings.from_environment()
    human = output.is_terminal(sys.stdout) and not as_json
    if enqueue:
        _enqueue(settings, ids, folder, human=human)
    elif not _fetch(settings, ids, folder, human=human):
        raise SystemExit(exit_codes.FAILED)


def _enqueue(settings: Settings, ids: Sequence[str], folder: str, *, human: bool) -> None:
    from kombu.exceptions import OperationalError

    from tasks.chain import FETCH_PRIORITY, QUEUE
    from workers.app import app

    if not os.path.isabs(folder):
        raise BadInputError(f"--to {folder} is no absolute path; workers start elsewhere")
    try:
        check_roots(folder, os.path.realpath(folder), settings.storage_roots)
    except FileRefusedError as error:
        raise BadInputError(explained(error)) from None
    fail_fast_redis(settings).ping()
    for one in ids:
        try:
            task = app.send_task(
                "farmhaul.fetch_component",
                kwargs={"component_id": one, "folder": folder},
                queue=QUEUE,
                priority=FETCH_PRIORITY,
                ignore_result=True,
                retry=False,
                # Events show this in place of the arguments: paths are sealed where there is a key.
                kwargsrepr=f"({one})",
            )
        except OperationalError as error:  # Redis may also be full, or refuse us
            raise error.__cause__ or error from None
        line = {"component_id": one, "task_id": task.id, "state": "queued"}
        click.echo(f"queued     {task.id}  {one}" if human else json.dumps(line))


def _fetch(settings: Settings, ids: Sequence[str], folder: str, *, human: bool) -> bool:
    """Fetch all files, in threads; tell whether none has failed."""
    if settings.ftrack is None:
        raise BadInputError(
            "FTRACK_SERVER, FTRACK_API_USER and FTRACK_API_KEY are not set; farmhaul fetch asks "
            "ftrack from this node: set them, or let a worker do it with --enqueue"
        )
    from tasks.download import signer
    from tasks.transfer.get import get_file
    from tasks.transfer.put import store_session

    opened = _opened(folder)
    stop = Event()
    files = _files(settings.ftrack, ids, stop)
    session = store_session(settings.connections)
    sign = signer(settings.ftrack, session, lambda: None)

    def check_cancelled() -> None:
        if stop.is_set():
            raise FatalError("interrupted")

    def get(file: ComponentFile) -> Fetched:
        return _tried(lambda: get_file(file, opened, sign, session, check_cancelled), stop)

    with ThreadPoolExecutor(settings.connections, "fetch") as threads:
        try:
            under_way = {threads.submit(get, file): file for file in files}
            ended = [
                _told(under_way[done], done, folder, human=human)
                for done in as_completed(under_way)
            ]
        except BaseException:
            stop.set()
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return all(ended)


def _opened(folder: str) -> int:
    from tasks.download import open_folder

    try:
        opened = open_folder(folder)
    except OSError as error:
        raise BadInputError(f"--to {folder}: {error.strerror}; name a folder") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInputError(f"--to {folder} is not writable for this user")
    return opened


def _files(ftrack: FtrackSettings, ids: Sequence[str], stop: Event) -> list[ComponentFile]:
    from tasks.transfer.ftrack import FtrackClient
    from tasks.transfer.lookup import find_files

    client = FtrackClient(ftrack.server_url, ftrack.api_user, ftrack.api_key)

    def find() -> list[ComponentFile]:
        try:
            return find_files(client, ids)
        except FatalError as error:
            raise BadInputError(explained(error)) from None

    try:
        files = _tried(find, stop)
    except CredentialsRefusedError as error:
        raise BadInputError(
            f"{error.server} refuses FTRACK_API_USER and FTRACK_API_KEY ({error.why}); check them"
        ) from None
    [(name, count)] = Counter(file.name for file in files).most_common(1)
    if count > 1:
        raise BadInputError(f"{count} of the files would be {name}; fetch them into other folders")
    return files


def _told(file: ComponentFile, done: Future[Fetched], folder: str, *, human: bool) -> bool:
    """Say what became of a file; tell whether it is here."""
    path = os.path.join(folder, file.name)
    state, size_bytes = "failed", None
    try:
        fetched = done.result()
        state, size_bytes = fetched.state, fetched.size_bytes
    except UploadError as error:
        click.echo(f"farmhaul: {path}: {explained(error)}", err=True)
    click.echo(_line(file.component_id, path, size_bytes, state, human=human))
    return state != "failed"


def _tried(act: Callable[[], T], stop: Event) -> T:
    """Act until it succeeds, or there is no use in going on."""
    from tasks.transfer.get import BeingFetchedError

    tries: Counter[bool] = Counter()
    while True:
        asked_s = 0.0
        try:
            return act()
        except BeingFetchedError:
            stop.wait(1)  # the other one may take hours
            if stop.is_set():
                raise FatalError("interrupted") from None
            continue
        except CredentialsRefusedError:
            raise
        except RetryableError as error:
            is_outage = isinstance(error, ServiceUnavailableError)
            policy = DOWNLOAD_COMMAND_OUTAGE if is_outage else DOWNLOAD_COMMAND_OTHER
            tries[is_outage] += 1
            if stop.is_set() or tries[is_outage] >= policy.max_tries:
                why = explained(error)
                raise FatalError(f"given up after {tries.total()} tries: {why}") from None
            asked_s = min(getattr(error, "retry_after_s", None) or 0.0, policy.cap_s)
        stop.wait(asked_s + full_jitter(tries.total() - 1, policy, random.random()))


def _line(component_id: str, path: str, size_bytes: int | None, state: str, *, human: bool) -> str:
    if human:
        return f"{state:<10} {component_id}  {size(size_bytes):>9}  {path}"
    values: dict[str, Any] = {"component_id": component_id, "path": path, "size": size_bytes}
    return json.dumps({**values, "state": state})
