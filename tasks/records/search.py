"""Finding uploads by what people know of them, without looking at all records.

A query is first answered by the index of hashed terms (``tasks.records.terms``), the newest first.
What it finds is read and compared with the query.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import redis

from tasks.config.sealing import Codec
from tasks.records.keys import (
    COMPONENT,
    carried_key,
    group_key,
    state_key,
    term_key,
    to_text,
    upload_key,
)
from tasks.records.numbers import LATEST_S, number
from tasks.records.states import UPLOAD_STATES
from tasks.records.status import Status, UploadState, answers
from tasks.records.terms import Hasher, Term, file_term, folded, without_number, words_of
from tasks.transfer.errors import SealBrokenError
from tasks.transfer.targets import is_uuid
from tasks.transfer.windows import is_windows_path

#: The order of what is found: what needs somebody comes first.
ORDER = (
    *("failed", "retrying", "active", "storing", "pending"),
    *("located", "cancelled", "superseded"),
)
#: The bounds of one query, so that the cost does not grow with the number of records.
MAX_GROUPS, MAX_FOUND, MAX_WORDS = 2000, 2000, 8
_GLOB = re.compile(r"[*?\[]")
_OPTIONS = {"version", "host", "worker", "name", "state", "user", "task", "error"}


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for: all of it must fit.

    ``words`` are words, paths, globs, names of files, hosts and components, or ids. ``since`` is
    when an upload moved last, in seconds since 1970. ``worker`` finds active uploads only, ``task``
    those of a chain, by the id of its first task; ``error`` is the kind of the last error.
    """

    words: tuple[str, ...] = ()
    states: tuple[str, ...] = UPLOAD_STATES
    version: str = ""
    name: str = ""
    host: str = ""
    user: str = ""
    worker: str = ""
    task: str = ""
    error: str = ""
    since: float = 0.0

    @property
    def is_listing(self) -> bool:
        """Whether only states and times are asked for, so that their indexes are enough."""
        people = (self.version, self.name, self.host, self.user)
        return not any((self.words, *people, self.worker, self.task, self.error))


def parsed(text: str, states: Sequence[str] = (), **options: Any) -> Query:
    """Return the query that a person has typed, such as ``sh020 host:node7``."""
    words: list[str] = []
    for word in text.split()[:MAX_WORDS]:
        name, colon, value = word.partition(":")
        if colon and value and name in _OPTIONS:
            options[name] = value
        elif re.fullmatch(r"[\w.-]+@[\w.-]+", word):
            options["worker"] = word
        else:
            words.append(word)
    wanted = str(options.pop("state", "")).split(",")
    known = tuple(state for state in UPLOAD_STATES if state in (*states, *wanted))
    return Query(tuple(words), known or UPLOAD_STATES, **options)


class Found(NamedTuple):
    """An upload that was found: its state, when it moved last, its last error, its request."""

    upload_id: str
    state: str
    updated: float
    error_kind: str
    request: dict[str, Any]


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


