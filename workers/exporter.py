"""The metrics for Prometheus, read from records and queues at each scrape and kept nowhere.

However many uploads there are, a scrape costs at most 150 Redis commands, and ten more for each
host with node-local uploads; a test measures it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import redis
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tasks.chain import list_key, queue_of
from tasks.config.sealing import Codec
from tasks.config.texts import visible
from tasks.records.counters import read
from tasks.records.inbox import waiting
from tasks.records.keys import ASKED, CLAIMS, NOTICES, RETRYING, state_key, to_text, upload_key
from tasks.records.numbers import number
from tasks.records.refusals import read as read_refusals
from tasks.records.states import SERVICES, STAGES
from tasks.records.status import Backlog, Status
from tasks.records.unread import unread
from tasks.transfer.errors import UploadError

Gauge = GaugeMetricFamily


def subclasses(kind: type[UploadError]) -> Iterator[type[UploadError]]:
    """Return all kinds of errors below one in the tree."""
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


#: How many uploads the sample metrics look at: the retrying ones that are due first, and the ones
#: that have been active longest.
SAMPLE = 50
#: How many hosts or nodes a metric names.
MOST_HOSTS = 1000
#: The values of the label ``kind``. All of them are exported from the start, because Prometheus
#: misses the first increase of a counter that did not exist before it.
KINDS = sorted(
    {"UploadError", "WorkerKilled", "RecordBroken", "TooManyHosts"}
    | {kind.__name__ for kind in subclasses(UploadError)}
)
#: The help text of each counter, by its name in tasks.records.counters.
COUNTERS = {
    "enqueued": "Uploads and members of publishes that became pending by enqueue or retry.",
    "located": "Uploads located.",
    "located_bytes": "Bytes of located uploads.",
    "stored": "Members of publishes stored.",
    "stored_bytes": "Bytes sent to the media store.",
    "cancelled": "Uploads cancelled.",
    "superseded": "Uploads superseded by a newer file.",
    "claims_lost": "Claims taken back because their message was lost.",
    "redelivered": "Uploads delivered again because a worker's lease expired.",
    "refused_requests": "Requests of hooks refused: unsigned, altered, malformed or unknown.",
    "events_dropped": "Events that could not be sent to ftrack's event hub.",
    "notices_dropped": "Notices that were not sent to FARMHAUL_NOTIFY_URL: too many, or refused.",
    "refused_by": "Messages, records and requests refused, by node and reason.",
    "repaired": "Broken keys and records repaired, or failed alone.",
    "found": "Uploads found that were in no index any more.",
    "failed": "Uploads failed, by kind of error.",
    "retried": "Waits of uploads before another try, by kind of error.",
    "outages": "Times that a gate has closed, by service.",
}


class FarmCollector(Collector):
    """Reads Redis at each scrape; without Redis, it exports only that."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        # No sealed field is read, so no key is needed.
        self._status = Status(client, Codec(()))

    def collect(self) -> Iterator[Metric]:
        """Return all metrics, or only farmhaul_redis_up 0 if Redis does not answer."""
        try:
            found = [*self._read()]
        except redis.RedisError:
            found = []
        yield Gauge(
            "farmhaul_redis_up",
            "1 if Redis answered this scrape, otherwise 0.",
            value=int(bool(found)),
        )
        yield from found

    def _read(self) -> Iterator[Metric]:
        parts = (
            self._uploads,
            self._inbox,
            self._backlog,
            self._retrying,
            self._active,
            self._notices,
            self._gates,
            self._workers,
            self._node_faults,
            self._totals,
            self._asked,
            self._refused,
        )
        failed = 0
        for part in parts:
            try:
                yield from [*part()]
            except redis.ResponseError as error:
                if "WRONGTYPE" not in str(error):
                    raise
                failed += 1  # somebody else has put something there: the others are exported
        what = "Groups of metrics that this scrape lacks, because keys in Redis have other types."
        yield Gauge("farmhaul_unreadable", what, value=failed)

    def _uploads(self) -> Iterator[Gauge]:
        uploads = Gauge(
            "farmhaul_uploads", "Uploads that have a record, by state.", labels=["state"]
        )
        for state, count in self._status.counts().items():
            uploads.add_metric([state], count)
        yield uploads

    def _backlog(self) -> Iterator[Gauge]:
        backlog = self._status.backlog()
        yield from self._pending(backlog)
        yield from self._messages({"", *(row.host for row in backlog)})

    def _workers(self) -> Iterator[Gauge]:
        what = "Workers that take tasks, without those that take the files of their own host alone."
        yield Gauge("farmhaul_workers", what, value=len(self._status.sharing()))

    def _notices(self) -> Iterator[Gauge]:
        what = "Notices that have not been sent to FARMHAUL_NOTIFY_URL yet."
        yield Gauge("farmhaul_notices_waiting", what, value=self._redis.zcard(NOTICES))

    def _asked(self) -> Iterator[CounterMetricFamily]:
        rows: Any = self._redis.zrange(ASKED, 0, MOST_HOSTS - 1, desc=True, withscores=True)
        what = f"Uploads asked for, by the host of the hook: the {MOST_HOSTS} with the most."
        asked = CounterMetricFamily("farmhaul_asked_total", what, labels=["host"])
        for host, count in rows:
            asked.add_metric([visible(to_text(host))], count)
        yield asked

    def _refused(self) -> Iterator[CounterMetricFamily]:
        name, labels = "refused_by", ["what", "node", "reason"]
        family = CounterMetricFamily(f"farmhaul_{name}", COUNTERS[name], labels=labels)
        for one in read_refusals(self._redis):
            family.add_metric([one.what, one.node, one.reason], one.times)
        yield family

    def _inbox(self) -> Iterator[Gauge]:
        found = waiting(self._redis)
        what = "Entries that hooks have sent and no worker has taken in: up to 500 requests each."
        yield Gauge("farmhaul_inbox_entries", what, value=found.entries)
        what = "Age of the oldest of them, by the clock of its hook."
        yield Gauge("farmhaul_inbox_oldest_seconds", what, value=found.oldest_s or 0.0)
        what = "Entries of hooks that wait for workers of a newer version."
        count = sum(one.entries for one in unread(self._redis))
        yield Gauge("farmhaul_inbox_unread_entries", what, value=count)

    @staticmethod
    def _pending(backlog: list[Backlog]) -> Iterator[Gauge]:
        labels = ["priority", "host"]
        count = Gauge("farmhaul_pending", "Pending uploads.", labels=labels)
        age = Gauge(
            "farmhaul_pending_oldest_seconds", "Age of the oldest pending upload.", labels=labels
        )
        for row in backlog:
            count.add_metric([row.priority, visible(row.host)], row.count)
            age.add_metric([row.priority, visible(row.host)], row.oldest_s)
        yield from (count, age)

    def _messages(self, hosts: set[str]) -> Iterator[Gauge]:
        rows = [(stage, host) for host in sorted(hosts) for stage in STAGES]
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hlen("unacked")
        pipeline.zcard(CLAIMS)
        for stage, host in rows:
            pipeline.llen(list_key(queue_of(host), stage))
        found = pipeline.execute(raise_on_error=False)
        # A key of another type holds none.
        unacked, claims, *lengths = [one if isinstance(one, int) else 0 for one in found]
        queued = Gauge("farmhaul_messages", "Queued messages.", labels=["stage", "host"])
        for labels, length in zip(rows, lengths, strict=True):
            queued.add_metric([*map(visible, labels)], length)
        yield queued
        yield Gauge(
            "farmhaul_messages_unacked",
            "Messages taken by workers and not acknowledged.",
            value=unacked,
        )
        yield Gauge("farmhaul_claims", "Batches that workers have claimed.", value=claims)

    def _retrying(self) -> Iterator[Gauge]:
        ids = self._redis.zrange(RETRYING, 0, SAMPLE - 1)
        pipeline = self._redis.pipeline(transaction=False)
        for upload_id in ids:
            pipeline.hget(upload_key(to_text(upload_id)), "retry_reason")
        what = f"Retrying uploads by reason, among the {SAMPLE} that are due first."
        retrying = Gauge("farmhaul_retrying_sample", what, labels=["reason"])
        for reason, count in Counter(map(to_text, pipeline.execute())).items():
            retrying.add_metric([visible(reason)], count)
        yield retrying

    def _gates(self) -> Iterator[Gauge]:
        closed = Gauge(
            "farmhaul_gate_closed",
            "1 during an outage of the service, otherwise 0.",
            labels=["service"],
        )
        since = Gauge(
            "farmhaul_gate_closed_since_seconds",
            "When the gate closed (Unix time).",
            labels=["service"],
        )
        for gate in self._status.gates():
            closed.add_metric([gate.service], int(gate.closed))
            if gate.closed:
                since.add_metric([gate.service], gate.since)
        yield from (closed, since)

    def _node_faults(self) -> Iterator[Gauge]:
        labels = ["node", "reason"]
        what = "1 for a node that takes no uploads, because of this reason."
        aside = Gauge("farmhaul_node_set_aside", what, labels=labels)
        what = "Uploads that a node has left to others lately, because of this reason."
        left = Gauge("farmhaul_node_left_to_others", what, labels=labels)
        what = "1 for a node that has another version of farmhaul than most nodes."
        other = Gauge("farmhaul_node_other_version", what, labels=labels[:1])
        # Anyone who can write to Redis can invent nodes, and note versions of them.
        faults = sorted(self._status.node_faults(), key=lambda fault: fault.extent == "none")
        for fault in faults[:MOST_HOSTS]:
            name = visible(fault.name)
            if fault.extent == "none":
                other.add_metric([name], 1)
            else:
                found, value = (left, fault.count) if fault.extent == "some" else (aside, 1)
                found.add_metric([name, visible(fault.what)], value)
        yield from (aside, left, other)

    def _active(self) -> Iterator[Gauge]:
        ids: Any = self._redis.zrange(state_key("active"), 0, SAMPLE - 1, withscores=True)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.time()
        for upload_id, _ in ids:
            pipeline.hget(upload_key(to_text(upload_id)), "stage")
        (seconds, _), *stages = pipeline.execute()
        what = f"Active uploads by stage, among the {SAMPLE} that have been active longest."
        active = Gauge("farmhaul_active_sample", what, labels=["stage"])
        oldest = Gauge(
            "farmhaul_active_oldest_seconds",
            "How long the oldest upload has been active.",
            labels=["stage"],
        )
        ages: dict[str, list[float]] = {stage: [] for stage in STAGES}
        for (_, since), field in zip(ids, map(to_text, stages), strict=True):
            stage = int(number(field, 0.0, len(STAGES)))
            ages[STAGES[max(stage, 1) - 1]].append(max(seconds - since, 0.0))
        for name, found in ages.items():
            active.add_metric([name], len(found))
            oldest.add_metric([name], max(found, default=0.0))
        yield from (active, oldest)

    def _totals(self) -> Iterator[Metric]:
        totals = read(self._redis)
        for name, value in totals.plain.items():
            what = COUNTERS.get(name, "A counter of the Redis hash farmhaul:totals.")
            yield CounterMetricFamily(f"farmhaul_{name}", what, value=value)
        by_kind = {"failed": dict.fromkeys(KINDS, 0), "retried": dict.fromkeys(KINDS, 0)}
        by_kind["outages"] = dict.fromkeys(SERVICES, 0)
        for name, counts in totals.by_kind.items():
            by_kind.setdefault(name, {}).update(counts)
        for name, counts in by_kind.items():
            if name in totals.plain:
                continue
            label = "service" if name == "outages" else "kind"
            what = COUNTERS.get(name, "A counter of the Redis hash farmhaul:totals.")
            family = CounterMetricFamily(f"farmhaul_{name}", what, labels=[label])
            for kind, count in counts.items():
                family.add_metric([visible(kind)], count)
            yield family
        yield HistogramMetricFamily(
            "farmhaul_upload_seconds",
            "Time from the enqueue of an upload until it was located.",
            buckets=[*totals.buckets.items()],
            sum_value=totals.seconds_sum,
        )
