"""How ``farmhaul fetch`` downloads by itself: all files, in threads, with a few retries.

Only a run of the command imports this module, because ``requests`` would slow down each hook.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from threading import Event, Lock

from tasks.config.remedies import explained
from tasks.config.settings import FtrackSettings, Settings
from tasks.config.texts import visible
from tasks.intake.answer import size
from tasks.intake.errors import BadInputError
from tasks.intake.exit_codes import FAILED, complain, say
from tasks.records.fail_fast import fail_fast_redis
from tasks.records.scripts import open_scripts
from tasks.stage.limits import Limits
from tasks.stage.signer import signer
from tasks.stage.threads import STALLED_S, Threads, Unfinished, note_progress, pause
from tasks.stage.tries import hung_text, tried
from tasks.transfer.allowed import open_folder
from tasks.transfer.errors import CredentialsRefusedError, FatalError, UploadError
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.get import Fetched, get_file
from tasks.transfer.lookup import ComponentFile, find_files
from tasks.transfer.put import store_session
from workers.cli.output import show

#: How long the folder may take to open.
FOLDER_S = 15.0


def fetch_here(settings: Settings, ids: Sequence[str], folder: str, *, human: bool) -> bool:
    """Download all files of the components; return whether none has failed."""
    if settings.ftrack is None:
        raise BadInputError(
            "FTRACK_SERVER, FTRACK_API_USER and FTRACK_API_KEY are not set, but farmhaul fetch "
            "calls ftrack from this node; set them, or let a worker fetch with --enqueue"
        )
    opened = _opened(folder)
    stop = Event()
    limits = _limits(settings)
    files = _files(settings.ftrack, ids, stop, limits.api_call)
    session = store_session(settings.connections)
    sign = signer(settings.ftrack, session, limits.api_call)

    def check_cancelled() -> None:
        note_progress()
        if stop.is_set():
            raise FatalError("interrupted")

    def get(file: ComponentFile) -> Fetched:
        pace = partial(limits.download, file.size_bytes, check_cancelled)
        return tried(
            lambda: get_file(file, opened, sign, session, check_cancelled, pace=pace()), stop
        )

    printing = Lock()

    def fetch(file: ComponentFile) -> bool:
        try:
            outcome: Fetched | UploadError = get(file)
        except UploadError as error:
            outcome = error
        note_progress()  # one that was left behind has been reported
        with printing:
            return _report(file, outcome, folder, human=human)

    # Threads that nobody waits for when the command ends: a file system may hang.
    threads = Threads(settings.connections)
    try:
        fetched = threads.run(files, fetch, lambda _: STALLED_S)
    except BaseException:
        stop.set()
        raise
    for file, outcome in zip(files, fetched, strict=True):
        if isinstance(outcome, Unfinished):
            _report(file, _hung(folder, outcome), folder, human=human)
    return all(outcome is True for outcome in fetched)


def _limits(settings: Settings) -> Limits:
    # Without Redis, the command keeps the limits of its own environment.
    return Limits(
        open_scripts(settings, fail_fast_redis(settings)),
        {"bandwidth": settings.bandwidth, "api_rate": settings.api_rate},
        sleep=pause,
    )


def _hung(folder: str, outcome: Unfinished) -> UploadError:
    text = hung_text(outcome, f"writing to {folder}")
    if outcome.why != "given back":
        text += "; look at the mount on this host, and run the command again"
    return FatalError(text)


def _opened(folder: str) -> int:
    def open_it(path: str) -> int | OSError:
        try:
            opened = open_folder(path)
            is_writable = os.access(path, os.W_OK | os.X_OK)
        except OSError as error:
            return error
        return opened if is_writable else -1

    # The folder may hang, too.
    [opened] = Threads(1).run([folder], open_it, lambda _: FOLDER_S)
    if isinstance(opened, Unfinished):
        raise BadInputError(
            f"--to {folder} does not answer: nothing has moved for {opened.silent_s:.0f} s; look "
            "at the mount on this host, or name another folder"
        )
    if isinstance(opened, OSError):
        raise BadInputError(f"--to {visible(folder)}: {opened.strerror}; name an existing folder")
    if opened < 0:
        raise BadInputError(f"--to {folder} is not writable for this user")
    return opened


def _files(
    ftrack: FtrackSettings, ids: Sequence[str], stop: Event, before_call: Callable[[], None]
) -> list[ComponentFile]:
    client = FtrackClient(ftrack.server_url, ftrack.api_user, ftrack.api_key, before_call)

    def find() -> list[ComponentFile]:
        try:
            return find_files(client, ids)
        except FatalError as error:
            raise BadInputError(explained(error)) from None

    try:
        return tried(find, stop, say)
    except CredentialsRefusedError as error:
        raise BadInputError(
            f"{error.server} refuses FTRACK_API_USER and FTRACK_API_KEY ({error.why}); check them"
        ) from None


def _report(
    file: ComponentFile, outcome: Fetched | UploadError, folder: str, *, human: bool
) -> bool:
    """Print the line of a file that has ended; return whether it is here.

    In JSON, ``size`` is in bytes, and null after a failure. ``path`` is null if the file cannot
    have one.
    """
    path = None if file.fault else os.path.join(folder, file.name)
    state, size_bytes = "failed", None
    if isinstance(outcome, UploadError):
        complain(f"{path}: {explained(outcome)}" if path else explained(outcome), FAILED)
    else:
        state, size_bytes = outcome.state, outcome.size_bytes
    if human:
        show(f"{state:<10} {file.component_id}  {size(size_bytes):>9}  {path or '?'}")
    else:
        line = {"component_id": file.component_id, "path": path, "size": size_bytes, "state": state}
        show(json.dumps(line))
    return state != "failed"
