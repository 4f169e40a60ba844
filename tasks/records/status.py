"""Reading records: for status, --wait, watch, doctor and the exporter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import redis

from tasks.config.sealing import Codec
from tasks.intake.inbox import INBOX
from tasks.intake.request import PRIORITIES
from tasks.records.keys import (
    COMPONENT,
    HOSTS,
    TAKING,
    UNREAD,
    WORKERS,
    file_state_key,
    files_key,
    gate_key,
    left_key,
    pending_key,
    state_key,
    to_text,
    unread_key,
    upload_key,
)
from tasks.records.nodes import IS_LOCAL, NodeFault, heard_lately, node_faults
from tasks.records.numbers import LATEST_S, number
from tasks.records.states import (
    DONE,
    LIVE,
    PRIORITY_STEP,
    SERVICES,
    UNFINISHED_JOBS,
    UPLOAD_STATES,
    enqueued_at,
)
from tasks.records.upload_state import UploadState, broken_state, state_of

#: A publish that waits for up to MOST_LEFT files shows the error of one of them, found among the
#: first FILES_READ.
MOST_LEFT, FILES_READ = 1000, 20


@dataclass(frozen=True, slots=True)
class Backlog:
    """Pending uploads of one priority and host; the host is empty where all nodes see the files."""

    host: str
    priority: str
    count: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether the gate of a service is closed, and since when (seconds since 1970)."""

    service: str
    closed: bool
    since: float


