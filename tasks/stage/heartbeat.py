"""Signs of life from the middle of a stage: progress into the record, and whether to go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self

import redis

from tasks.records.record import Record
from tasks.transfer.errors import LeaseLostError
from tasks.transfer.models import Batch

INTERVAL_S = 1.0
#: Redis counts the lease from a later moment than we do; stop a little before it ends.
LEASE_SHARE = 0.9


class Heartbeat:
    """Called between blocks by all threads of a stage; talks to Redis once a second.

    Within a ``with`` it does so too while nobody calls.

    A process that was frozen (SIGSTOP, a hung mount) finds on waking that its lease has
    gone, and sends not one block more: another delivery may be at work by then.
    """

    def __init__(
        self, record: Record, batch: Batch, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._record = record
        self._claim_id = batch.claim_id
        self._fences = {one.upload_id: one.fence for one in batch.transfers}
        self._clock = clock
        self._confirmed = self._asked = clock()
        self._sent = dict.fromkeys(self._fences, -1)  # as long as nobody has told
        self._lost: set[str] = set()
        self._asking = threading.Lock()
        self._ended = threading.Event()

    def __call__(self, upload_id: str, sent_bytes: int = 0) -> None:
        """Note progress; raises LeaseLostError when the transfer is no longer ours."""
        self._sent[upload_id] = sent_bytes
        now = self._clock()
        self._look(now)
        if upload_id in self._lost or self._silent_too_long(now):
            raise LeaseLostError(upload_id)

    def __enter__(self) -> Self:
        # Also while a block is stuck, or the store takes its time to answer: until the
        # request has ended, its bytes may still arrive there, and no newer file may go.
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

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
        # All of the batch, also what has not begun: it may have been superseded meanwhile.
        sent = {one: (self._fences[one], count) for one, count in self._sent.items()}
        try:
            self._lost |= self._record.heartbeat(self._claim_id, sent)
        except redis.RedisError:
            # While Redis is away nobody else can take over either; the lease decides.
            return
        self._confirmed = now

    def _silent_too_long(self, now: float) -> bool:
        return now - self._confirmed > LEASE_SHARE * self._record.lease_s
