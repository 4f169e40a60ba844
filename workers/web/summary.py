"""Uploads counted by folder or version: which are late, and which are complete."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from tasks.records.query import Query
from tasks.records.search import Search
from tasks.records.states import LIVE
from tasks.records.upload_state import UploadState

#: How many uploads are read, and how many groups are shown, so that one look costs Redis about
#: as much as a few seconds of a farm at work.
MOST_READ, MOST_SHOWN = 2000, 50
#: What nobody waits for any more.
ENDED = ("cancelled", "superseded")


@dataclass
class Group:
    """A folder or a version: ``key`` is its path or id, ``folder`` is where its files are.

    ``oldest`` is when the oldest upload was taken in that ftrack does not show yet, 0 if there is
    none; ``moved`` is when one of those that were read moved last.
    """

    key: str
    folder: str
    oldest: float = 0.0
    moved: float = 0.0
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def located(self) -> int:
        """How many uploads ftrack shows."""
        return self.counts.get("located", 0)

    @property
    def wanted(self) -> int:
        """How many uploads are there, or somebody still waits for."""
        return sum(count for state, count in self.counts.items() if state not in ENDED)


class Summary(NamedTuple):
    """The groups that are late come first, the oldest at the top; ``left`` are not shown.

    ``read`` of the ``found`` uploads were read, and only their groups are known.
    """

    groups: list[Group]
    left: int
    read: int
    found: int


def summary(search: Search, query: Query, by: str) -> Summary:
    """Return the groups of what fits a query, each with the counts of all of its uploads."""
    hits = search.find(query)
    uploads = [one for one in search.status.find(hits.ids[:MOST_READ]) if one is not None]
    groups = _grouped(uploads, by)
    for group in groups[:MOST_SHOWN]:
        whole = Query(version=group.key) if by == "version" else Query(folder=group.key)
        group.counts = search.page(whole, 0, 0).counts
    shown = groups[:MOST_SHOWN]
    return Summary(shown, len(groups) - len(shown), len(uploads), sum(hits.counts.values()))


def _grouped(uploads: Iterable[UploadState], by: str) -> list[Group]:
    key_of: Callable[[UploadState, str], str] = (
        (lambda upload, _: upload.version_id) if by == "version" else lambda _, folder: folder
    )
    groups: dict[str, Group] = {}
    for upload in uploads:
        folder = upload.path.rpartition("/")[0]
        # A publish with a name has no folder, and a component that exists no version.
        if key := key_of(upload, folder):
            group = groups.setdefault(key, Group(key, folder))
            group.moved = max(group.moved, upload.updated)
            if upload.state in LIVE or upload.state == "failed":
                group.oldest = min(group.oldest or upload.created, upload.created)
    return sorted(groups.values(), key=lambda one: (not one.oldest, one.oldest or -one.moved))
