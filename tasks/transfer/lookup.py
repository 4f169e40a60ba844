"""The files of a component in ftrack.server, and the names that they get on this node."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tasks.transfer.errors import FatalError, UnexpectedAnswerError
from tasks.transfer.ftrack import FtrackClient, FtrackRefusal
from tasks.transfer.models import MAX_SIZE_BYTES, SERVER_LOCATION_ID
from tasks.transfer.names import PATTERN, fetched_name, name_fault
from tasks.transfer.operations import Operation, Result
from tasks.transfer.queries import MAX_PADDING, MAX_ROWS, number_of, query, quoted, rows_of

#: The rows of one response, as ftrack's Python client asks for them
#: (``source/ftrack_api/query.py``).
PAGE_ROWS = 500


@dataclass(frozen=True, slots=True)
class ComponentFile:
    """A file to fetch: the component that has its bytes, and the name of the file here.

    ``fault`` is why it cannot be fetched; then it has no name. ``size_bytes`` is what ftrack says
    about the size, which may be wrong.
    """

    component_id: str
    name: str
    fault: str = ""
    size_bytes: int = 0


class Asked(NamedTuple):
    """A query: ``select columns from entity_type where …``."""

    columns: str
    entity_type: str
    where: str


@dataclass(frozen=True, slots=True)
class _Found:
    """A file, and the component that was asked for: the file's own, or its sequence."""

    owner_id: str
    file: ComponentFile


def find_files(ftrack: FtrackClient, component_ids: Sequence[str]) -> list[ComponentFile]:
    """Return the files of components: one for a FileComponent, one for each frame of a sequence.

    ``component_ids`` are UUIDs in lower case. Files have the names under which ``enqueue`` took
    them. Frames of others have the names that ftrack's Python client uses
    (``source/ftrack_api/structure/standard.py``), such as ``name.0101.exr``; the sequence defines
    the padding of the number.

    Raises:
        FatalError: a component is unknown or not in ftrack.server, or two files have one name.
        RetryableError: what ``FtrackClient.call`` and ``rows_of`` raise.
    """
    among = f"id in ({quoted(component_ids)})"
    files, sequences, named = rows_of_each(
        ftrack,
        [
            Asked("id, name, file_type, size", "FileComponent", among),
            Asked("id, name, file_type, padding", "SequenceComponent", among),
            _asked_patterns(component_ids),
        ],
    )
    patterns = _patterns_in(named)
    # Whoever answers in ftrack's place may name others than were asked for.
    wanted = frozenset(component_ids)
    single = {own: row for row in files if (own := _text(row, "id")) in wanted}
    sequences = [row for row in sequences if _text(row, "id") in wanted]
    frames: dict[str, list[Result]] = {_text(row, "id"): [] for row in sequences}
    for component_id in component_ids:
        if component_id not in single and component_id not in frames:
            raise FatalError(
                f"ftrack has no file or sequence {component_id}, or this user may not see it; "
                "is it the id of a component?"
            )
    if frames:
        columns = "id, name, file_type, size, container_id"
        inside = f"container_id in ({quoted(frames)})"
        for row in all_rows(ftrack, columns, "FileComponent", inside):
            frames.get(_text(row, "container_id"), []).append(row)
    found = [
        _Found(component_id, _file(row, patterns.get(component_id, "")))
        for component_id, row in single.items()
    ]
    for sequence in sequences:
        sequence_id = _text(sequence, "id")
        if not frames[sequence_id]:
            raise FatalError(f"sequence {sequence_id} has no frames in ftrack")
        pattern = patterns.get(sequence_id, "")
        found += [
            _Found(sequence_id, _frame(row, sequence, pattern)) for row in frames[sequence_id]
        ]
    _require_located(ftrack, found)
    order = {component_id: number for number, component_id in enumerate(component_ids)}
    found.sort(key=lambda item: (order[item.owner_id], item.file.name))
    listed = [item.file for item in found]
    _require_different_names(listed)
    return listed


def patterns_of(ftrack: FtrackClient, component_ids: Sequence[str]) -> dict[str, str]:
    """Return the metadata PATTERN of those components that have it.

    Raises:
        FatalError, RetryableError: see ``all_rows``.
    """
    if not component_ids:
        return {}
    return _patterns_in(all_rows(ftrack, *_asked_patterns(component_ids)))


def _asked_patterns(component_ids: Sequence[str]) -> Asked:
    where = f'key is "{PATTERN}" and parent_id in ({quoted(component_ids)})'
    return Asked("parent_id, value", "Metadata", where)


