"""Finding uploads by what people know of them, without looking at all records.

The index of hashed terms (``tasks.records.index``) leads to the uploads, the indexes of the states
say what has become of them, and only what neither can tell is read and compared with the query.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import redis

from tasks.config.sealing import Codec
from tasks.records.index import MAX_FOUND, Index, chunks, scores
from tasks.records.keys import (
    COMPONENT,
    carried_key,
    state_key,
    to_text,
    upload_key,
)
from tasks.records.numbers import LATEST_S, number
from tasks.records.query import Query, fits, is_in_index, requirements_of
from tasks.records.states import UPLOAD_STATES
from tasks.records.status import Status, answers
from tasks.records.terms import Hasher
from tasks.records.typed import is_start_of_id
from tasks.records.upload_state import UploadState
from tasks.transfer.errors import SealBrokenError
from tasks.transfer.targets import is_uuid

#: The order of what is found: what needs somebody comes first.
ORDER = (
    *("failed", "retrying", "active", "storing", "pending"),
    *("located", "cancelled", "superseded"),
)
#: How many records one query reads at most, so that its cost does not grow with their number.
MAX_READ = 2000


class Found(NamedTuple):
    """An upload that was found, its state, and when it moved there.

    Unless ``is_exact``, its request has to be compared with the query.
    """

    upload_id: str
    state: str
    moved: float
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Page:
    """A page of what was found, and the number of all.

    ``counts`` says how many uploads fit in each state, also in states that were not asked for, as
    far as that is known. ``is_cut`` is true if there may be more than were counted.
    """

    uploads: list[UploadState]
    total: int
    counts: dict[str, int] = field(default_factory=dict)
    is_cut: bool = False


class Hits(NamedTuple):
    """The ids of all that was found, and how many of it are in each state that was asked for.

    ``is_cut`` is true if there may be more.
    """

    ids: list[str]
    counts: dict[str, int]
    is_cut: bool


class Search:
    """Finds uploads, and writes nothing."""

    def __init__(self, client: redis.Redis, codec: Codec, hasher: Hasher) -> None:
        # redis-py's types of replies cover asyncio, too.
        self.client: Any = client
        self.codec = codec
        self.index = Index(client, hasher)
        self.status = Status(client, codec)

    def page(self, query: Query, start: int, length: int) -> Page:
        """Return a page of the uploads that fit a query."""
        if query.is_listing:
            ids, counts = self._listed(query, start, length)
            is_cut = False
        else:
            found, counts, is_cut = self._fitting(query)
            ids = [hit.upload_id for hit in found[start : start + length]]
        uploads = [upload for upload in self.status.find(ids) if upload is not None]
        return Page(uploads, sum(counts.get(state, 0) for state in query.states), counts, is_cut)

    def _listed(self, query: Query, start: int, length: int) -> tuple[list[str], dict[str, int]]:
        """Return the ids of a page of a list by states; the indexes count what is before it."""
        pipeline = self.client.pipeline(transaction=False)
        for state in ORDER:
            pipeline.zcount(state_key(state), query.since or "-inf", "+inf")
        counts = dict(zip(ORDER, pipeline.execute(), strict=True))
        ids: list[str] = []
        for state in (state for state in ORDER if state in query.states):
            wanted = length - len(ids)
            if wanted > 0 and start < counts[state]:
                rows = self.client.zrange(state_key(state), start, start + wanted - 1, desc=True)
                ids += [to_text(row) for row in rows[: counts[state] - start]]
            start = max(start - counts[state], 0)
        return ids, counts

    def find(self, query: Query) -> Hits:
        """Return up to MAX_FOUND uploads that fit, in ORDER and then the newest first."""
        if query.is_listing:
            rows, counts = self._listed(query, 0, MAX_FOUND)
            ids = [*dict.fromkeys(rows)]  # once each: somebody may have put one into several lists
            is_cut = sum(counts[state] for state in query.states) > MAX_FOUND
        else:
            found, counts, is_cut = self._fitting(query)
            ids = [hit.upload_id for hit in found]
        states = [state for state in ORDER if state in query.states]
        return Hits(ids, {state: counts.get(state, 0) for state in states}, is_cut)

    def requests(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return the requests of uploads; empty for those that cannot be read."""
        return [request for _, _, request in self._read(ids)]

    def _fitting(self, query: Query) -> tuple[list[Found], dict[str, int], bool]:
        """Return what fits, with the number of uploads that fit but for their state, by state."""
        found, is_cut, is_indexed = self._candidates(query)
        found = [hit for hit in found if hit.moved >= query.since]
        unclear = [hit for hit in found if not hit.is_exact]
        unclear.sort(key=lambda hit: (hit.state not in query.states, -hit.moved))
        ids = [hit.upload_id for hit in unclear[:MAX_READ]]
        kept = {
            upload_id
            for upload_id, kind, request in self._read(ids)
            if fits(query, upload_id, kind, request)
        }
        fitting = [hit for hit in found if hit.is_exact or hit.upload_id in kept]
        by_state = Counter(hit.state for hit in fitting)
        # Without a term, only uploads in these states were looked at.
        states = UPLOAD_STATES if is_indexed else query.states
        fitting = [hit for hit in fitting if hit.state in query.states]
        fitting.sort(key=lambda hit: (ORDER.index(hit.state), -hit.moved))
        counts = {state: by_state[state] for state in states}
        return fitting, counts, is_cut or len(unclear) > MAX_READ

    def _candidates(self, query: Query) -> tuple[list[Found], bool, bool]:
        """Return what may fit, whether there may be more, and whether it is of all states."""
        for word in filter(is_uuid, query.words):
            if named := self._by_id(word.lower()):
                return self._recorded([named]), False, True
        starts = [word.lower() for word in query.words if is_start_of_id(word)]
        for started in filter(None, self.beginning_with(starts).values()):
            return self._recorded(started), False, True
        if query.task:
            return self._recorded(self._carried(query.task)), False, True
        if query.worker:
            return self._recorded(self._of_worker(query.worker)), False, True
        if requirements := [*requirements_of(query)]:
            ids, is_cut = self.index.find(requirements)
            known = is_in_index(query)
            fitting = {upload_id: known and exact for upload_id, exact in ids.items()}
            return self._moved(fitting), is_cut, True
        most = MAX_READ // len(query.states)
        newest = self.status.ids_in(query.states, most)
        return self._moved(dict.fromkeys(newest, False)), len(newest) >= most, False

    def _by_id(self, some_id: str) -> str:
        """Return the upload with this id, or the current one of the component with it."""
        pipeline = self.client.pipeline(transaction=False)
        pipeline.exists(upload_key(some_id))
        pipeline.hget(COMPONENT + some_id, "current")
        is_upload, current = answers(pipeline)
        return some_id if is_upload else _text(current)

    def beginning_with(self, starts: Iterable[str]) -> dict[str, list[str]]:
        """Return for each start the uploads whose ids begin so, among MAX_FOUND, read once."""
        wanted = [*starts]
        ids = self.status.ids_in(ORDER, MAX_FOUND // len(ORDER)) if wanted else []
        return {
            start: [upload_id for upload_id in ids if upload_id.startswith(start)]
            for start in wanted
        }

    def _carried(self, chain: str) -> list[str]:
        # Anyone who can write to Redis may have put anything there.
        with suppress(ValueError, TypeError, RecursionError, redis.ResponseError):
            ids = json.loads(self.client.get(carried_key(chain)) or "[]")
            return [*filter(is_uuid, map(str, ids))]
        return []

    def _of_worker(self, name: str) -> list[str]:
        ids = self.status.ids_in(["active"], MAX_READ)
        pipeline = self.client.pipeline(transaction=False)
        for upload_id in ids:
            pipeline.hget(upload_key(upload_id), "worker")
        workers = [*map(_text, answers(pipeline))]
        return [upload_id for upload_id, worker in zip(ids, workers, strict=True) if name in worker]

    def _moved(self, ids: dict[str, bool]) -> list[Found]:
        """Return the uploads as the indexes of the states have them, by whether they are exact."""
        moves: dict[str, tuple[str, float]] = {}
        # Most are located: then the others need not be looked for in every state.
        for states in (["located"], [state for state in ORDER if state != "located"]):
            by_key = {state_key(state): state for state in states}
            left = [upload_id for upload_id in ids if upload_id not in moves]
            for upload_id, key, score in scores(self.client, [*by_key], left):
                moves.setdefault(upload_id, (by_key[key], score))
        return [Found(upload_id, *move, ids[upload_id]) for upload_id, move in moves.items()]

    def _recorded(self, ids: Sequence[str]) -> list[Found]:
        """Return the same of a few uploads by their records: files of publishes are among them."""
        pipeline = self.client.pipeline(transaction=False)
        for upload_id in ids:
            pipeline.hmget(upload_key(upload_id), "state", "updated")
        found = []
        for upload_id, row in zip(ids, answers(pipeline), strict=True):
            state, updated = map(to_text, row if isinstance(row, list) else ("", ""))
            if state in ORDER:
                moved = number(updated, 0.0, LATEST_S)
                found.append(Found(upload_id, state, moved, is_exact=False))
        return found

    def _read(self, ids: Sequence[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield uploads with the kinds of their errors and their requests."""
        for some in chunks(ids, 500):
            pipeline = self.client.pipeline(transaction=False)
            for upload_id in some:
                pipeline.hmget(upload_key(upload_id), "error_kind", "request")
            for upload_id, row in zip(some, answers(pipeline), strict=True):
                kind, request = map(to_text, row if isinstance(row, list) else ("", ""))
                yield upload_id, kind, self._decoded(request)

    def _decoded(self, request: str) -> dict[str, Any]:
        with suppress(SealBrokenError):
            values = self.codec.decode(request)
            if isinstance(values, dict):
                return values
        return {}


def _text(answer: Any) -> str:
    return "" if isinstance(answer, redis.RedisError) else to_text(answer)