class Search:
    """Finds uploads, and writes nothing."""

    def __init__(self, client: redis.Redis, codec: Codec, hasher: Hasher) -> None:
        # redis-py's types of replies cover asyncio, too.
        self.client: Any = client
        self.codec = codec
        self.hasher = hasher
        self.status = Status(client, codec)

    def page(self, query: Query, start: int, length: int) -> Page:
        """Return a page of the uploads that fit a query."""
        if query.is_listing:
            ids, counts = self._listed(query, start, length)
            is_cut = False
        else:
            found, counts, is_cut = self._fitting(query)
            ids = [one.upload_id for one in found[start : start + length]]
        uploads = [upload for upload in self.status.find(ids) if upload is not None]
        return Page(uploads, sum(counts.get(one, 0) for one in query.states), counts, is_cut)

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

    def find(self, query: Query) -> tuple[list[Found], bool]:
        """Return up to MAX_FOUND uploads that fit, in ORDER and then the newest first.

        The second value is true if there may be more.
        """
        found, _, is_cut = self._fitting(query)
        return found, is_cut

    def _fitting(self, query: Query) -> tuple[list[Found], dict[str, int], bool]:
        """Return the same, with the number of uploads that fit but for their state, by state."""
        ids, is_cut = self._candidates(query)
        read = self._read(ids)
        fitting = [one for one in read if one.updated >= query.since and _fits(query, one)]
        by_state = Counter(one.state for one in fitting)
        # Without a term, only uploads in these states were looked at.
        is_indexed = query.task or query.worker or any(_requirements(query))
        states = UPLOAD_STATES if is_indexed else query.states
        found = [one for one in fitting if one.state in query.states]
        found.sort(key=lambda one: (ORDER.index(one.state), -one.updated))
        return found, {state: by_state[state] for state in states}, is_cut

    def _candidates(self, query: Query) -> tuple[list[str], bool]:
        for word in query.words:
            if is_uuid(word) and (named := self._by_id(word.lower())):
                return [named], False
        requirements = [*_requirements(query)]
        if query.task:
            return self._carried(query.task), False
        if query.worker:
            return self._of_worker(query.worker), False
        if not requirements:
            ids = self.status.ids_in(query.states, MAX_FOUND // len(query.states))
            return ids, len(ids) >= MAX_FOUND // len(query.states)
        groups, is_cut = self._groups(requirements)
        pipeline = self.client.pipeline(transaction=False)
        ids = []
        for some in _chunks(groups, 200):
            for group in some:
                pipeline.zrange(group_key(group), 0, MAX_FOUND, desc=True)
            found = (rows for rows in answers(pipeline) if isinstance(rows, list))
            ids += [to_text(one) for rows in found for one in rows]
            if len(ids) > MAX_FOUND:
                return [*dict.fromkeys(ids)][:MAX_FOUND], True
        return [*dict.fromkeys(ids)], is_cut

    def _by_id(self, one: str) -> str:
        """Return the upload with this id, or the current one of the component with it."""
        pipeline = self.client.pipeline(transaction=False)
        pipeline.exists(upload_key(one))
        pipeline.hget(COMPONENT + one, "current")
        is_upload, current = answers(pipeline)
        return one if is_upload else _text(current)

    def _carried(self, chain: str) -> list[str]:
        with suppress(ValueError, TypeError, redis.ResponseError):
            return [str(one) for one in json.loads(self.client.get(carried_key(chain)) or "[]")]
        return []

    def _of_worker(self, name: str) -> list[str]:
        ids = self.status.ids_in(["active"], MAX_FOUND)
        pipeline = self.client.pipeline(transaction=False)
        for upload_id in ids:
            pipeline.hget(upload_key(upload_id), "worker")
        workers = [*map(_text, answers(pipeline))]
        return [one for one, worker in zip(ids, workers, strict=True) if name in worker]

    def _groups(self, requirements: Sequence[_Requirement]) -> tuple[list[str], bool]:
        """Return the groups that have the terms of each requirement, the newest first."""
        wanted = [self._hashed(requirement) for requirement in requirements]
        hashes = sorted({one for ways in wanted for way in ways for one in way})
        pipeline = self.client.pipeline(transaction=False)
        for one in hashes:
            pipeline.zcard(term_key(one))
        # What somebody else has put under a term has none; the next upload that has it repairs it.
        read = [size if isinstance(size, int) else 0 for size in answers(pipeline)]
        sizes = dict(zip(hashes, read, strict=True))

        def rarest(way: Sequence[str]) -> str:
            return min(way, key=sizes.__getitem__)

        # Begin with the requirement that the fewest groups have.
        first = min(wanted, key=lambda ways: sum(sizes[rarest(way)] for way in ways))
        found: dict[str, float] = {}
        is_cut = False
        for way in first:
            if not sizes[rarest(way)]:
                continue
            rows = self.client.zrange(
                term_key(rarest(way)), 0, MAX_GROUPS - 1, desc=True, withscores=True
            )
            is_cut = is_cut or len(rows) == MAX_GROUPS
            found.update((to_text(group), score) for group, score in rows)
        groups = sorted(found, key=found.__getitem__, reverse=True)
        has = self._membership(groups, hashes)
        return [
            group
            for number, group in enumerate(groups)
            if all(any(all(has[one][number] for one in way) for way in ways) for ways in wanted)
        ], is_cut

    def _membership(
        self, groups: Sequence[str], hashes: Sequence[str]
    ) -> dict[str, Sequence[bool]]:
        if not groups:
            return dict.fromkeys(hashes, ())
        pipeline = self.client.pipeline(transaction=False)
        for one in hashes:
            pipeline.zmscore(term_key(one), groups)
        nothing = [None] * len(groups)
        rows = [row if isinstance(row, list) else nothing for row in answers(pipeline)]
        return {
            one: [score is not None for score in row] for one, row in zip(hashes, rows, strict=True)
        }

    def _hashed(self, requirement: _Requirement) -> list[list[str]]:
        """Return the ways to meet a requirement, as hashes: each way under each key."""
        return [
            [*under_one_key]
            for terms in requirement
            for under_one_key in zip(*map(self.hasher.hashes, terms), strict=True)
        ]

    def _read(self, ids: Sequence[str]) -> Iterator[Found]:
        pipeline = self.client.pipeline(transaction=False)
        for some in _chunks(ids, 500):
            for upload_id in some:
                pipeline.hmget(upload_key(upload_id), "state", "updated", "error_kind", "request")
            rows = answers(pipeline)
            for upload_id, row in zip(some, rows, strict=True):
                fields = row if isinstance(row, list) else [""] * 4
                state, updated, kind, request = map(to_text, fields)
                if state in ORDER:  # a record may have expired
                    at = number(updated, 0.0, LATEST_S)
                    yield Found(upload_id, state, at, kind, self._decoded(request))

    def _decoded(self, request: str) -> dict[str, Any]:
        with suppress(SealBrokenError):
            values = self.codec.decode(request)
            if isinstance(values, dict):
                return values
        return {}


#: The ways to meet a requirement; each is a list of terms that all have to be there.
_Requirement = list[list[Term]]


def _text(answer: Any) -> str:
    return "" if isinstance(answer, redis.RedisError) else to_text(answer)


def _chunks(items: Sequence[str], size: int) -> Iterator[list[str]]:
    remaining = iter(items)
    while some := [*islice(remaining, size)]:
        yield some


def _requirements(query: Query) -> Iterator[_Requirement]:
    for word in query.words:
        if ways := _ways_of(word):
            yield ways
    if query.version:
        yield [[Term("version", query.version.lower())]]
    if query.name:
        yield [[Term("name", without_number(query.name))]]
    if query.host:
        yield [[Term("host", query.host.casefold())]]


def _ways_of(word: str) -> _Requirement:
    if _is_path(word):
        return _ways_of_path(word.rstrip("/") or "/")
    if _GLOB.search(word):
        return []
    if is_uuid(word):
        return [[Term("version", word.lower())]]
    words = [Term("word", one) for one in words_of(word)]
    # Numbers alone are in no index: frames have them.
    names = [[file_term(word)], [Term("name", without_number(word))]]
    ways = [words, *names, [Term("host", word.casefold())]] if words else []
    return [way for way in ways if way]


def _ways_of_path(path: str) -> _Requirement:
    glob = _GLOB.search(path)
    if not glob:
        folder = path.rpartition("/")[0]
        below = [Term("folder", folded(path))]
        return [below, [*([Term("folder", folded(folder))] if folder else []), file_term(path)]]
    folder = path[: glob.start()].rpartition("/")[0]
    return [[Term("folder", folded(folder))]] if folder else []


def _is_path(word: str) -> bool:
    return word.startswith("/") or is_windows_path(word)


def _fits(query: Query, found: Found) -> bool:
    """Return whether an upload is what was asked for, as far as hashes cannot tell."""
    request = found.request
    if query.error and found.error_kind.casefold() != query.error.casefold():
        return False
    if query.host and str(request.get("asked_host", "")).casefold() != query.host.casefold():
        return False
    if query.user and str(request.get("asked_user", "")).casefold() != query.user.casefold():
        return False
    texts = [*_texts(request)]
    if query.name and not any(_is_like(query.name.casefold(), text) for text in texts):
        return False
    return all(_has_word(word, found.upload_id, request, texts) for word in query.words)


def _texts(request: dict[str, Any]) -> Iterator[str]:
    """Yield what a request says that people know, folded; a sequence by the path of its frames."""
    targets = [request.get("target", {})]
    yield str(request.get("path", "")).casefold()
    for container in request.get("publish", {}).get("containers", ()):
        targets.append(container.get("target", {}))
        yield str(container.get("pattern", "")).casefold()
    for target in targets:
        yield from (str(target.get(name) or "").casefold() for name in ("name", "version_id"))
        yield str(target.get("component_id") or "").casefold()
    yield str(request.get("asked_host", "")).casefold()


def _has_word(word: str, upload_id: str, request: dict[str, Any], texts: Sequence[str]) -> bool:
    wanted = word.casefold().rstrip("/") or "/"
    # The files of a publish are not in its request, but its terms were compared already.
    if wanted == upload_id or ("publish" in request and _ways_of(word) and not _GLOB.search(word)):
        return True
    if _is_path(word):
        return any(_is_below(wanted, text) for text in texts)
    return any(_is_like(wanted, text) for text in texts)


def _is_below(wanted: str, text: str) -> bool:
    if _GLOB.search(wanted):
        return fnmatch.fnmatchcase(text, wanted) or fnmatch.fnmatchcase(text, f"{wanted}/*")
    return text == wanted or text.startswith(f"{wanted}/") or _is_frame(wanted, text)


def _is_like(wanted: str, text: str) -> bool:
    if _GLOB.search(wanted):
        return fnmatch.fnmatchcase(text, f"*{wanted}*")
    return wanted in text or _is_frame(wanted, text.rpartition("/")[2])


def _is_frame(wanted: str, pattern: str) -> bool:
    """Return whether a name is one that a sequence's pattern, with %d for the number, gives."""
    head, mark, tail = pattern.partition("%d")
    middle = wanted[len(head) : len(wanted) - len(tail)]
    return bool(mark) and wanted == f"{head}{middle}{tail}" and middle.isdecimal()


def folder_of(upload: UploadState) -> str:
    """Return the folder of an upload's path; empty for a publish with a name."""
    return upload.path.rpartition("/")[0]


def summary(uploads: Iterable[UploadState], by: str) -> list[tuple[str, Counter[str], int]]:
    """Return for each folder or version the number of uploads by state, and their bytes."""
    rows: dict[str, tuple[Counter[str], list[int]]] = {}
    for upload in uploads:
        key = upload.version_id if by == "version" else folder_of(upload)
        counts, sizes = rows.setdefault(key or "-", (Counter(), []))
        counts[upload.state] += 1
        sizes.append(upload.size_bytes or 0)
    return [(key, counts, sum(sizes)) for key, (counts, sizes) in sorted(rows.items())]
