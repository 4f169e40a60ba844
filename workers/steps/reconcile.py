"""The reconciler: the record is the truth, and what it says is done even if a message is lost.

kombu takes a message off its queue and notes it as unacknowledged in two steps, and Redis may
lose its last second when it is killed. So one worker of the farm, each second: makes waiting
uploads pending when their time has come, rings for pending uploads that no ring is queued
for, and takes back the uploads of claims that nobody has renewed and no message carries.
"""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from celery import Celery
from kombu.transport.redis import Channel

from tasks.chain import list_key, queue_of, wake
from tasks.records.keys import RECONCILER, to_text
from tasks.records.record import CLAIM_UPLOADS, STAGES, Record
from workers.steps.periodic import PeriodicStep

log = logging.getLogger("farmhaul")

#: Who holds the lock keeps it; should that worker die, another goes on after this time.
LOCK_S = 5
#: With pending uploads and no ring queued, so many chains are published at once.
MAX_WAKE_UPS = 32
#: A look at the queues of later stages reads at most so many messages of each.
MAX_MESSAGES = 1000


class Reconcile(PeriodicStep):
    """Runs the reconciler in this worker, whenever no other worker does."""

    def act(self) -> None:
        """Do it once."""
        Reconciler(self.worker.app, self.record, str(self.worker.hostname)).run()


class Reconciler:
    """Compares the record with the messages there are."""

    def __init__(self, app: Celery, record: Record, name: str = socket.gethostname()) -> None:
        self.app = app
        self.record = record
        self.redis = record.client
        self.name = name

    def run(self) -> None:
        """Do it once, unless another worker is at it."""
        key = RECONCILER
        if to_text(self.redis.get(key)) == self.name:
            self.redis.expire(key, LOCK_S)
        elif not self.redis.set(key, self.name, nx=True, ex=LOCK_S):
            return
        self.reconcile()

    def reconcile(self) -> None:
        """Make due uploads pending, take back lost claims, wake where no ring is queued."""
        pending, overdue = self.record.promote_due()
        if overdue:
            carried = set(self._claims_in_messages(pending))
            for claim_id in overdue:
                if claim_id in carried:
                    self.record.renew(0, [], [claim_id])
                elif count := self.record.reclaim(claim_id):
                    log.warning("claim_lost claim=%s uploads=%s start again", claim_id, count)
                    pending[""] = pending.get("", 0) + count
        for host, count in pending.items():
            if count and not self.redis.llen(list_key(queue_of(host), STAGES[0])):
                wake(self.app, min(-(-count // CLAIM_UPLOADS), MAX_WAKE_UPS), host)

    def _claims_in_messages(self, hosts: dict[str, int]) -> Iterator[str]:
        """Give the claims that some message, queued or unacknowledged, still carries.

        The claim's id is that of the chain's first task: the root id of all its messages.
        """
        for host in hosts:
            for stage in STAGES:
                key = list_key(queue_of(host), stage)
                for message in self.redis.lrange(key, 0, MAX_MESSAGES - 1):
                    yield _root_id(message)
        for _, entry in self.redis.hscan_iter(Channel.unacked_key, count=100):
            yield _root_id(entry, within=0)


def _root_id(text: bytes | str, within: int | None = None) -> str:
    # Anybody may have put anything there; what is no message of ours carries no claim.
    with suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):
        message: Any = json.loads(text)
        return str((message if within is None else message[within])["headers"]["root_id"])
    return ""
