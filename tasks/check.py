"""Compare files with what ftrack has, for ``farmhaul check --farm``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from typing import Any

import redis
from celery import Task, shared_task

from tasks.config.path_map import mapped
from tasks.records.checks import GIVEN_BACK, Checks, Row
from tasks.stage.comparison import compare_all
from tasks.stage.context import clients
from tasks.stage.redaction import RedactedTask
from tasks.transfer.compare import Compared, Pair
from tasks.transfer.errors import UploadError

#: A file to compare: its number in the check, and the values of a ``Pair``.
Wanted = Sequence[Any]

#: How often the command learns what has been compared, and that the task lives.
TELL_S = 1.0
#: How often the last results are tried, once a second.
LAST_TRIES = 60
#: After so many deliveries, its files kill the workers that read them.
MAX_TRIES = 5


@shared_task(
    base=RedactedTask,
    bind=True,
    name="farmhaul.check_files",
    acks_late=True,
    reject_on_worker_lost=True,
    ignore_result=True,
    time_limit=24 * 3600,  # as for a download: a file may be large
    throws=(UploadError,),
)
def check_files(  # noqa: PLR0917 a message has names for its values
    self: Task,
    check_id: str,
    number: int,
    files: Sequence[Wanted],
    download: bool = False,  # noqa: FBT001, FBT002 the same
    avoid: str = "",
) -> None:
    """Compare files for a command that waits, and tell it the results.

    ``avoid`` is a worker whose results are to be confirmed by another one.

    Safe to run twice: it only reads, and the command takes each file's first result. It ends if no
    command waits.
    """
    here = clients()
    worker = str(self.request.hostname)
    report = Report(Checks(here.record.scripts, check_id), number, worker)
    if not report.checks.is_open():
        return
    if worker == avoid:
        report.checks.tell(number, [], GIVEN_BACK)
        return
    pairs = {one: Pair(mapped(path, here.settings.path_map), *more) for one, path, *more in files}
    if report.checks.begin(number) > MAX_TRIES:
        why = f"its worker has died {MAX_TRIES} times while it read these files"
        for one in pairs:
            report.add(one, Compared("not readable", why=why))
        report.end()
        return
    with report.telling() as stop:
        compare_all(
            pairs,
            here.threads,
            here.settings.require_ftrack(),
            here.store,
            roots=here.settings.storage_roots,
            download=download,
            stop=stop,
            on_result=report.add,
            before_call=here.limits.api_call,
        )
    if not stop.is_set():
        report.end(GIVEN_BACK if report.count < len(pairs) else "")


class Report:
    """Gathers results, and tells them once a second."""

    def __init__(self, checks: Checks, number: int, worker: str) -> None:
        self.checks = checks
        self.count = 0
        self._number = number
        self._worker = worker
        self._rows: list[Row] = []
        self._lock = Lock()

    def add(self, number: int, outcome: Compared) -> None:
        """Note the result of a file."""
        sizes = outcome.size_bytes, outcome.stored_bytes
        with self._lock:
            self._rows.append((number, outcome.state, *sizes, outcome.why, self._worker))
            self.count += 1

    @contextmanager
    def telling(self) -> Iterator[Event]:
        """Tell results meanwhile, and yield what is set when nobody waits for them any more."""
        stop, ended = Event(), Event()

        def tell() -> None:
            while not ended.wait(TELL_S):
                with suppress(redis.RedisError):  # told in the next second
                    if not self.checks.is_open():
                        stop.set()
                        return
                    self._tell()

        thread = Thread(target=tell, name="tell", daemon=True)
        thread.start()
        try:
            yield stop
        finally:
            ended.set()
            thread.join()

    def end(self, beat: str = "") -> None:
        """Tell what is left.

        Raises:
            RedisError: Redis does not take it for a minute; the command sends the files again.
        """
        for _ in range(LAST_TRIES):
            with suppress(redis.RedisError):
                self._tell(beat)
                return
            time.sleep(TELL_S)
        self._tell(beat)

    def _tell(self, beat: str = "") -> None:
        with self._lock:
            rows = self._rows[:]
        self.checks.tell(self._number, rows, beat)
        with self._lock:
            del self._rows[: len(rows)]
