"""What the record tells of uploads: read by status, --wait, watch and the exporter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import redis

from tasks.config.sealing import UNREADABLE, Codec
from tasks.intake.request import PRIORITIES
from tasks.records.commands import PREVIEW_SCORES
from tasks.records.keys import (
    HOSTS,
    WORKERS,
    file_state_key,
    files_key,
    gate_key,
    left_key,
    pending_key,
    state_key,
    to_text,
    upload_key,
)
from tasks.records.record import STAGES
from tasks.transfer.errors import SealBrokenError

LIVE_STATES = ("pending", "active", "retrying", "storing")
ENDED_STATES = ("located", "failed", "cancelled", "superseded")
STATES = (*LIVE_STATES, *ENDED_STATES)
UNENDED_JOBS = ("queued", "running")
SERVICES = ("ftrack", "store", "credentials")
#: What is to be said of a publish while its files are still being written into the record.
IS_OPEN = "not all of its files are recorded yet; if its enqueue was killed, enqueue it again"
#: Workers by when they last took tasks; who has not for so many seconds is gone.
#: Of a publish that waits for no more files than this, so many are read to tell why.
MOST_LEFT, FILES_READ = 1000, 20
WORKER_S = 30
#: The score of a pending upload: its priority times this, and the milliseconds (enqueue.lua).
SCORE_STEP = 10**13


@dataclass(frozen=True, slots=True)
class UploadState:
    """An upload as ``status`` shows it. Times are seconds since 1970, of Redis' clock."""

    upload_id: str
    component_id: str
    path: str
    state: str
    stage: str
    size_bytes: int | None
    sent_bytes: int
    worker: str
    error: str
    error_kind: str
    created: float
    updated: float
    due: float | None
    tries: int
    #: Of a publish: how many files it has, and how many of them are stored.
    files: int = 0
    stored: int = 0
    #: What ftrack says of its encoding: queued, running, done, failed; empty where there is none.
    job_ids: tuple[str, ...] = ()
    job_state: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is to be waited for, the encoding included."""
        return self.state not in LIVE_STATES and self.job_state not in UNENDED_JOBS

    @property
    def has_failed(self) -> bool:
        """Whether it is not in ftrack as it was asked for."""
        return self.state not in {"located", "stored"} or self.job_state == "failed"


@dataclass(frozen=True, slots=True)
class Backlog:
    """Pending uploads of one priority and host; the host is empty where all see the files."""

    host: str
    priority: str
    count: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether an outage of a service keeps claims back, and since when (Redis' clock)."""

    service: str
    closed: bool
    since: float