class Status:
    """Reads the records, and writes nothing."""

    def __init__(self, client: redis.Redis, codec: Codec) -> None:
        self.client = client
        self.codec = codec

    def find(self, upload_ids: Sequence[str]) -> list[UploadState | None]:
        """Read uploads; the state of an unknown id is None."""
        pipeline = self.client.pipeline(transaction=False)
        for upload_id in upload_ids:
            pipeline.hgetall(upload_key(upload_id))
        found_rows = answers(pipeline)
        rows = [
            {to_text(k): to_text(v) for k, v in row.items()} if isinstance(row, dict) else {}
            for row in found_rows
        ]
        read = zip(upload_ids, found_rows, strict=True)
        broken = {upload_id for upload_id, row in read if not isinstance(row, dict)}
        found = list(zip(upload_ids, rows, strict=True))
        publishes = [*{upload_id for upload_id, fields in found if "total" in fields}]
        for publish_id in publishes:
            pipeline.scard(files_key(publish_id))
            pipeline.scard(left_key(publish_id))
        counts = [count if isinstance(count, int) else 0 for count in answers(pipeline)]
        left = dict(zip(publishes, counts[1::2], strict=True))
        stored = {
            publish_id: max(files - left[publish_id], 0)
            for publish_id, files in zip(left, counts[::2], strict=True)
        }
        held_up = {
            upload_id: fields
            for upload_id, fields in found
            if fields.get("state") == "storing" and 0 < left.get(upload_id, 0) <= MOST_LEFT
        }
        for fields, error in zip(held_up.values(), self._errors_of([*held_up]), strict=True):
            fields.update(error)
        return [
            broken_state(upload_id)
            if upload_id in broken
            else state_of(upload_id, fields, stored.get(upload_id, 0), self.codec)
            for upload_id, fields in found
        ]

    def place(self, upload_id: str) -> tuple[str, int]:
        """Return on which host a pending upload waits, and how many are taken before it at least.

        The host is empty where all nodes see the file. Uploads of one request share a place.
        """
        found, score = self.client.hmget(upload_key(upload_id), "host", "score")
        host, first = to_text(found or b""), f"({number(score)!r}"
        return host, int(self.client.zcount(pending_key(host), "-inf", first))

    def current(self, component_ids: Sequence[str]) -> list[str]:
        """Return the upload that each component belongs to; empty if none is known."""
        pipeline = self.client.pipeline(transaction=False)
        for component_id in component_ids:
            pipeline.hget(COMPONENT + component_id, "current")
        return [to_text(upload_id) for upload_id in pipeline.execute()]

    def _errors_of(self, publish_ids: Sequence[str]) -> Iterator[dict[str, str]]:
        """Return for each publish the error of a live member, from a sample of them."""
        pipeline = self.client.pipeline(transaction=False)
        for publish_id in publish_ids:
            pipeline.smembers(left_key(publish_id))
        found = [ids if isinstance(ids, set) else () for ids in answers(pipeline)]
        samples = [[*islice(ids, FILES_READ)] for ids in found]
        for upload_id in chain(*samples):
            pipeline.hmget(upload_key(to_text(upload_id)), "state", "error", "error_kind")
        nothing = (None, None, None)
        rows = iter([row if isinstance(row, list) else nothing for row in answers(pipeline)])
        for ids in samples:
            files = [tuple(map(to_text, row)) for row in islice(rows, len(ids))]
            kinds = {error: kind for state, error, kind in files if state in LIVE and error}
            yield {"error": min(kinds), "error_kind": kinds[min(kinds)]} if kinds else {}

    def members_left(self, publish_id: str, limit: int) -> list[UploadState]:
        """Read up to *limit* members of a publish that are not stored, the failed ones first."""
        ids = [to_text(upload_id) for upload_id in self.client.smembers(left_key(publish_id))]
        found = [file for file in self.find(ids) if file is not None]
        return sorted(found, key=lambda file: (file.state != "failed", file.path))[:limit]

    def members_stored(self, publish_id: str, limit: int) -> list[UploadState]:
        """Read up to *limit* members of a publish that are stored, by path."""
        pipeline = self.client.pipeline(transaction=False)
        pipeline.smembers(files_key(publish_id))
        pipeline.smembers(left_key(publish_id))
        files, left = (ids if isinstance(ids, set) else set() for ids in answers(pipeline))
        stored = sorted(files - left)
        found = self.find([to_text(upload_id) for upload_id in stored[:limit]])
        return sorted((file for file in found if file is not None), key=lambda file: file.path)

    def not_ended(self, upload_ids: Sequence[str]) -> list[str]:
        """Return the uploads that have a record and have not ended; cheap to poll."""
        return [
            upload_id
            for upload_id, state, job_state in self._states(upload_ids)
            if state in LIVE or job_state in UNFINISHED_JOBS
        ]

    def ended_well(self, upload_ids: Sequence[str]) -> dict[str, str]:
        """Return the states of those that have ended and have not failed.

        Of hundreds, this takes a sixth of the time of ``find``.
        """
        return {
            upload_id: state
            for upload_id, state, job_state in self._states(upload_ids)
            if state in DONE and job_state not in {*UNFINISHED_JOBS, "failed"}
        }

    def _states(self, upload_ids: Sequence[str]) -> Iterator[tuple[str, str, str]]:
        """Yield the id, the state and the state of the encoding of each upload."""
        pipeline = self.client.pipeline(transaction=False)
        for upload_id in upload_ids:
            pipeline.hmget(upload_key(upload_id), "state", "job_state")
        for upload_id, (state, job) in zip(upload_ids, pipeline.execute(), strict=True):
            yield upload_id, to_text(state), to_text(job)

    def not_taken_in(self, entries: Sequence[bytes]) -> list[bytes]:
        """Return the entries of the inbox whose requests have no records yet.

        Each poll sends the entries to Redis, which compares them with all that wait.
        """
        versions: Any = self.client.hkeys(UNREAD)
        while True:
            lists = [INBOX, TAKING, *(unread_key(to_text(version)) for version in versions)]
            # A transaction, because a worker that goes on moves entries between the lists.
            pipeline = self.client.pipeline(transaction=True)
            for entry in entries:
                for key in lists:
                    pipeline.lpos(key, entry)  # type: ignore[arg-type] # bytes are as good
            pipeline.hkeys(UNREAD)
            *places, now = pipeline.execute()
            if set(now) <= set(versions):
                break
            versions = now  # a worker has made a list meanwhile
        size = len(lists)
        return [
            entry
            for number, entry in enumerate(entries)
            if any(place is not None for place in places[number * size : (number + 1) * size])
        ]

    def ids_in(self, states: Iterable[str], limit: int = 10_000) -> list[str]:
        """Return the ids of uploads in some states, the latest moved first."""
        pipeline = self.client.pipeline(transaction=False)
        for state in states:
            pipeline.zrange(state_key(state), 0, limit - 1, desc=True, withscores=True)
        found = [row for rows in pipeline.execute() for row in rows]
        latest_first = sorted(found, key=lambda row: -float(row[1]))
        # Once each: somebody else may have put an upload into several.
        return [*dict.fromkeys(to_text(upload_id) for upload_id, _ in latest_first)]

    def counts(self) -> dict[str, int]:
        """Count the uploads in each state; members are not uploads of their own."""
        pipeline = self.client.pipeline(transaction=False)
        for state in UPLOAD_STATES:
            pipeline.zcard(state_key(state))
        return dict(zip(UPLOAD_STATES, pipeline.execute(), strict=True))

    def backlog(self) -> list[Backlog]:
        """Count the pending uploads by priority and host, with the age of the oldest of each.

        A retried upload keeps its place, so its age counts from its enqueue.
        """
        hosts = ["", *sorted(to_text(host) for host in self.client.smembers(HOSTS))]
        rows = [(host, name, number) for host in hosts for name, number in PRIORITIES.items()]
        pipeline = self.client.pipeline(transaction=False)
        pipeline.time()
        for host, _, priority in rows:
            key = pending_key(host)
            low, high = priority * PRIORITY_STEP, f"({(priority + 1) * PRIORITY_STEP}"
            pipeline.zcount(key, low, high)
            pipeline.zrangebyscore(key, low, high, start=0, num=1, withscores=True)
        (seconds, micros), *answers = pipeline.execute()
        now = seconds + micros / 1e6
        return [
            Backlog(host, name, count, max(now - enqueued_at(oldest[0][1]), 0.0))
            for (host, name, _), count, oldest in zip(
                rows, answers[::2], answers[1::2], strict=True
            )
            if count and oldest
        ]

    def gates(self) -> list[Gate]:
        """Return the gate of each service."""
        pipeline = self.client.pipeline(transaction=False)
        for service in SERVICES:
            pipeline.hmget(gate_key(service), "until", "since")
        # `until` stays until the service has answered, even when the next probe is due.
        return [
            Gate(service, closed=until is not None, since=number(since, 0.0, LATEST_S))
            for service, (until, since) in zip(SERVICES, pipeline.execute(), strict=True)
        ]

    def workers(self) -> list[str]:
        """Return the names of the workers that have taken tasks within WORKER_S."""
        return sorted(name.removesuffix(IS_LOCAL) for name in heard_lately(self.client, WORKERS))

    def sharing(self) -> list[str]:
        """Return those of the workers that do not take the files of their own host alone.

        One that does was started with -Q farmhaul.HOST.
        """
        names = heard_lately(self.client, WORKERS)
        return sorted(name for name in names if not name.endswith(IS_LOCAL))

    def node_faults(self) -> list[NodeFault]:
        """Return the running nodes that cannot do what others can, the worst first."""
        return node_faults(self.client, self.codec)

    def hosts_without(self, workers: Iterable[str]) -> list[str]:
        """Return the hosts with pending node-local uploads on which none of these workers runs."""
        with_worker = {name.partition("@")[2] for name in workers}
        return sorted({row.host for row in self.backlog() if row.host} - with_worker)

    def lacks_sharing(self) -> bool:
        """Return whether uploads that all hosts see wait, while no worker takes such."""
        return not self.sharing() and any(not row.host for row in self.backlog())

    def silent_for(self, silent_s: float, limit: int) -> list[str]:
        """Return the active uploads that nobody has renewed for *silent_s*.

        Only the *limit* uploads that moved longest ago are examined.
        """
        pipeline = self.client.pipeline(transaction=False)
        for key in (state_key("active"), file_state_key("active")):
            pipeline.zrange(key, 0, limit - 1)
        ids = [to_text(upload_id) for found in pipeline.execute() for upload_id in found][:limit]
        pipeline = self.client.pipeline(transaction=False)
        pipeline.time()
        for upload_id in ids:
            pipeline.hget(upload_key(upload_id), "updated")
        (seconds, _), *updated = pipeline.execute()
        return [
            upload_id
            for upload_id, at in zip(ids, updated, strict=True)
            if at is not None and seconds - number(at) > silent_s
        ]


def answers(pipeline: Any) -> list[Any]:
    """Return what a pipeline reads; a ResponseError in place of what has another type."""
    found: list[Any] = pipeline.execute(raise_on_error=False)
    for answer in found:
        if isinstance(answer, redis.RedisError) and "WRONGTYPE" not in str(answer):
            raise answer
    return found
