"""The records of downloads that workers make: ``farmhaul fetch --enqueue``.

A download is one Celery task with all of its retries, so its id is the task's. Nothing but these
records depends on them: a download that Redis has forgotten still arrives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.records.acts import CANCELLED
from tasks.records.keys import FETCHES, fetch_key, to_text
from tasks.records.numbers import LATEST_S, Numbers, number
from tasks.records.scripts import Scripts
from tasks.transfer.errors import SealBrokenError

#: How many downloads the reconciler looks at, however many somebody has put into the index.
MOST_MOVED = 100_000


@dataclass(frozen=True, slots=True)
class FetchState:
    """A download as ``status`` shows it. Times are seconds since 1970, by Redis' clock."""

    fetch_id: str
    component_id: str
    folder: str
    #: queued, fetching or retrying, and in the end fetched, failed or cancelled; ``retry`` makes it
    #: queued again.
    state: str
    #: How many files the component has (0 until ftrack has told), and how many of them are here.
    files: int
    fetched: int
    received_bytes: int
    worker: str
    error: str
    error_kind: str
    created: float
    updated: float
    #: What ftrack says of the size of all files, and how fast they arrive; None if not known.
    size_bytes: int | None = None
    bytes_s: int | None = None
    #: Who has asked for it last, and when; when a worker began it last, how often since then, and
    #: when it is tried again, or its message is sent again. 0 and empty if that is not known.
    who: str = ""
    asked: float = 0.0
    begun: float = 0.0
    tries: int = 0
    due: float = 0.0
    #: Who has cancelled it, and when; empty if nobody has, and 0 if that is not known.
    cancelled_by: str = ""
    cancelled: float = 0.0
    #: The time in its message, by the clock of who has sent that; 0 if it is not known.
    asked_at: float = 0.0
    #: How often its message was sent again since, because no worker had taken it.
    lost: int = 0

    @property
    def next_try(self) -> float:
        """When something is tried again, in seconds since 1970; 0 if that is not known."""
        return self.due if self.state in {"queued", "retrying"} else 0.0

    @property
    def left_s(self) -> float | None:
        """How long the rest takes to arrive, in seconds; None if that is not known."""
        if not (self.size_bytes and self.bytes_s and self.state == "fetching"):
            return None
        return max(self.size_bytes - self.received_bytes, 0) / self.bytes_s

    @property
    def has_ended(self) -> bool:
        """Whether nothing happens any more by itself."""
        return self.state in {"fetched", "failed", CANCELLED}