class Status:
    """Reads the records; it writes nothing."""

    def __init__(self, client: redis.Redis, codec: Codec) -> None:
        self.client = client
        self.codec = codec

    def find(self, upload_ids: Sequence[str]) -> list[UploadState | None]:
        """Read uploads; None for those that no record tells of."""
        pipeline = self.client.pipeline(transaction=False)
        for upload_id in upload_ids:
            pipeline.hgetall(upload_key(upload_id))
        rows = [{to_text(k): to_text(v) for k, v in row.items()} for row in pipeline.execute()]
        found = list(zip(upload_ids, rows, strict=True))
        publishes = [upload_id for upload_id, fields in found if "total" in fields]
        for upload_id in publishes:
            pipeline.scard(files_key(upload_id))
            pipeline.scard(left_key(upload_id))
        counts = pipeline.execute()
        left = dict(zip(publishes, counts[1::2], strict=True))
        stored = {
            one: max(files - left[one], 0) for one, files in zip(left, counts[::2], strict=True)
        }
        storing = {one: row for one, row in found if row.get("state") == "storing"}
        waiting = {one: row for one, row in storing.items() if 0 < left.get(one, 0) <= MOST_LEFT}
        for fields, trouble in zip(waiting.values(), self._troubles([*waiting]), strict=True):
            fields.update(trouble)
        return [self._state(one, fields, stored.get(one, 0)) for one, fields in found]

    def _troubles(self, publish_ids: Sequence[str]) -> Iterator[dict[str, str]]:
        """Give for each publish the error of a file that has to wait; of many some are read."""
        pipeline = self.client.pipeline(transaction=False)
        for publish_id in publish_ids:
            pipeline.smembers(left_key(publish_id))
        samples = [[*islice(ids, FILES_READ)] for ids in pipeline.execute()]
        for one in chain(*samples):
            pipeline.hmget(upload_key(to_text(one)), "state", "error", "error_kind")
        rows = iter(pipeline.execute())
        for ids in samples:
            files = [tuple(map(to_text, row)) for row in islice(rows, len(ids))]
            kinds = {error: kind for state, error, kind in files if state == "retrying" and error}
            yield {"error": min(kinds), "error_kind": kinds[min(kinds)]} if kinds else {}

    def files_left(self, publish_id: str, most: int) -> list[UploadState]:
        """Read those files of a publish that are not stored, the failed ones first."""
        ids = [to_text(one) for one in self.client.smembers(left_key(publish_id))]
        found = [one for one in self.find(ids) if one is not None]
        return sorted(found, key=lambda one: (one.state != "failed", one.path))[:most]

    def not_ended(self, upload_ids: Sequence[str]) -> list[str]:
        """Leave out the uploads that have ended, or that no record tells of; cheap to poll."""
        pipeline = self.client.pipeline(transaction=False)
        for upload_id in upload_ids:
            pipeline.hmget(upload_key(upload_id), "state", "job_state")
        states = zip(upload_ids, pipeline.execute(), strict=True)
        return [
            upload_id
            for upload_id, (state, job_state) in states
            if to_text(state) in LIVE_STATES or to_text(job_state) in UNENDED_JOBS
        ]

    def _state(self, upload_id: str, fields: Mapping[str, str], stored: int) -> UploadState | None:
        if not fields:
            return None
        try:
            path = str(self.codec.decode(fields["request"])["path"])
        except (SealBrokenError, KeyError, TypeError):
            path = UNREADABLE
        stage = int(fields.get("stage") or 0)
        is_open = fields.get("state") == "storing" and "complete" not in fields
        return UploadState(
            upload_id,
            fields.get("component", ""),
            path,
            fields.get("state", ""),
            STAGES[stage - 1] if stage else "",
            int(fields["size"]) if fields.get("size") else None,
            int(fields.get("sent") or 0),
            fields.get("worker", ""),
            IS_OPEN if is_open else self.codec.unseal_text(fields.get("error", "")),
            fields.get("error_kind", ""),
            float(fields.get("created") or 0),
            float(fields.get("updated") or 0),
            float(fields["due"]) if fields.get("due") else None,
            sum(int(n) for name, n in fields.items() if name.startswith("tries:")),
            int(fields.get("total") or 0),
            stored,
            tuple(fields["jobs"].split(",")) if fields.get("jobs") else (),
            fields.get("job_state", ""),
        )

    def ids_in(self, states: Iterable[str], limit: int = 10_000) -> list[str]:
        """Give the ids of uploads in some states, the latest moved first."""
        pipeline = self.client.pipeline(transaction=False)
        for state in states:
            pipeline.zrange(state_key(state), 0, limit - 1, desc=True, withscores=True)
        found = [row for rows in pipeline.execute() for row in rows]
        return [to_text(one) for one, _ in sorted(found, key=lambda row: -float(row[1]))]

    def counts(self) -> dict[str, int]:
        """Count the uploads in each state."""
        pipeline = self.client.pipeline(transaction=False)
        for state in STATES:
            pipeline.zcard(state_key(state))
        return dict(zip(STATES, pipeline.execute(), strict=True))

    def backlog(self) -> list[Backlog]:
        """Count what is pending by priority and host, with the age of the oldest of each.

        An upload that had to wait keeps its place, so its age counts from its enqueue.
        """
        hosts = ["", *sorted(to_text(host) for host in self.client.smembers(HOSTS))]
        rows = [(host, name, number) for host in hosts for name, number in PRIORITIES.items()]
        pipeline = self.client.pipeline(transaction=False)
        pipeline.time()
        for host, _, number in rows:
            key = pending_key(host)
            low, high = number * SCORE_STEP, f"({(number + 1) * SCORE_STEP}"
            pipeline.zcount(key, low, high)
            pipeline.zrangebyscore(key, low, high, start=0, num=1, withscores=True)
        (seconds, _), *answers = pipeline.execute()
        backlog = []
        for (host, name, number), count, oldest in zip(
            rows, answers[::2], answers[1::2], strict=True
        ):
            if count and oldest:
                since_s = (oldest[0][1] - number * SCORE_STEP) % PREVIEW_SCORES / 1000
                backlog.append(Backlog(host, name, count, max(seconds - since_s, 0.0)))
        return backlog

    def gates(self) -> list[Gate]:
        """Tell of each service whether it is taken to be out."""
        pipeline = self.client.pipeline(transaction=False)
        for service in SERVICES:
            pipeline.hmget(gate_key(service), "until", "since")
        # `until` stays till a good answer, also when the next probe is due.
        return [
            Gate(service, closed=until is not None, since=float(since or 0))
            for service, (until, since) in zip(SERVICES, pipeline.execute(), strict=True)
        ]

    def workers(self) -> list[str]:
        """Name the workers that have taken tasks within the last half minute."""
        now, _ = self.client.time()
        found = self.client.zrangebyscore(WORKERS, f"({now - WORKER_S}", "+inf")
        return sorted(to_text(name) for name in found)

    def silent_for(self, silent_s: float, limit: int) -> list[str]:
        """Name the active uploads, of the ``limit`` longest in a stage, that nobody renews."""
        pipeline = self.client.pipeline(transaction=False)
        for key in (state_key("active"), file_state_key("active")):
            pipeline.zrange(key, 0, limit - 1)
        ids = [to_text(one) for found in pipeline.execute() for one in found][:limit]
        pipeline = self.client.pipeline(transaction=False)
        pipeline.time()
        for upload_id in ids:
            pipeline.hget(upload_key(upload_id), "updated")
        (seconds, _), *updated = pipeline.execute()
        return [
            upload_id
            for upload_id, at in zip(ids, updated, strict=True)
            if at is not None and seconds - float(at) > silent_s
        ]
