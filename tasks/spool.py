"""Intents on local disk, for hooks that fire while Redis is away (FARMHAUL_SPOOL).

One file each, written whole or not at all, so that any number of hooks may write at once. To
send one twice is harmless: it is the same upload.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from celery import Celery

from tasks.pipeline import enqueue
from tasks.record import ENQUEUE_STEP, Record
from tasks.request import Request, from_spool, to_spool

log = logging.getLogger("farmhaul")


class Spool:
    """A folder of intents. It is readable by its owner alone, as what it names may be secret."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def write(self, requests: Sequence[Request]) -> None:
        """Keep requests; they are on the disk when this returns. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for request in requests:
            with tempfile.NamedTemporaryFile(
                "w", dir=self.folder, prefix=".", suffix=".tmp", delete=False, encoding="utf-8"
            ) as file:
                # By then another host may have a newer file for the component.
                json.dump(to_spool(request, time.time()), file)
                file.flush()
                os.fsync(file.fileno())
            # The same upload spooled twice is one file.
            Path(file.name).replace(self.folder / f"{request.upload_id}.json")
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def drain(self, app: Celery, record: Record, most: int | None = None) -> int:
        """Enqueue what is spooled, and remove it; gives how many. Raises RedisError, OSError."""
        count = 0
        waiting = sorted(self.folder.glob("*.json"))[:most]
        for start in range(0, len(waiting), ENQUEUE_STEP):
            found = dict(self._read(waiting[start : start + ENQUEUE_STEP]))
            enqueue(app, record, list(found.values()))
            for path in found:
                path.unlink(missing_ok=True)
            count += len(found)
        return count

    def _read(self, paths: Sequence[Path]) -> Iterator[tuple[Path, Request]]:
        for path in paths:
            # Another drain may have been quicker.
            with suppress(FileNotFoundError):
                try:
                    yield path, from_spool(json.loads(path.read_text(encoding="utf-8")))
                except (ValueError, TypeError, KeyError, AttributeError):
                    log.warning("spool_unreadable %s is put aside as .bad", path)
                    path.replace(path.with_suffix(".bad"))
