"""Download a component's files into a folder of this node, for the command and for workers."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence

import requests
from celery import Task, shared_task

from tasks.chain import FETCH_PRIORITY, QUEUE
from tasks.config.settings import FtrackSettings
from tasks.stage.context import clients
from tasks.stage.redaction import RedactedTask
from tasks.stage.retry_policy import DOWNLOAD_BUSY, DOWNLOAD_TASK, Policy, full_jitter
from tasks.transfer.allowed import check_roots
from tasks.transfer.errors import FatalError, RetryableError, UploadError
from tasks.transfer.get import BeingFetchedError, get_file
from tasks.transfer.lookup import ComponentFile, find_files
from tasks.transfer.signed_get import signed_url


def signer(
    ftrack: FtrackSettings, session: requests.Session, before_call: Callable[[], None]
) -> Callable[[str], str]:
    """Return a function that asks ftrack for the presigned URL of a component's bytes.

    ``before_call`` is called before each API call, and may wait.
    """

    def sign(component_id: str) -> str:
        before_call()
        return signed_url(ftrack.server_url, ftrack.api_user, ftrack.api_key, component_id, session)

    return sign


def open_folder(path: str, roots: Sequence[str] | None = None) -> int:
    """Open a folder to fetch into, and return its descriptor.

    With ``roots``, the folder must be below one of them. The check follows the descriptor, so
    nobody can swap the folder between check and use.

    Raises:
        OSError: the path does not exist, or is not a folder.
        FileRefusedError: the folder, with all symlinks followed, is outside the roots.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if roots is not None:
        try:
            check_roots(path, os.readlink(f"/proc/self/fd/{folder}"), roots)
        except BaseException:
            os.close(folder)
            raise
    return folder


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
def fetch_component(self: Task, component_id: str, folder: str) -> None:
    """Fetch the files of a component into a folder below the storage roots.

    Safe to run twice: existing files are left alone, partial ones are continued, and a lock on
    the file keeps two runs apart.
    """
    try:
        _fetch(component_id, folder)
    except BeingFetchedError:
        raise _retry(self, component_id, DOWNLOAD_BUSY) from None
    except RetryableError as error:
        raise _retry(self, component_id, DOWNLOAD_TASK, error) from None


def _fetch(component_id: str, folder: str) -> None:
    """Fetch all files of a component.

    Raises:
        Exception: the worst error of any file, after all files have been tried.
    """
    here = clients()
    sign = signer(here.settings.require_ftrack(), here.store, here.limits.api_call)
    opened = _open_below_roots(folder, component_id)

    def attempt(file: ComponentFile) -> Exception | None:
        try:
            get_file(file, opened, sign, here.store)
        except Exception as error:  # noqa: BLE001 raised below; the folder stays open until then
            return error
        return None

    try:
        files = find_files(here.ftrack, [component_id])
        errors = [error for error in here.threads.map(attempt, files) if error]
    finally:
        os.close(opened)
    # Errors that a retry cannot fix come first.
    for error in sorted(errors, key=_is_retryable):
        raise error


def _is_retryable(error: Exception) -> bool:
    return isinstance(error, RetryableError | BeingFetchedError)


def _open_below_roots(folder: str, component_id: str) -> int:
    try:
        return open_folder(folder, clients().settings.storage_roots)
    except (OSError, UploadError):
        # Without the path: Celery's events show errors, and nothing seals them.
        raise FatalError(
            f"component {component_id} cannot be fetched: its folder does not exist below "
            "FARMHAUL_STORAGE_ROOTS of this worker"
        ) from None


def _retry(
    task: Task, component_id: str, policy: Policy, error: Exception | None = None
) -> Exception:
    # Celery's retry keeps neither the priority nor the text that events show for the arguments.
    retry: Exception = task.retry(
        exc=error,
        throw=False,
        countdown=full_jitter(task.request.retries, policy, random.random()),
        max_retries=int(policy.max_tries) - 1,
        queue=QUEUE,
        priority=FETCH_PRIORITY,
        kwargsrepr=f"({component_id})",
    )
    return retry
