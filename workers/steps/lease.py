"""The lease: a task belongs to its worker for as long as the worker lives, and no longer.

With Redis as the broker, a message that is not acknowledged within the visibility timeout is
delivered again. A long timeout delays a dead node's work; a short one runs long tasks twice. So
the timeout is short and renewed: kombu keeps the delivery tags of unacknowledged messages in a
sorted set, by the time they were taken, and this step updates that time while the process lives.
"""

from __future__ import annotations

import inspect
import time
from typing import Any

import kombu
from celery.worker import state
from kombu.transport import redis as kombu_redis

from tasks.log import log
from tasks.records.record import Record
from workers.steps.periodic import PeriodicStep

#: With this many renewals in a lease, two of them in a row may be lost.
RENEWALS_A_LEASE = 4

#: The lease and the reconciler use internals of this kombu; checked when a worker starts.
KNOWN_KOMBU = "5.7."


class Lease(PeriodicStep):
    """Renews the leases of all tasks that this worker has taken."""

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self.interval_s = self.settings.lease_s / RENEWALS_A_LEASE

    def start(self, worker: Any) -> None:
        """Check the internals that the renewal relies on, then start it."""
        for fault in internals_unknown():
            log.error(
                "lease_check_failed", text=f"{fault}: tasks longer than the lease may run twice"
            )
        super().start(worker)

    def stop(self, _worker: Any) -> None:
        """Keep renewing, because tasks still run while the worker shuts down warmly."""

    def act(self) -> None:
        """Renew the leases."""
        renew(self.record)


def renew(record: Record) -> None:
    """Renew the lease of every task that this process has taken and not acknowledged."""
    # Other threads change the set, so a copy may occasionally fail; the next renewal follows soon.
    requests = [request for request in tuple(state.reserved_requests) if not request.acknowledged]
    if requests:
        tags = [request.message.delivery_tag for request in requests]
        record.renew(time.time(), tags, [request.root_id or request.id for request in requests])


def internals_unknown() -> list[str]:
    """Return how kombu and Celery differ from what the lease relies on; usually nothing."""
    faults = []
    if not kombu.__version__.startswith(KNOWN_KOMBU):
        faults.append(f"kombu {kombu.__version__} is not {KNOWN_KOMBU}x")
    expected = {"unacked_key": "unacked", "unacked_index_key": "unacked_index", "sep": "\x06\x16"}
    for name, value in expected.items():
        if getattr(kombu_redis.Channel, name, None) != value:
            faults.append(f"kombu's Channel.{name} is not {value!r}")
    source = inspect.getsource(getattr(kombu_redis.QoS, "restore_visible", Lease))
    if "unacked_index_key" not in source or "visibility_timeout" not in source:
        faults.append("kombu's QoS.restore_visible does not use unacked_index")
    if not hasattr(state, "reserved_requests"):
        faults.append("celery.worker.state has no reserved_requests")
    return faults
