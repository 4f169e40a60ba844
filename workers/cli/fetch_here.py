"""How ``farmhaul fetch`` downloads by itself: all files, in threads, with a few retries.

Only a run of the command imports this module, because ``requests`` would slow down each hook.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from threading import Event
from typing import TypeVar

from tasks.config.remedies import explained
from tasks.config.settings import FtrackSettings, Settings
from tasks.download import open_folder, signer
from tasks.intake.answer import size
from tasks.intake.errors import BadInputError
from tasks.intake.exit_codes import FAILED, complain
from tasks.stage.retry_policy import (
    DOWNLOAD_COMMAND_OTHER,
    DOWNLOAD_COMMAND_OUTAGE,
    full_jitter,
)
from tasks.transfer.errors import (
    CredentialsRefusedError,
    FatalError,
    OwnSettingsError,
    RetryableError,
    ServiceUnavailableError,
    UploadError,
)
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.get import BeingFetchedError, Fetched, get_file
from tasks.transfer.lookup import ComponentFile, find_files
from tasks.transfer.put import store_session
from workers.cli.output import show

T = TypeVar("T")


def fetch_here(settings: Settings, ids: Sequence[str], folder: str, *, human: bool) -> bool:
    """Download all files of the components; return whether none has failed."""
    if settings.ftrack is None:
        raise BadInputError(
            "FTRACK_SERVER, FTRACK_API_USER and FTRACK_API_KEY are not set, but farmhaul fetch "
            "calls ftrack from this node; set them, or let a worker fetch with --enqueue"
        )
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
            running = {threads.submit(get, file): file for file in files}
            fetched = [
                _report(running[done], done, folder, human=human) for done in as_completed(running)
            ]
        except BaseException:
            stop.set()
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return all(fetched)


def _opened(folder: str) -> int:
    try:
        opened = open_folder(folder)
    except OSError as error:
        raise BadInputError(f"--to {folder}: {error.strerror}; name an existing folder") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInputError(f"--to {folder} is not writable for this user")
    return opened


def _files(ftrack: FtrackSettings, ids: Sequence[str], stop: Event) -> list[ComponentFile]:
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
    named = Counter(file.name for file in files if not file.fault)
    for name, count in named.most_common(1):
        if count > 1:
            raise BadInputError(
                f"{count} of the files would be named {name}; fetch them into different folders"
            )
    return files


def _report(file: ComponentFile, done: Future[Fetched], folder: str, *, human: bool) -> bool:
    """Print the line of a file that has ended; return whether it is here.

    In JSON, ``size`` is in bytes, and null after a failure. ``path`` is null if the file cannot
    have one.
    """
    path = None if file.fault else os.path.join(folder, file.name)
    state, size_bytes = "failed", None
    try:
        fetched = done.result()
        state, size_bytes = fetched.state, fetched.size_bytes
    except UploadError as error:
        complain(f"{path}: {explained(error)}" if path else explained(error), FAILED)
    if human:
        show(f"{state:<10} {file.component_id}  {size(size_bytes):>9}  {path or '?'}")
    else:
        line = {"component_id": file.component_id, "path": path, "size": size_bytes, "state": state}
        show(json.dumps(line))
    return state != "failed"


def _tried(act: Callable[[], T], stop: Event) -> T:
    """Call ``act`` until it succeeds, it fails for good, or its tries are used up."""
    tries: Counter[bool] = Counter()
    while True:
        asked_s = 0.0
        try:
            return act()
        except BeingFetchedError:
            stop.wait(1)  # the other process may take hours
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
                if isinstance(error, OwnSettingsError):
                    raise
                # Only the facts: unlike a worker, this command does not try again by itself.
                text = str(error)
                facts = text.rpartition("; ")[0] or text
                raise FatalError(
                    f"{facts}; gave up after {tries.total()} tries, so run the command again later"
                ) from None
            asked_s = min(getattr(error, "retry_after_s", None) or 0.0, policy.cap_s)
        stop.wait(asked_s + full_jitter(tries.total() - 1, policy, random.random()))
