"""The index of uploads by hashed terms, as searches read it.

A term (``tasks.records.terms``) leads to groups, and a group to its uploads. What somebody has
asked for has a list of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from tasks.records.keys import group_key, term_key, to_text
from tasks.records.query import Requirement
from tasks.records.status import answers
from tasks.records.terms import Hasher

#: How many groups one query takes from the index, and how many uploads it finds, at most.
MAX_GROUPS, MAX_FOUND = 2000, 20_000
#: How many ids are asked for in one command, and how many lists of MAX_FOUND ids at once.
STEP, MAX_LISTS = 2000, 16
T = TypeVar("T")


class _Wanted(NamedTuple):
    """A requirement as hashes: each way with whether it is exact, and the lists of people."""

    ways: list[tuple[list[str], bool]]
    people: list[str]


class _Source(NamedTuple):
    """A list of uploads; ``missing`` are the requirements that only people's lists can meet."""

    group: str
    is_exact: bool
    missing: frozenset[int]


class Index:
    """Finds the ids of uploads, and writes nothing."""

    def __init__(self, client: Any, hasher: Hasher) -> None:
        self.client = client
        self.hasher = hasher

    def find(self, requirements: Sequence[Requirement]) -> tuple[dict[str, bool], bool]:
        """Return the uploads that may fit, with whether each does, and whether there are more."""
        wanted = [self._hashed(requirement) for requirement in requirements]
        sizes = self._sizes(wanted)
        # What is in no list meets nothing.
        wanted = [
            _Wanted(
                [way for way in ways if all(sizes[term] for term in way[0])],
                [person for person in people if sizes[person]],
            )
            for ways, people in wanted
        ]
        if not all(ways or people for ways, people in wanted):
            return {}, False

        def size(want: _Wanted) -> int:
            of_people = sum(sizes[key] for key in want.people)
            return sum(min(sizes[key] for key in way) for way, _ in want.ways) + of_people

        # Begin with terms that nobody's name has, and with what the fewest groups have.
        first = min(wanted, key=lambda want: (not want.ways, bool(want.people), size(want)))
        # What nobody of that name has asked for may be below a folder of that name.
        starts = wanted if first.people else [first]
        rarest = [min(way, key=sizes.__getitem__) for start in starts for way, _ in start.ways]
        groups, is_cut = self._groups(rarest, wanted)
        begun = wanted.index(first)
        others = frozenset(range(len(wanted))) - {begun}
        sources = [
            *groups,
            *(_Source(group, is_exact=True, missing=others) for group in first.people),
        ]
        found, is_longer = self._ids(sources)
        for place, want in enumerate(wanted):
            unmet = [upload for upload, source in found.items() if place in source.missing]
            asked = self._members(want.people, unmet)
            for upload in unmet:
                if upload not in asked:
                    del found[upload]
        return {upload: source.is_exact for upload, source in found.items()}, is_cut or is_longer

    def _hashed(self, requirement: Requirement) -> _Wanted:
        """Return the ways to meet a requirement, as hashes: each way under each key."""
        hashes, person = self.hasher.hashes, requirement.person
        ways = [
            ([*under_one_key], way.is_exact)
            for way in requirement.ways
            for under_one_key in zip(*map(hashes, way.terms), strict=True)
        ]
        return _Wanted(ways, hashes(person) if person else [])

    def _sizes(self, wanted: Sequence[_Wanted]) -> dict[str, int]:
        """Return how many groups have a term, and how many uploads somebody has asked for."""
        terms = {term for ways, _ in wanted for way, _ in ways for term in way}
        keys = {term: term_key(term) for term in terms}
        keys |= {person: group_key(person) for _, people in wanted for person in people}
        pipeline = self.client.pipeline(transaction=False)
        for key in keys.values():
            pipeline.zcard(key)
        # What somebody else has put there has none; the next upload that has it repairs it.
        sizes = [size if isinstance(size, int) else 0 for size in answers(pipeline)]
        return dict(zip(keys, sizes, strict=True))

    def _groups(
        self, terms: Sequence[str], wanted: Sequence[_Wanted]
    ) -> tuple[list[_Source], bool]:
        """Return the groups with any of the terms that may meet all, the newest first."""
        pipeline = self.client.pipeline(transaction=False)
        for term in terms:
            pipeline.zrange(term_key(term), 0, MAX_GROUPS - 1, desc=True, withscores=True)
        rows = [row for row in answers(pipeline) if isinstance(row, list)]
        newest = {to_text(group): score for row in rows for group, score in row}
        groups = sorted(newest, key=newest.__getitem__, reverse=True)
        hashes = sorted({term for ways, _ in wanted for way, _ in ways for term in way})
        has = self._membership(groups, hashes)
        sources = []
        for row, group in enumerate(groups):
            met = [
                [is_exact for way, is_exact in ways if all(has[term][row] for term in way)]
                for ways, _ in wanted
            ]
            missing = frozenset(place for place, ways in enumerate(met) if not ways)
            if all(wanted[place].people for place in missing):
                is_exact = all(any(ways) for place, ways in enumerate(met) if place not in missing)
                sources.append(_Source(group, is_exact, missing))
        return sources, any(len(row) == MAX_GROUPS for row in rows)

    def _membership(
        self, groups: Sequence[str], hashes: Sequence[str]
    ) -> dict[str, Sequence[bool]]:
        if not groups:
            return dict.fromkeys(hashes, ())
        pipeline = self.client.pipeline(transaction=False)
        for term in hashes:
            pipeline.zmscore(term_key(term), groups)
        nothing = [None] * len(groups)
        rows = [row if isinstance(row, list) else nothing for row in answers(pipeline)]
        return {
            term: [score is not None for score in row]
            for term, row in zip(hashes, rows, strict=True)
        }

    def _ids(self, sources: Sequence[_Source]) -> tuple[dict[str, _Source], bool]:
        """Return up to MAX_FOUND uploads of these lists, and whether there are more."""
        found: dict[str, _Source] = {}
        for some in chunks(sources, MAX_LISTS):
            pipeline = self.client.pipeline(transaction=False)
            for source in some:
                pipeline.zrange(group_key(source.group), 0, MAX_FOUND, desc=True)
            for source, rows in zip(some, answers(pipeline), strict=True):
                for upload_id in rows if isinstance(rows, list) else ():
                    found.setdefault(to_text(upload_id), source)
            if len(found) > MAX_FOUND:
                return dict(islice(found.items(), MAX_FOUND)), True
        return found, False

    def _members(self, groups: Sequence[str], ids: Sequence[str]) -> set[str]:
        """Return those of the uploads that one of the lists has."""
        keys = [group_key(group) for group in groups]
        return {upload_id for upload_id, _, _ in scores(self.client, keys, ids)}


def scores(
    client: Any, keys: Sequence[str], ids: Sequence[str]
) -> Iterator[tuple[str, str, float]]:
    """Yield which of the ids are in which sorted set, with their scores."""
    pipeline = client.pipeline(transaction=False)
    asked = [(key, some) for key in keys for some in chunks(ids, STEP)]
    for key, some in asked:
        pipeline.zmscore(key, some)
    for (key, some), row in zip(asked, answers(pipeline), strict=True):
        if isinstance(row, list):
            for upload_id, score in zip(some, row, strict=True):
                if score is not None:
                    yield upload_id, key, score


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    remaining = iter(items)
    while some := [*islice(remaining, size)]:
        yield some
