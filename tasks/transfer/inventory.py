"""What ftrack has of many components and their files, asked in a few calls."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tasks.transfer.checks import kind_of, location_id_of
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.lookup import PAGE_ROWS, all_rows
from tasks.transfer.models import MAX_SIZE_BYTES, SERVER_LOCATION_ID
from tasks.transfer.operations import Result
from tasks.transfer.queries import MAX_PADDING, number_of, quoted
from tasks.transfer.targets import Target

COLUMNS = "id, name, file_type, size, version_id, container_id, system_type"
PLACE_COLUMNS = "id, component_id, location_id, resource_identifier"
#: The name of a frame; a longer number is no frame's.
FRAME = re.compile(f"[0-9]{{1,{MAX_PADDING}}}")
#: A longer resource identifier is no path.
MAX_IDENTIFIER = 8192


@dataclass(slots=True)
class Known:
    """A component of ftrack: a file, or a sequence with the frames that it has, by number.

    ``version_id`` is empty for a component without a version.
    """

    component_id: str
    name: str = ""
    file_type: str = ""
    version_id: str = ""
    is_sequence: bool = False
    padding: int = 0
    is_located: bool = False
    is_ours: bool = False
    size_bytes: int = 0
    #: Its resource identifiers in other locations than ftrack.server.
    identifiers: list[str] = field(default_factory=list)
    frames: dict[int, Known] = field(default_factory=dict)


class Inventory:
    """What ftrack has of the components and versions that it was asked for."""

    def __init__(self, known: Mapping[str, Known]) -> None:
        self.known = known
        self._by_name: dict[tuple[str, str], Known] = {}
        for one in known.values():
            if one.version_id:
                self._by_name.setdefault((one.version_id, one.name), one)

    def find(self, target: Target) -> Known | None:
        """Return what ftrack has for a target that is no frame."""
        found = self.known.get(target.component_id)
        if found is None and target.version_id and not target.is_hidden:
            found = self._by_name.get((target.version_id, target.name or ""))
        return found


def take_inventory(
    ftrack: FtrackClient, component_ids: Iterable[str], version_ids: Iterable[str]
) -> Inventory:
    """Ask ftrack for components, those of versions, their frames and locations.

    Raises:
        FatalError, RetryableError: see ``all_rows``.
    """
    known: dict[str, Known] = {}
    for column, ids in (("id", component_ids), ("version_id", version_ids)):
        for some in _pages(sorted({*ids})):
            for row in all_rows(ftrack, COLUMNS, "Component", f"{column} in ({quoted(some)})"):
                found = _known(row)
                known[found.component_id] = found
    sequences = [one for one, found in known.items() if found.is_sequence]
    everything = known | _frames(ftrack, sequences, known)
    for some in _pages([*everything]):
        where = f"component_id in ({quoted(some)})"
        for row in all_rows(ftrack, PLACE_COLUMNS, "ComponentLocation", where):
            located = everything.get(str(row.get("component_id")))
            if located is None:
                continue
            if row.get("location_id") == SERVER_LOCATION_ID:
                located.is_located = True
                located.is_ours = row.get("id") == location_id_of(located.component_id)
            else:
                identifier = str(row.get("resource_identifier") or "")
                located.identifiers.append(identifier[:MAX_IDENTIFIER])
    return Inventory(known)


def versions_of(ftrack: FtrackClient, version_ids: Iterable[str]) -> set[str]:
    """Return those of the versions that ftrack has.

    Raises:
        FatalError, RetryableError: see ``all_rows``.
    """
    return {
        str(row.get("id"))
        for some in _pages(sorted({*version_ids}))
        for row in all_rows(ftrack, "id", "AssetVersion", f"id in ({quoted(some)})")
    }


def _frames(
    ftrack: FtrackClient, sequences: Sequence[str], known: Mapping[str, Known]
) -> dict[str, Known]:
    """Return the frames of sequences by their ids, and note them in their sequences."""
    frames: dict[str, Known] = {}
    for some in _pages(sequences):
        among = quoted(some)
        for row in all_rows(ftrack, "id, padding", "SequenceComponent", f"id in ({among})"):
            if sequence := known.get(str(row.get("id"))):
                sequence.padding = number_of(row, "padding", MAX_PADDING)
        where = f"container_id in ({among})"
        for row in all_rows(ftrack, "id, name, size, container_id", "FileComponent", where):
            owner, frame = known.get(str(row.get("container_id"))), _known(row)
            if owner is not None and FRAME.fullmatch(frame.name):
                frames[frame.component_id] = owner.frames[int(frame.name)] = frame
    return frames


def _known(row: Result) -> Known:
    return Known(
        str(row.get("id")),
        str(row.get("name") or ""),
        str(row.get("file_type") or ""),
        "" if row.get("container_id") else str(row.get("version_id") or ""),
        is_sequence=kind_of(row) == "sequence",
        size_bytes=number_of(row, "size", MAX_SIZE_BYTES),
    )


def _pages(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + PAGE_ROWS] for start in range(0, len(ids), PAGE_ROWS))
