"""Download a component's files into a folder of this node, for the command and for workers."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

from celery import Task, shared_task

from tasks.chain import FETCH_PRIORITY, QUEUE
from tasks.records.fetches import Fetches
from tasks.records.nodes import are_other_hosts
from tasks.stage.context import clients
from tasks.stage.download_progress import Progress, UnwantedError
from tasks.stage.redaction import RedactedTask
from tasks.stage.retry_policy import (
    DOWNLOAD_BUSY,
    DOWNLOAD_ELSEWHERE,
    DOWNLOAD_TASK,
    Policy,
    full_jitter,
)
from tasks.stage.signer import signer
from tasks.stage.threads import STALLED_S, StoppedError, Unfinished, note_progress
from tasks.transfer.allowed import open_folder
from tasks.transfer.errors import (
    FatalError,
    FolderRefusedError,
    RetryableError,
    ServiceUnavailableError,
    UploadError,
)
from tasks.transfer.get import get_file
from tasks.transfer.lookup import ComponentFile, find_files
from tasks.transfer.part_file import BeingFetchedError

#: A download is tried for a day, and may wait as long for a worker.
MAX_AGE_S = 2 * 86400.0


@shared_task(
    base=RedactedTask,
    bind=True,
    name="farmhaul.fetch_component",
    acks_late=True,
    reject_on_worker_lost=True,
    ignore_result=True,
    time_limit=24 * 3600,  # one task fetches a file, however large it is
    throws=(UploadError,),
)
def fetch_component(self: Task, component_id: str, folder: str, asked_at: float = 0.0) -> None:
    """Fetch the files of a component into a folder below the storage roots.

    ``asked_at`` is in seconds since 1970; a former version did not send it.

    Safe to run twice: existing files are left alone, partial ones are continued, and a lock on
    the file keeps two runs apart. Somebody may also send an old message once more: it ends if it is
    too old, and overwrites nothing that was written since.
    """
    progress = Progress(Fetches(clients().record.scripts), self.request.id, asked_at)
    worker = str(self.request.hostname)
    if not progress.begin(component_id, folder, worker):
        return
    try:
        _check_age(component_id, asked_at)
        _fetch(component_id, folder, progress, asked_at)
    except UnwantedError:
        return
    except Exception as error:
        policy = _policy(error, worker)
        if policy is None:
            progress.fail(error, is_final=True)
            raise
        delay_s = full_jitter(self.request.retries, policy, random.random())
        progress.fail(error, is_final=_is_last_try(self, policy), delay_s=delay_s)
        cause = None if policy is DOWNLOAD_BUSY else error
        raise _retry(self, component_id, policy, delay_s, cause) from None
    progress.end()


def _check_age(component_id: str, asked_at: float) -> None:
    if time.time() - asked_at > MAX_AGE_S:
        raise FatalError(
            f"component {component_id} is not fetched: it was asked for more than "
            f"{MAX_AGE_S / 86400:.0f} days ago, or by a former version; fetch it again"
        )


def _fetch(component_id: str, folder: str, progress: Progress, asked_at: float) -> None:
    """Fetch all files of a component.

    Raises:
        Exception: the worst error of any file, after all files have been tried.
    """
    here = clients()
    sign = signer(here.settings.require_ftrack(), here.store, here.limits.api_call)
    opened = _open_in_thread(folder, component_id)
    ended: list[Exception | Unfinished | None] = []
    try:
        files = find_files(here.ftrack, [component_id])
        progress.found(files)
        ended = here.threads.run(
            files,
            lambda file: _attempt(file, opened, sign, progress, asked_at),
            lambda _: STALLED_S,
        )
    finally:
        if not any(isinstance(outcome, Unfinished) and outcome.is_running for outcome in ended):
            os.close(opened)  # otherwise, what wakes up would write into another folder
    errors = [
        _hung(component_id, outcome) if isinstance(outcome, Unfinished) else outcome
        for outcome in ended
        if outcome
    ]
    # Errors that a retry cannot fix come first.
    for error in sorted(errors, key=_is_retryable):
        raise error


def _attempt(
    file: ComponentFile,
    folder: int,
    sign: Callable[[str], str],
    progress: Progress,
    asked_at: float,
) -> Exception | None:
    """Fetch one file, and return its error, if any: other files are still fetched."""
    here = clients()

    def moved() -> None:
        note_progress()
        progress.moved(file, folder)

    try:
        progress.continues(file, folder)
        pace = here.limits.download(file.size_bytes, moved)
        fetched = get_file(file, folder, sign, here.store, moved, asked_at=asked_at, pace=pace)
    except StoppedError:
        raise
    except Exception as error:  # noqa: BLE001 raised by _fetch; the folder stays open until then
        return error
    progress.arrived(file, fetched)
    return None


def _hung(component_id: str, outcome: Unfinished) -> Exception:
    # Without the path: see _open_below_roots.
    hangs_in = "store" if outcome.why == "store" else f"the folder of component {component_id}"
    silence = f"nothing has moved for {outcome.silent_s:.0f} s"
    why = "this worker stops" if outcome.why == "given back" else silence
    return ServiceUnavailableError(hangs_in, why)


def _is_retryable(error: Exception) -> bool:
    return isinstance(error, RetryableError | BeingFetchedError)


def _open_in_thread(folder: str, component_id: str) -> int:
    """Return a descriptor of the folder, which may hang as its files may."""
    [opened] = clients().threads.run(
        [folder], lambda path: _open_below_roots(path, component_id), lambda _: STALLED_S
    )
    if isinstance(opened, Unfinished):
        raise _hung(component_id, opened)
    return opened


def _open_below_roots(folder: str, component_id: str) -> int:
    try:
        return open_folder(folder, clients().settings.storage_roots)
    except (OSError, UploadError):
        # Without the path: Celery's events show errors, and nothing seals them.
        why = "its folder does not exist below FARMHAUL_STORAGE_ROOTS of this worker"
        raise FolderRefusedError(component_id, why) from None


def _policy(error: Exception, worker: str) -> Policy | None:
    """Return how a download is tried again after an error; None if that is of no use."""
    if isinstance(error, BeingFetchedError):
        return DOWNLOAD_BUSY
    if isinstance(error, RetryableError):
        return DOWNLOAD_TASK
    if isinstance(error, FolderRefusedError) and are_other_hosts(
        clients().record.scripts.client, worker
    ):
        return DOWNLOAD_ELSEWHERE
    return None


def _is_last_try(task: Task, policy: Policy) -> bool:
    return bool(task.request.retries >= policy.max_tries - 1)


def _retry(
    task: Task, component_id: str, policy: Policy, delay_s: float, error: Exception | None
) -> Exception:
    # Celery's retry keeps neither the priority nor the text that events show for the arguments.
    retry: Exception = task.retry(
        exc=error,
        throw=False,
        countdown=delay_s,
        max_retries=int(policy.max_tries) - 1,
        queue=QUEUE,
        priority=FETCH_PRIORITY,
        kwargsrepr=f"({component_id})",
    )
    return retry
