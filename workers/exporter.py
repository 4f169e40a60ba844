"""What Prometheus is told: read from records and queues at each scrape, kept nowhere.

A scrape costs at most 150 Redis commands, and ten for each host with node-local uploads and
one for each worker, however many uploads there are; measured by a test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import redis
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tasks.codec import Codec
from tasks.connect import hasty_redis
from tasks.intake import BadInputError
from tasks.pipeline import list_key, queue_of
from tasks.record import PREFIX, STAGES, text, upload_key
from tasks.settings import Settings
from tasks.status import Backlog, Status

#: Why uploads wait is told of so many, those that are tried again first.
WAITING_SAMPLE = 100
#: Workers are found by a walk over all keys, in steps: of a million keys, all within 50 scrapes.
SCANS_A_SCRAPE = 20
KEYS_A_SCAN = 1000

Gauge = GaugeMetricFamily


class FarmCollector(Collector):
    """Asks Redis when it is asked; without Redis it tells that alone."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        # Nothing that is sealed is read.
        self._status = Status(client, Codec(()))
        self._cursor = 0
        self._known: frozenset[str] = frozenset()

    def collect(self) -> Iterator[Gauge]:
        """Give all metrics, or farmhaul_redis_up 0 alone."""
        try:
            found = [*self._read()]
        except redis.RedisError:
            found = []
        yield Gauge("farmhaul_redis_up", "Whether Redis answered.", value=int(bool(found)))
        yield from found

    def _read(self) -> Iterator[Gauge]:
        backlog = self._status.backlog()
        uploads = Gauge(
            "farmhaul_uploads", "Uploads by state, of those recorded.", labels=["state"]
        )
        for state, count in self._status.counts().items():
            uploads.add_metric([state], count)
        yield uploads
        yield from self._pending(backlog)
        yield from self._messages({"", *(one.host for one in backlog)})
        yield self._waiting()
        yield from self._gates()
        workers = len(self._workers())
        yield Gauge("farmhaul_workers", "Workers that take tasks.", value=workers)

    @staticmethod
    def _pending(backlog: list[Backlog]) -> Iterator[Gauge]:
        labels = ["priority", "host"]
        count = Gauge("farmhaul_pending", "Pending uploads.", labels=labels)
        age = Gauge(
            "farmhaul_pending_oldest_seconds", "Age of the oldest pending upload.", labels=labels
        )
        for one in backlog:
            count.add_metric([one.priority, one.host], one.count)
            age.add_metric([one.priority, one.host], one.oldest_s)
        yield from (count, age)

    def _messages(self, hosts: set[str]) -> Iterator[Gauge]:
        rows = [(stage, host) for host in sorted(hosts) for stage in STAGES]
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hlen("unacked")
        pipeline.zcard(f"{PREFIX}claims")
        for stage, host in rows:
            pipeline.llen(list_key(queue_of(host), stage))
        unacked, claims, *lengths = pipeline.execute()
        queued = Gauge("farmhaul_messages", "Queued messages.", labels=["stage", "host"])
        for labels, length in zip(rows, lengths, strict=True):
            queued.add_metric(labels, length)
        yield queued
        yield Gauge("farmhaul_messages_unacked", "Messages that workers have.", value=unacked)
        yield Gauge("farmhaul_claims", "Claims under way.", value=claims)

    def _waiting(self) -> Gauge:
        ids = self._redis.zrange(f"{PREFIX}waiting", 0, WAITING_SAMPLE - 1)
        pipeline = self._redis.pipeline(transaction=False)
        for upload_id in ids:
            pipeline.hget(upload_key(text(upload_id)), "waiting_for")
        what = f"Waiting uploads by reason, of the {WAITING_SAMPLE} that are due first."
        waiting = Gauge("farmhaul_waiting_sample", what, labels=["reason"])
        for reason, count in Counter(text(one) for one in pipeline.execute()).items():
            waiting.add_metric([reason], count)
        return waiting

    def _gates(self) -> Iterator[Gauge]:
        closed = Gauge("farmhaul_gate_closed", "1 during an outage.", labels=["service"])
        since = Gauge(
            "farmhaul_gate_closed_since_seconds", "When it closed (Unix time).", labels=["service"]
        )
        for gate in self._status.gates():
            closed.add_metric([gate.service], int(gate.closed))
            if gate.closed:
                since.add_metric([gate.service], gate.since)
        yield from (closed, since)

    def _workers(self) -> frozenset[str]:
        found = set(self._known)
        for _ in range(SCANS_A_SCRAPE):
            self._cursor, keys = self._redis.scan(
                self._cursor, f"{PREFIX}worker:*", count=KEYS_A_SCAN
            )
            found |= {text(key) for key in keys}
            if not self._cursor:
                break
        pipeline = self._redis.pipeline(transaction=False)
        for key in sorted(found):
            pipeline.exists(key)
        there = zip(sorted(found), pipeline.execute(), strict=True)
        self._known = frozenset(key for key, exists in there if exists)
        return self._known


def serve(settings: Settings, address: str, port: int) -> None:
    """Answer scrapes until the process ends."""
    registry = CollectorRegistry()
    registry.register(FarmCollector(hasty_redis(settings)))
    try:
        _, thread = start_http_server(port, address, registry)
    except OSError as error:
        raise BadInputError(f"cannot listen on {address}:{port}: {error.strerror}") from None
    thread.join()
