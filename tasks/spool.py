"""Commands on local disk, for hooks that fire while Redis is away (FARMHAUL_SPOOL).

One file each, written whole or not at all, so that any number of hooks may write at once. To
send one twice is harmless: it is the same upload. In the folder ``manifests`` lie those of hooks
that could not even run ``farmhaul enqueue``, as they were to be given to it.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from celery import Celery

from tasks.chain import enqueue
from tasks.config.settings import Settings
from tasks.intake.build import Intake
from tasks.intake.manifest import BadInputError, read_manifest
from tasks.intake.request import Request, from_spool, to_spool
from tasks.log import log
from tasks.records.commands import ENQUEUE_STEP
from tasks.records.record import Record

#: A younger manifest may be at its hook's own farmhaul, which farmhaul-hook ends after 65 s.
LEFT_OVER_S = 70


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

    def flush(
        self, app: Celery, record: Record, settings: Settings, most: int | None = None
    ) -> int:
        """Enqueue what is spooled, and remove it; gives how many. Raises RedisError, OSError."""
        count = 0
        intake = Intake(settings, stat=False)
        waiting = self.waiting()[:most]
        for start in range(0, len(waiting), ENQUEUE_STEP):
            found = dict(self._read(waiting[start : start + ENQUEUE_STEP], intake))
            requests = [one for requests in found.values() for one in requests]
            enqueue(app, record, requests)
            for path in found:
                path.unlink(missing_ok=True)
            count += len(requests)
        return count

    def waiting(self) -> list[Path]:
        """Give what is to be drained: intents, and manifests that no hook is at any more.

        Raises OSError.
        """
        manifests = self._listed("manifests", ".jsonl")
        return [*self._listed("", ".json"), *filter(_is_left_over, manifests)]

    def unreadable(self) -> list[Path]:
        """Give what was put aside, for somebody to mend. Raises OSError."""
        return [*self._listed("", ".bad"), *self._listed("manifests", ".bad")]

    def _listed(self, part: str, suffix: str) -> list[Path]:
        # Not by glob, which finds nothing where it may not look.
        folder, names = self.folder / part, list[str]()
        with suppress(FileNotFoundError):
            names = os.listdir(folder)
        return [folder / name for name in sorted(names) if name.endswith(suffix)]

    def _read(
        self, paths: Sequence[Path], intake: Intake
    ) -> Iterator[tuple[Path, Sequence[Request]]]:
        for path in paths:
            # Another drain may have been quicker.
            with suppress(FileNotFoundError):
                try:
                    yield path, _requests(path, intake)
                except OSError:
                    raise
                except Exception as error:  # noqa: BLE001 whatever is wrong with one holds up no other
                    reason = error if isinstance(error, BadInputError) else repr(error)
                    log.warning("spool_unreadable", path=path, text=f"renamed to .bad: {reason}")
                    path.replace(path.with_suffix(".bad"))


def _is_left_over(manifest: Path) -> bool:
    try:
        return time.time() - manifest.stat().st_mtime > LEFT_OVER_S
    except FileNotFoundError:  # its hook was done with it just now
        return False


def _requests(path: Path, intake: Intake) -> Sequence[Request]:
    if path.suffix == ".json":
        return [from_spool(json.loads(path.read_text(encoding="utf-8")))]
    # By now somebody may have asked for a newer file of the component.
    asked_at = path.stat().st_mtime
    with path.open(encoding="utf-8", errors="surrogateescape") as lines:
        requests = intake.requests(read_manifest(lines))
    return [replace(one, asked_at=asked_at) for one in requests]
