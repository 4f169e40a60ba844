"""Requests on local disk, for hooks that run while Redis is away (FARMHAUL_SPOOL).

Each request is a file that is written atomically, so any number of hooks may write at once. Sending
a request twice is harmless: it is the same upload. The folder ``manifests`` contains the manifests
of hooks that could not even run ``farmhaul enqueue``.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from celery import Celery

from tasks.chain import enqueue
from tasks.config.settings import Settings
from tasks.intake.build import Options, build_requests
from tasks.intake.errors import BadInputError
from tasks.intake.manifest import read_manifest
from tasks.intake.request import Request, from_spool, to_spool
from tasks.log import log
from tasks.records.commands import ENQUEUE_STEP, Commands

#: A hook's command may still be reading a younger manifest; farmhaul-hook stops that command
#: after 65 s.
LEFT_OVER_S = 70


class Spool:
    """A folder of requests. Only its owner can read it, because paths may be secret."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def write(self, requests: Sequence[Request]) -> None:
        """Write requests; they are on the disk when this returns.

        Raises:
            OSError: the folder cannot be written.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for request in requests:
            with tempfile.NamedTemporaryFile(
                "w", dir=self.folder, prefix=".", suffix=".tmp", delete=False, encoding="utf-8"
            ) as file:
                # When it is sent, another host may have a newer file for the component.
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

    def flush(
        self, app: Celery, commands: Commands, settings: Settings, limit: int | None = None
    ) -> int:
        """Enqueue the spooled requests, delete their files, and return the number of uploads.

        ``limit`` is the maximum number of files.

        Raises:
            RedisError: Redis is not reachable, or full.
            OSError: the folder cannot be read.
        """
        count = 0
        waiting = self.waiting()[:limit]
        for start in range(0, len(waiting), ENQUEUE_STEP):
            found = dict(self._read(waiting[start : start + ENQUEUE_STEP], settings))
            requests = [request for requests in found.values() for request in requests]
            enqueue(app, commands, requests)
            for path in found:
                path.unlink(missing_ok=True)
            count += len(requests)
        return count

    def waiting(self) -> list[Path]:
        """Return the files to send: requests, and manifests that no hook uses any more.

        Raises:
            OSError: the folder cannot be read.
        """
        manifests = self._listed("manifests", ".jsonl")
        return [*self._listed("", ".json"), *filter(_is_left_over, manifests)]

    def unreadable(self) -> list[Path]:
        """Return the files that were put aside for somebody to fix.

        Raises:
            OSError: the folder cannot be read.
        """
        return [*self._listed("", ".bad"), *self._listed("manifests", ".bad")]

    def _listed(self, part: str, suffix: str) -> list[Path]:
        # glob would find nothing, without an error, in a folder that it may not read.
        folder, names = self.folder / part, list[str]()
        with suppress(FileNotFoundError):
            names = os.listdir(folder)
        return [folder / name for name in sorted(names) if name.endswith(suffix)]

    def _read(
        self, paths: Sequence[Path], settings: Settings
    ) -> Iterator[tuple[Path, Sequence[Request]]]:
        for path in paths:
            # Another process may have sent it first.
            with suppress(FileNotFoundError):
                try:
                    yield path, _requests(path, settings)
                except OSError:
                    raise
                except Exception as error:  # noqa: BLE001 one bad file does not hold up the others
                    reason = error if isinstance(error, BadInputError) else repr(error)
                    log.warning("spool_unreadable", path=path, text=f"renamed to .bad: {reason}")
                    path.replace(path.with_suffix(".bad"))


def _is_left_over(manifest: Path) -> bool:
    try:
        return time.time() - manifest.stat().st_mtime > LEFT_OVER_S
    except FileNotFoundError:  # its hook has just finished with it
        return False


def _requests(path: Path, settings: Settings) -> Sequence[Request]:
    if path.suffix == ".json":
        return [from_spool(json.loads(path.read_text(encoding="utf-8")))]
    # Since then, somebody may have enqueued a newer file for the component.
    asked_at = path.stat().st_mtime
    with path.open(encoding="utf-8", errors="surrogateescape") as lines:
        requests = build_requests(read_manifest(lines), settings, Options(stat=False))
    return [request._replace(asked_at=asked_at) for request in requests]