class Fetches:
    """Writes and reads the records of downloads."""

    def __init__(self, scripts: Scripts) -> None:
        self.scripts = scripts
        self.redis = scripts.client

    def ask(self, fetch_id: str, component_id: str, folder: str, who: str, asked_at: float) -> None:
        """Write what somebody wants to have downloaded, and where to.

        From now on, only the message with this ``asked_at`` counts.
        """
        now, _ = self.redis.time()
        said: dict[str, str | int] = {"asked": now, "tries": 0, "cancelled_by": ""}
        said.update(lost=0, due=0)
        said["asked_at"] = repr(asked_at)
        said["who"] = self.scripts.codec.seal_text(who)
        self.begin(fetch_id, component_id, folder, asked_at, state="queued", **said)

    def begin(
        self, fetch_id: str, component_id: str, folder: str, when: float = 0, **fields: str | int
    ) -> None:
        """Write what is downloaded and where to, when that was asked for, and a state."""
        # The time is sealed too: by an old record, nobody gets a message that seems new.
        values = {"id": fetch_id, "component_id": component_id, "folder": folder, "when": when}
        request = self.scripts.codec.encode(values)
        self.note(fetch_id, {**fields, "component": component_id, "request": request})

    def cancel(self, fetch_id: str, who: str) -> str:
        """Let its worker stop, and return its state then. One that has ended stays as it is."""
        fetch = self.find([fetch_id]).get(fetch_id)
        if fetch is None or fetch.has_ended:
            return fetch.state if fetch else ""
        by = self.scripts.codec.seal_text(who or "somebody")
        now, _ = self.redis.time()
        self.note(fetch_id, {"cancelled_by": by, "cancelled": now})
        return CANCELLED

    def unwanted(self, fetch_id: str, asked_at: float) -> tuple[bool, bool]:
        """Return whether it was asked for again, so that another message counts, or cancelled.

        Clocks of two hosts differ, so the times are only compared for being the same. 0 stands for
        the message of a former version, which counts.
        """
        counts, cancelled_by = self.redis.hmget(fetch_key(fetch_id), "asked_at", "cancelled_by")
        is_replaced = bool(asked_at and counts and to_text(counts) != repr(asked_at))
        return is_replaced, bool(cancelled_by)

    def take(
        self, fetch_id: str, component_id: str, folder: str, worker: str, asked_at: float = 0
    ) -> None:
        """Write that a worker begins it."""
        now, _ = self.redis.time()
        said: dict[str, str | int] = {"state": "fetching", "worker": worker, "begun": now}
        said["lost"] = 0
        self.begin(fetch_id, component_id, folder, asked_at, **said)
        self.redis.hincrby(fetch_key(fetch_id), "tries", 1)

    def note(
        self,
        fetch_id: str,
        fields: Mapping[str, str | int],
        error: str = "",
        delay_s: float | None = None,
    ) -> None:
        """Write fields; the record is kept for FARMHAUL_RECORD_DAYS after the last time.

        ``delay_s`` is in how long it is tried again.
        """
        now, _ = self.redis.time()
        key, ttl_s = fetch_key(fetch_id), self.scripts.ttl_s
        sealed = self.scripts.codec.seal_text(error)
        values: dict[Any, Any] = {**fields, "error": sealed, "updated": now}
        if delay_s is not None:
            values["due"] = now + round(delay_s)
        pipeline = self.redis.pipeline()
        pipeline.hset(key, mapping=values)
        pipeline.hsetnx(key, "created", now)
        pipeline.expire(key, ttl_s)
        pipeline.zadd(FETCHES, {fetch_id: now})
        pipeline.expire(FETCHES, ttl_s)
        pipeline.execute()

    def trim(self) -> None:
        """Remove expired records from the index; only workers may."""
        now, _ = self.redis.time()
        self.redis.zremrangebyscore(FETCHES, "-inf", now - self.scripts.ttl_s)

    def ids(self, limit: int = 10_000) -> list[str]:
        """Return the downloads that have a record, the latest moved first."""
        return [to_text(one) for one in self.redis.zrange(FETCHES, 0, limit - 1, desc=True)]

    def moved(self, since_s: float, until_s: float) -> dict[str, float]:
        """Return the downloads that have last moved so many seconds ago, with when they did."""
        now, _ = self.redis.time()
        rows: Any = self.redis.zrange(
            FETCHES,
            now - since_s,
            now - until_s,
            byscore=True,
            withscores=True,
            offset=0,
            num=MOST_MOVED,
        )
        return {to_text(fetch_id): at for fetch_id, at in rows}

    def beginning_with(self, starts: Iterable[str]) -> dict[str, list[str]]:
        """Return for each start the downloads whose ids begin so, read once."""
        wanted = [*starts]
        ids = self.ids() if wanted else []
        return {start: [one for one in ids if one.startswith(start)] for start in wanted}

    def find(self, fetch_ids: Sequence[str]) -> dict[str, FetchState]:
        """Return the state of each download that has a record."""
        pipeline = self.redis.pipeline(transaction=False)
        for fetch_id in fetch_ids:
            pipeline.hgetall(fetch_key(fetch_id))
        found: dict[str, FetchState] = {}
        rows = pipeline.execute(raise_on_error=False)
        for fetch_id, row in zip(fetch_ids, rows, strict=True):
            if isinstance(row, Exception) and "WRONGTYPE" not in str(row):
                raise row
            if row and isinstance(row, dict):
                fields = {to_text(name): to_text(value) for name, value in row.items()}
                found[fetch_id] = self._state(fetch_id, fields)
        return found

    def _state(self, fetch_id: str, fields: Mapping[str, str]) -> FetchState:
        component_id, folder, asked_at = self._asked(fetch_id, fields)
        numbers = Numbers(fields)
        state, cancelled_by = fields.get("state", ""), fields.get("cancelled_by", "")
        return FetchState(
            fetch_id,
            component_id=component_id,
            folder=folder,
            # What has arrived before its worker has seen that is here nevertheless.
            state=CANCELLED if cancelled_by and state != "fetched" else state,
            files=numbers.whole("files"),
            fetched=numbers.whole("fetched"),
            received_bytes=numbers.whole("received"),
            worker=fields.get("worker", ""),
            error=self.scripts.codec.unseal_text(fields.get("error", "")),
            error_kind=fields.get("error_kind", ""),
            created=numbers.get("created", LATEST_S) or 0.0,
            updated=numbers.get("updated", LATEST_S) or 0.0,
            size_bytes=numbers.whole("size") or None,
            bytes_s=numbers.whole("rate") or None,
            who=self.scripts.codec.unseal_text(fields.get("who", "")),
            asked=numbers.get("asked", LATEST_S) or 0.0,
            begun=numbers.get("begun", LATEST_S) or 0.0,
            tries=numbers.whole("tries"),
            due=numbers.get("due", LATEST_S) or 0.0,
            cancelled_by=self.scripts.codec.unseal_text(cancelled_by),
            cancelled=numbers.get("cancelled", LATEST_S) or 0.0,
            asked_at=asked_at,
            lost=numbers.whole("lost"),
        )

    def _asked(self, fetch_id: str, fields: Mapping[str, str]) -> tuple[str, str, float]:
        """Return the component and the folder that were asked for, and when.

        Without the key, or if somebody else has written the request, there is no folder and no
        time, and the component is only what the record says.
        """
        try:
            request: Any = self.scripts.codec.decode(fields.get("request", ""))
            if request["id"] == fetch_id:
                when = number(request.get("when", 0), 0.0, LATEST_S)
                return str(request["component_id"]), str(request["folder"]), when
        except (SealBrokenError, LookupError, TypeError, AttributeError):
            pass
        return fields.get("component", ""), "", 0.0
