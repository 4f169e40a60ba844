"""The lease: a task belongs to its worker for as long as the worker lives, and no longer.

Redis as a broker redelivers what was not acknowledged within the visibility timeout. A long
one leaves the work of a dead node lying; a short one runs long tasks twice. So it is short,
and renewed: kombu keeps the delivery tags of unacknowledged messages in a sorted set by the
time they were taken, and this step moves that time on while the process lives.
"""

from __future__ import annotations

import inspect
import logging
import time
from typing import Any

import kombu
from celery.worker import state
from kombu.transport import redis as kombu_redis

from tasks.records.record import Record
from workers.steps.periodic import PeriodicStep

log = logging.getLogger("farmhaul")

#: Renewed so often within a lease that two renewals may be lost.
RENEWALS_A_LEASE = 4

#: What the lease and the reconciler know of kombu and Celery; checked when a worker starts.
KNOWN_KOMBU = "5.7."


class Lease(PeriodicStep):
    """Renews the leases of all tasks that this worker has taken."""

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self.interval_s = self.settings.lease_s / RENEWALS_A_LEASE

    def start(self, worker: Any) -> None:
        """Begin to renew, after a look at what the renewal relies on."""
        for fault in internals_unknown():
            log.error("lease_check_failed %s: tasks longer than the lease may run twice", fault)
        super().start(worker)

    def stop(self, worker: Any) -> None:
        """Go on: tasks still run while the worker shuts down warmly."""

    def act(self) -> None:
        """Renew them."""
        renew(self.record)


def renew(record: Record) -> None:
    """Renew the lease of every task that this process has taken and not acknowledged."""
    # The set is changed by other threads: a copy may fail once in a while.
    requests = [request for request in tuple(state.reserved_requests) if not request.acknowledged]
    if requests:
        tags = [request.message.delivery_tag for request in requests]
        record.renew(time.time(), tags, [request.root_id or request.id for request in requests])


def internals_unknown() -> list[str]:
    """Say in what kombu and Celery are not as the lease knows them; empty when all is well."""
    faults = []
    if not kombu.__version__.startswith(KNOWN_KOMBU):
        faults.append(f"kombu {kombu.__version__} is not {KNOWN_KOMBU}x")
    expected = {"unacked_key": "unacked", "unacked_index_key": "unacked_index", "sep": "\x06\x16"}
    for name, value in expected.items():
        if getattr(kombu_redis.Channel, name, None) != value:
            faults.append(f"kombu's Channel.{name} is not {value!r}")
    source = inspect.getsource(getattr(kombu_redis.QoS, "restore_visible", Lease))
    if "unacked_index_key" not in source or "visibility_timeout" not in source:
        faults.append("kombu's QoS.restore_visible goes by something else than unacked_index")
    if not hasattr(state, "reserved_requests"):
        faults.append("celery.worker.state has no reserved_requests")
    return faults