def _patterns_in(rows: Sequence[Result]) -> dict[str, str]:
    return {_text(row, "parent_id"): _text(row, "value") for row in rows}


def _require_located(ftrack: FtrackClient, found: Sequence[_Found]) -> None:
    wanted = [item.file.component_id for item in found]
    located: set[str] = set()
    for start in range(0, len(wanted), PAGE_ROWS):
        ids = quoted(wanted[start : start + PAGE_ROWS])
        where = f'location_id is "{SERVER_LOCATION_ID}" and component_id in ({ids})'
        rows = all_rows(ftrack, "component_id", "ComponentLocation", where)
        located |= {_text(row, "component_id") for row in rows}
    missing = [item for item in found if item.file.component_id not in located]
    if missing:
        owner_id, file = missing[0].owner_id, missing[0].file
        if owner_id == file.component_id:
            subject = f"component {owner_id} is"
        else:
            count = sum(item.owner_id == owner_id for item in missing)
            first = file.name or file.component_id
            subject = f"frames of sequence {owner_id} ({count}, the first is {first}) are"
        raise FatalError(
            f"{subject} not in ftrack.server; it may be in another location, or not uploaded yet"
        )


def _require_different_names(files: Sequence[ComponentFile]) -> None:
    known: dict[str, ComponentFile] = {}
    for file in files:
        if file.fault:
            continue
        other = known.setdefault(file.name, file)
        if other is not file:
            raise FatalError(
                f"components {other.component_id} and {file.component_id} would both be named "
                f"{file.name}; fetch them into different folders, or rename one of them in ftrack"
            )


#: By what the pages of types are ordered that have no id.
KEYS = {"Metadata": "parent_id"}


def all_rows(ftrack: FtrackClient, columns: str, entity_type: str, where: str) -> list[Result]:
    """Return all rows of a query, page by page.

    Raises:
        FatalError, RetryableError: see ``rows_of_each``.
    """
    [rows] = rows_of_each(ftrack, [Asked(columns, entity_type, where)])
    return rows


def rows_of_each(ftrack: FtrackClient, queries: Sequence[Asked]) -> list[list[Result]]:
    """Return all rows of each query; a call asks for the next page of all that have one.

    Raises:
        FatalError: ftrack refuses a query.
        RetryableError: what ``FtrackClient.call`` and ``rows_of`` raise.
    """
    found: list[list[Result]] = [[] for _ in queries]
    unread = [*range(len(queries))]
    while unread:
        pages = [_page(queries[number], len(found[number])) for number in unread]
        try:
            results = ftrack.call(pages)
        except FtrackRefusal as refusal:
            raise FatalError(f"ftrack refused a query: {refusal}") from None
        asked, unread = unread, []
        for number, result in zip(asked, results, strict=True):
            fresh = rows_of(result)
            found[number] += fresh
            if len(fresh) >= PAGE_ROWS:
                unread.append(number)
            if len(found[number]) > MAX_ROWS:
                why = f"more than {MAX_ROWS} rows of {queries[number].entity_type}"
                raise UnexpectedAnswerError("ftrack", "a query", why)
    return found


def _page(asked: Asked, offset: int) -> Operation:
    order = KEYS.get(asked.entity_type, "id")
    page = f"{asked.where} order by {order} offset {offset} limit {PAGE_ROWS}"
    return query(asked.columns, asked.entity_type, page)


def _file(row: Result, pattern: str) -> ComponentFile:
    return _named(row, fetched_name(_text(row, "name"), _file_type(row), pattern))


def _frame(row: Result, sequence: Result, pattern: str) -> ComponentFile:
    number = _text(row, "name")
    if re.fullmatch("[0-9]+", number):
        number = number.zfill(number_of(sequence, "padding", MAX_PADDING))
    name = fetched_name(_text(sequence, "name"), _file_type(row), pattern, number)
    return _named(row, name)


def _file_type(row: Result) -> str:
    kind = _text(row, "file_type").lstrip(".")
    return f".{kind}" if kind else ""


def _named(row: Result, name: str) -> ComponentFile:
    component_id = _text(row, "id")
    if not component_id:
        raise UnexpectedAnswerError("ftrack", "a query", "a file without an id")
    if why := name_fault(name):
        what = f"a name that cannot be a file name here ({name[:80]!a} {why}); rename it in ftrack"
        return ComponentFile(component_id, "", f"component {component_id} has {what}")
    return ComponentFile(component_id, name, size_bytes=number_of(row, "size", MAX_SIZE_BYTES))


def _text(row: Result, attribute: str) -> str:
    value = row.get(attribute)
    return value if isinstance(value, str) else ""
