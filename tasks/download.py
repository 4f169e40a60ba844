"""Downloads: a component's files into a folder of this node, by a command or by a worker."""

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
from tasks.transfer.errors import FatalError, RetryableError, UploadError
from tasks.transfer.files import check_roots
from tasks.transfer.get import BeingFetchedError, get_file
from tasks.transfer.lookup import ComponentFile, find_files
from tasks.transfer.signed_get import signed_url

#: Full jitter below a doubling delay: with 12 tries some 20 minutes at most.
MAX_RETRIES = 12
DELAY_S, CAP_S = 2, 300
#: Somebody else brings it meanwhile: looked at again until they are done, for a day.
BUSY_S, BUSY_RETRIES = 30, 2880


def signer(
    ftrack: FtrackSettings, session: requests.Session, before_call: Callable[[], None]
) -> Callable[[str], str]:
    """Make what gives the URL of a component's bytes."""

    def sign(component_id: str) -> str:
        before_call()
        return signed_url(ftrack.server_url, ftrack.api_user, ftrack.api_key, component_id, session)

    return sign


def open_folder(path: str, roots: Sequence[str] | None = None) -> int:
    """Open a folder to fetch into; with ``roots`` it has to lie below one of them.

    Looked at by its descriptor, so that nobody can swap it between check and use.

    Raises:
        OSError: it is not there, or no folder.
        FileRefusedError: it is outside the roots, all symlinks followed.
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
    max_retries=MAX_RETRIES,
    time_limit=24 * 3600,  # a file comes in one task, however large it is
    throws=(UploadError,),
)
def fetch_component(self: Task, component_id: str, folder: str) -> None:
    """Bring the files of a component into a folder below the storage roots.

    Safe to run twice: what is there already is left alone, what has begun goes on, and two at
    once exclude each other by a lock on the file.
    """
    try:
        _bring(component_id, folder)
    except BeingFetchedError:
        raise _again(self, component_id, BUSY_S, BUSY_RETRIES) from None
    except RetryableError as error:
        countdown_s = random.uniform(0, min(DELAY_S * 2**self.request.retries, CAP_S))
        raise _again(self, component_id, countdown_s, MAX_RETRIES, error) from None


def _bring(component_id: str, folder: str) -> None:
    """Fetch all files of a component; raises the first error when all have ended."""
    here = clients()
    sign = signer(here.settings.require_ftrack(), here.store, here.limits.api_call)
    opened = _open_below_roots(folder, component_id)

    def attempt(file: ComponentFile) -> Exception | None:
        try:
            get_file(file, opened, sign, here.store)
        except Exception as error:  # noqa: BLE001 raised below: the folder stays open till then
            return error
        return None

    try:
        files = find_files(here.ftrack, [component_id])
        errors = [error for error in here.threads.map(attempt, files) if error]
    finally:
        os.close(opened)
    # What can not be mended by another try comes first.
    for error in sorted(
        errors, key=lambda one: isinstance(one, RetryableError | BeingFetchedError)
    ):
        raise error


def _open_below_roots(folder: str, component_id: str) -> int:
    try:
        return open_folder(folder, clients().settings.storage_roots)
    except (OSError, UploadError):
        # Without the path: errors are in events, which nobody seals.
        raise FatalError(
            f"component {component_id} can not be fetched: its folder is no folder below "
            "FARMHAUL_STORAGE_ROOTS of this worker"
        ) from None


def _again(
    task: Task,
    component_id: str,
    countdown_s: float,
    max_retries: int,
    error: Exception | None = None,
) -> Exception:
    # Celery hands on neither priority nor what events show in place of the arguments.
    retry: Exception = task.retry(
        exc=error,
        throw=False,
        countdown=countdown_s,
        max_retries=max_retries,
        queue=QUEUE,
        priority=FETCH_PRIORITY,
        kwargsrepr=f"({component_id})",
    )
    return retry
