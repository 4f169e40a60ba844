"""The reconciler: it does what the records require, even if a message is lost.

kombu takes a message off its queue and notes it as unacknowledged in two steps, and a killed Redis
may lose its last second. So every second, one worker of the farm makes retrying uploads pending
when they are due, sends wake-ups if uploads are pending and none is queued, and takes back the
uploads of claims that nobody has renewed and no message carries.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import redis
from celery import Celery
from kombu.transport.redis import Channel

from tasks.chain import list_key, queue_of, wake
from tasks.intake.envelope import host_in
from tasks.log import log
from tasks.records import history
from tasks.records.inbox import MAX_RETURNS, Overdue
from tasks.records.keys import RECONCILER, to_text
from tasks.records.nodes import hosts_with_workers
from tasks.records.record import CLAIM_UPLOADS, MAX_HOSTS, Record
from tasks.records.states import STAGES
from workers.broker.root_id import root_id
from workers.self_check import KEY_IS_WRONG
from workers.steps import pulse
from workers.steps.lost_downloads import LostDownloads
from workers.steps.periodic import IS_RECONCILING, PeriodicStep
from workers.wording import redis_problem

#: The worker that holds the lock keeps it. If it dies, another one takes over at most 3 s later.
LOCK_S = 5
#: A lock that was not renewed for so long may be that of a worker that has died.
RENEWED_S = 1.5
#: How often uploads are looked for that no index holds any more.
SEARCH_S = 5.0
#: The shortest pause, however much is due.
SHORTEST_S = 0.25
#: How many wake-ups are sent at once.
MAX_WAKE_UPS = 32
#: How many messages of each stage's queue are read.
MAX_MESSAGES = 1000


class Reconcile(PeriodicStep):
    """Runs the reconciler in this worker, whenever no other worker does."""

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self.reconciler = Reconciler(worker.app, self.record, str(worker.hostname))

    def act(self) -> float | None:
        """Reconcile once, or wait until the lock of the worker that does it may end."""
        return self.reconciler.run()


class Reconciler:
    """Compares the records with the messages in the queues."""

    def __init__(self, app: Celery, record: Record, name: str = socket.gethostname()) -> None:
        self.app = app
        self.record = record
        self.redis = record.scripts.client
        self.name = name
        self.overdue = Overdue(record.scripts)
        self.downloads = LostDownloads(app, record.scripts)
        #: When the next sample for the charts is due, by time.monotonic().
        self._sample_due = 0.0
        self._search_at = 0.0
        #: The parts that failed when they were last done.
        self._failing: set[str] = set()

    def run(self) -> float | None:
        """Reconcile once, unless another worker holds the lock or this one has the wrong key.

        Returns:
            The seconds for which that worker holds it, if it does not renew it. If this worker
            holds it, those until something is due; None if nothing is within a second.
        """
        if KEY_IS_WRONG.is_set():
            # No other worker could open its wake-ups. The lock that it may hold ends by itself.
            IS_RECONCILING.clear()
            self.overdue.forget()
            return float(LOCK_S)
        if (left_s := self._others_turn_s()) > 0:
            # Not all workers of a farm in the same moment.
            return left_s + random.uniform(0.01, 0.5)
        pipeline = self.redis.pipeline(transaction=False)
        pipeline.get(RECONCILER)
        pipeline.pttl(RECONCILER)
        holder, left_ms = pipeline.execute()
        if to_text(holder) == self.name:
            self.redis.expire(RECONCILER, LOCK_S)
        elif holder or not self.redis.set(RECONCILER, self.name, nx=True, ex=LOCK_S):
            IS_RECONCILING.clear()
            if holder and not 0 <= left_ms <= LOCK_S * 1000:
                self.redis.delete(RECONCILER)  # no worker holds it: somebody else has written it
                left_ms = 0
            self.overdue.forget()
            # Not all workers of a farm in the same moment.
            return max(int(left_ms) / 1000, 0) + random.uniform(0.01, 0.5)
        IS_RECONCILING.set()
        self.reconcile()
        if self._failing:
            return None  # what is due stays due
        # What is due before the next second does not wait for it.
        due_s = self.record.next_due_s()
        return max(due_s, SHORTEST_S) if due_s < Reconcile.interval_s else None

    def _others_turn_s(self) -> float:
        """Return the seconds until a pulse will say again that another worker reconciles.

        Not positive if this worker must look itself: the lock may be free, or no pulse comes.
        """
        last = pulse.latest()
        is_held = last.reconciler not in {"", self.name} and 0 < last.held_s <= LOCK_S
        # Its holder renews the lock each second.
        if IS_RECONCILING.is_set() or not is_held or last.held_s < LOCK_S - RENEWED_S:
            return 0.0
        return pulse.next_s()

    def reconcile(self) -> None:
        """Make due uploads pending, take back lost claims, and send missing wake-ups.

        A part that fails does not stop those after it, unless Redis cannot be reached.
        """
        self._do("repair", self.record.scripts.repair)
        self._do("entries", self._give_back_entries)
        self._do("sample", self._note_sample)
        self._do("lost", self._find_lost)
        self._do("due", self._start_due)
        self._do("downloads", self.downloads.start_again)

    def _do(self, part: str, act: Callable[[], object]) -> None:
        """Do a part. If it fails, log that once, until it succeeds again."""
        try:
            act()
        except (redis.ConnectionError, redis.TimeoutError):
            raise  # each other part would wait for Redis too
        except redis.RedisError as error:
            if part not in self._failing:
                step = f"Reconcile.{part}"
                log.warning("redis_away", step=step, text=redis_problem(error))
            self._failing.add(part)
        except Exception:
            if part not in self._failing:
                log.exception("unexpected_error", step=f"Reconcile.{part}")
            self._failing.add(part)
        else:
            self._failing.discard(part)

    def _note_sample(self) -> None:
        if time.monotonic() >= self._sample_due:
            self._sample_due = time.monotonic() + history.EACH_S
            history.note(self.redis)

    def _start_due(self) -> None:
        """Make due uploads pending, and see that each host with pending ones has a wake-up."""
        pending, overdue = self.record.apply_due()
        # A hook can name any number of hosts: those without a worker get no queue.
        known = {"", *hosts_with_workers(self.redis)}
        if len(pending) > MAX_HOSTS:  # then it has not looked at all of them
            pending |= self.record.pending_on(known - pending.keys())
        pending = {host: count for host, count in pending.items() if host in known}
        if overdue:
            self._do("claims", lambda: self._take_back(overdue, pending))
        self._do("wake-ups", lambda: self._wake(pending))

    def _take_back(self, claims: Iterable[str], pending: dict[str, int]) -> None:
        """Renew claims that a message carries; count what the others had among the pending."""
        carried = set(self._claims_in_messages(pending))
        for claim_id in claims:
            if claim_id in carried:
                self.record.renew(0, [], [claim_id])
            elif count := self.record.reclaim(claim_id):
                log.warning("claim_lost", claim_id=claim_id, uploads=count, text="start again")
                pending[""] = pending.get("", 0) + count

    def _wake(self, pending: dict[str, int]) -> None:
        """Send wake-ups to the hosts with pending uploads that have none."""
        hosts = [host for host, count in pending.items() if count]
        pipeline = self.redis.pipeline(transaction=False)
        for host in hosts:
            pipeline.llen(list_key(queue_of(host), STAGES[0]))
        # An error stands for a queue of another type, which the worker of that host repairs.
        for host, queued in zip(hosts, pipeline.execute(raise_on_error=False), strict=True):
            if queued == 0:
                wake(self.app, min(-(-pending[host] // CLAIM_UPLOADS), MAX_WAKE_UPS), host)

    def _find_lost(self) -> None:
        """Start uploads again that no index holds any more, now and then."""
        if time.monotonic() < self._search_at:
            return
        self._search_at = time.monotonic() + SEARCH_S
        if count := self.record.find_lost():
            why = "they were in no index: find out who else writes to Redis"
            log.error("uploads_found", uploads=count, text=why)

    def _give_back_entries(self) -> None:
        """Give back what a dead worker was taking in, and log what has killed too many of them."""
        returned = self.overdue.give_back()
        if count := returned.entries:
            why = "the worker that took them died, or is slow"
            log.warning("requests_returned", entries=count, text=why)
        for start in returned.refused:
            why = f"{MAX_RETURNS} workers died while they took it in"
            log.error("requests_refused", count=1, hosts=host_in(start) or "unknown", text=why)

    def _claims_in_messages(self, hosts: dict[str, int]) -> Iterator[str]:
        """Yield the ids of the claims that a queued or unacknowledged message still carries.

        The id of a claim is that of its chain's first task, which is the root id of all its
        messages. ``hosts`` are the hosts whose queues are read; "" is the queue of all nodes.
        """
        for host in hosts:
            for stage in STAGES:
                key = list_key(queue_of(host), stage)
                with suppress(redis.ResponseError):  # of another type, it carries no claim
                    for message in self.redis.lrange(key, 0, MAX_MESSAGES - 1):
                        yield root_id(message)
        for _, entry in self.redis.hscan_iter(Channel.unacked_key, count=100):
            yield root_id(entry, within=0)
