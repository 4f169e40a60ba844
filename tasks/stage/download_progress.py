"""What the record of a download says while a worker makes it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress

import redis

from tasks.config.remedies import explained
from tasks.records.fetches import Fetches
from tasks.stage.redaction import internal_error
from tasks.transfer.errors import UploadError
from tasks.transfer.get import Fetched
from tasks.transfer.lookup import ComponentFile
from tasks.transfer.part_file import BeingFetchedError, part_name_of

#: How often the record of a download shows what has arrived.
PROGRESS_S = 1.0


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
