"""Download a component's files into a folder of this node, for the command and for workers."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from contextlib import suppress

import redis
from celery import Task, shared_task

from tasks.chain import FETCH_PRIORITY, QUEUE
from tasks.config.remedies import explained
from tasks.records.fetches import Fetches
from tasks.records.nodes import are_other_hosts
from tasks.stage.context import clients
from tasks.stage.redaction import RedactedTask, internal_error
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
from tasks.transfer.get import Fetched, get_file
from tasks.transfer.lookup import ComponentFile, find_files
from tasks.transfer.part_file import BeingFetchedError, part_name_of

#: A download is tried for a day, and may wait as long for a worker.
MAX_AGE_S = 2 * 86400.0
#: How often the record of a download shows what has arrived.
PROGRESS_S = 1.0


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


class UnwantedError(Exception):
    """Somebody has cancelled the download, or asked for it again, so that another message counts.

    What has arrived of a file stays for another run.
    """


class Progress:
    """Notes in the record of a download how far it is; an outage of Redis does not stop it."""

    def __init__(self, fetches: Fetches, fetch_id: str, asked_at: float = 0.0) -> None:
        self._fetches = fetches
        self._fetch_id = fetch_id
        self._asked_at = asked_at
        self._sizes: dict[str, int] = {}
        #: What was there of each file before this run, so that its rate is that of the network.
        self._there: dict[str, int] = {}
        self._files = self._fetched = self._size_bytes = 0
        self._next_s = 0.0
        #: What had arrived when that was first seen, and time.monotonic() then.
        self._begun: tuple[int, float] | None = None
        self._is_wanted = True

    def begin(self, component_id: str, folder: str, worker: str) -> bool:
        """Note that a worker has it, and return whether it is wanted."""
        with suppress(redis.RedisError):
            self._is_wanted = not any(self._fetches.unwanted(self._fetch_id, self._asked_at))
            if self._is_wanted:
                self._fetches.take(self._fetch_id, component_id, folder, worker, self._asked_at)
                self._fetches.trim()
        return self._is_wanted

    def found(self, files: Sequence[ComponentFile]) -> None:
        """Note how many files there are."""
        self._files = len(files)
        sizes = [file.size_bytes for file in files]
        self._size_bytes = sum(sizes) if all(sizes) else 0
        self._note()

    def continues(self, file: ComponentFile, folder: int) -> None:
        """Remember what an earlier run has left of a file.

        Raises:
            UnwantedError: nobody wants it any more.
        """
        self._check_wanted()
        with suppress(OSError):
            part = os.stat(part_name_of(file.component_id), dir_fd=folder)
            self._there[file.component_id] = self._sizes[file.component_id] = part.st_size

    def moved(self, file: ComponentFile, folder: int) -> None:
        """Note, once a second at most, what has arrived of a file.

        Raises:
            UnwantedError: nobody wants it any more.
        """
        self._check_wanted()
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + PROGRESS_S
        with suppress(OSError):  # it has just become the file
            part = os.stat(part_name_of(file.component_id), dir_fd=folder)
            self._sizes[file.component_id] = part.st_size
            # What an earlier run has left may have been discarded.
            there = self._there.get(file.component_id, 0)
            self._there[file.component_id] = min(there, part.st_size)
        self._note()

    def _check_wanted(self) -> None:
        if not self._is_wanted:
            raise UnwantedError

    def arrived(self, file: ComponentFile, fetched: Fetched) -> None:
        """Count a file that is here."""
        self._sizes[file.component_id] = fetched.size_bytes
        if fetched.state == "present":
            self._there[file.component_id] = fetched.size_bytes
        self._fetched += 1

    def end(self) -> None:
        """Note that all files are here."""
        self._note(state="fetched")

    def fail(self, error: Exception, *, is_final: bool, delay_s: float | None = None) -> None:
        """Note why files are not here, and in how long it is tried again."""
        # Any other text may contain a presigned URL.
        known = isinstance(error, UploadError | BeingFetchedError)
        text = explained(error if known else internal_error("fetch_component", error))
        state = "failed" if is_final else "retrying"
        self._note(text, delay_s, state=state, error_kind=type(error).__name__)

    def _note(self, error: str = "", delay_s: float | None = None, **fields: str | int) -> None:
        received = sum(list(self._sizes.values()))
        counted = {"files": self._files, "fetched": self._fetched, "received": received}
        counted |= {"size": self._size_bytes, "rate": self._rate(received)}
        with suppress(redis.RedisError):
            is_replaced, is_cancelled = self._fetches.unwanted(self._fetch_id, self._asked_at)
            self._is_wanted = not (is_replaced or is_cancelled)
            if is_replaced:  # the record tells of another run
                return
            self._fetches.note(self._fetch_id, {**counted, **fields}, error, delay_s)

    def _rate(self, received: int) -> int:
        """Return the bytes a second of this run; what was there before it does not count."""
        now, moved = time.monotonic(), received - sum(list(self._there.values()))
        if self._begun is None:
            self._begun = (moved, now) if moved > 0 else None
            return 0
        before, since = self._begun
        return round(max(moved - before, 0) / max(now - since, 0.001))


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

    def moved(file: ComponentFile) -> None:
        note_progress()
        progress.moved(file, opened)

    def attempt(file: ComponentFile) -> Exception | None:
        try:
            progress.continues(file, opened)
            fetched = get_file(
                file,
                opened,
                sign,
                here.store,
                lambda: moved(file),
                asked_at=asked_at,
                pace=here.limits.download(file.size_bytes, lambda: moved(file)),
            )
        except StoppedError:
            raise
        except Exception as error:  # noqa: BLE001 raised below; the folder stays open until then
            return error
        progress.arrived(file, fetched)
        return None

    # The folder may hang too.
    [found] = here.threads.run(
        [folder], lambda path: _open_below_roots(path, component_id), lambda _: STALLED_S
    )
    if isinstance(found, Unfinished):
        raise _hung(component_id, found)
    opened = found
    ended: list[Exception | Unfinished | None] = []
    try:
        files = find_files(here.ftrack, [component_id])
        progress.found(files)
        ended = here.threads.run(files, attempt, lambda _: STALLED_S)
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


def _hung(component_id: str, outcome: Unfinished) -> Exception:
    # Without the path: see _open_below_roots.
    hangs_in = "store" if outcome.why == "store" else f"the folder of component {component_id}"
    silence = f"nothing has moved for {outcome.silent_s:.0f} s"
    why = "this worker stops" if outcome.why == "given back" else silence
    return ServiceUnavailableError(hangs_in, why)


def _is_retryable(error: Exception) -> bool:
    return isinstance(error, RetryableError | BeingFetchedError)


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
