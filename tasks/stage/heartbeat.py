"""Heartbeats from the middle of a stage: report progress, and learn whether the lease holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import redis

from tasks.records.record import Record
from tasks.stage.threads import note_progress
from tasks.transfer.errors import LeaseLostError
from tasks.transfer.models import Batch

INTERVAL_S = 1.0
#: Redis counts the lease from a later moment than we do, so we stop a little before it ends.
LEASE_SHARE = 0.9


class Heartbeat:
    """All threads of a stage call it between blocks; it calls Redis once a second.

    Inside a ``with``, a thread also calls Redis while no stage thread does.

    A process that was frozen (SIGSTOP, a hung mount) finds on waking that its lease is over, and
    sends nothing more: another worker may already be at work.
    """

    def __init__(
        self, record: Record, batch: Batch, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._record = record
        self._claim_id = batch.claim_id
        self._fences = {transfer.upload_id: transfer.fence for transfer in batch.transfers}
        self._clock = clock
        self._confirmed = self._asked = clock()
        self._sent = dict.fromkeys(self._fences, -1)  # -1: no progress reported yet
        #: Of a large file: the run, and the bytes of its parts that are under way, by their number.
        self.run: int | None = None
        self.under_way: dict[int, int] = {}
        self._lost: set[str] = set()
        self._asking = threading.Lock()
        self._ended = threading.Event()

    def __call__(self, upload_id: str, sent_bytes: int = 0) -> None:
        """Report progress; -1 leaves the progress in the record as it is.

        Raises:
            StoppedError: this thread must stop, see ``tasks.stage.threads``.
            LeaseLostError: the upload was taken over, cancelled or superseded, or Redis has not
                confirmed the lease for too long.
        """
        note_progress()
        self._sent[upload_id] = sent_bytes
        now = self._clock()
        self._look(now)
        if upload_id in self._lost or self._silent_too_long(now):
            raise LeaseLostError(upload_id)

    def __enter__(self) -> Self:
        # A block may be stuck, or the store slow to answer. Until the request has ended, its bytes
        # may still arrive, so the lease must hold: no newer file may be sent.
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def keep(self, batch: Batch) -> None:
        """Report only these from now on: the others have left the batch."""
        kept = {transfer.upload_id for transfer in batch.transfers}
        with self._asking:
            self._sent = {k: sent for k, sent in self._sent.items() if k in kept}

    @contextmanager
    def part_ends(self, number: int) -> Iterator[tuple[int, int]]:
        """Note the end of a part in the record together with what is under way without it.

        Yields the run and the bytes that are under way. No other progress is written meanwhile, so
        no byte of the part counts twice.
        """
        with self._asking:
            self.under_way.pop(number, None)
            yield self.run or 0, self._under_way_bytes()

    def _under_way_bytes(self) -> int:
        return sum([*self.under_way.values()])

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL_S):
            self._look(self._clock())

    def _look(self, now: float) -> None:
        if now - self._asked >= INTERVAL_S and self._asking.acquire(blocking=False):
            try:
                self._ask(now)
            finally:
                self._asking.release()

    def _ask(self, now: float) -> None:
        self._asked = now
        if self._silent_too_long(now):
            return
        # All of the batch, even uploads that have not started: they may have been superseded.
        sent = {
            upload_id: (self._fences[upload_id], sent_bytes)
            for upload_id, sent_bytes in self._sent.items()
        }
        try:
            run = None if self.run is None else (self.run, self._under_way_bytes())
            self._lost |= self._record.heartbeat(self._claim_id, sent, run)
        except redis.RedisError:
            # While Redis is away, no other worker can take over either. The lease decides.
            return
        self._confirmed = now

    def _silent_too_long(self, now: float) -> bool:
        return now - self._confirmed > LEASE_SHARE * self._record.scripts.lease_s
