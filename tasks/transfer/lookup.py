"""What a component in ftrack.server consists of: its files, and the names they may have here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tasks.transfer.errors import FatalError
from tasks.transfer.ftrack import FtrackClient, FtrackRefusal
from tasks.transfer.models import SERVER_LOCATION_ID
from tasks.transfer.signing import Result

#: Names from ftrack are not trusted. One with a slash leads elsewhere, one with a dot in front
#: is a hidden file, such as a person's .profile or a download that has begun; control
#: characters and bytes that are not UTF-8 fit into no line of output.
UNFIT = re.compile("^\\.|[/\\\\\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|^$")
MAX_NAME_BYTES = 255  # NAME_MAX of Linux

#: Rows of one answer, as ftrack's Python client asks for them (``source/ftrack_api/query.py``).
PAGE_ROWS = 500


@dataclass(frozen=True, slots=True)
class ComponentFile:
    """A file to be fetched: the component that has its bytes, and its name here."""

    component_id: str
    name: str


def find_files(ftrack: FtrackClient, component_ids: Sequence[str]) -> list[ComponentFile]:
    """Give the files of components: one of a FileComponent, one a frame of a sequence.

    ``component_ids`` are UUIDs in small letters. Frames are named as ftrack's Python client
    names them (``source/ftrack_api/structure/standard.py``): ``name.0101.exr``, the number as
    wide as the sequence's padding.

    Raises:
        FatalError: one is unknown, not in ftrack.server, or has a name that is no file name.
        CredentialsRefusedError, ServiceUnavailableError, UnexpectedAnswerError
    """
    ids = _listed(component_ids)
    files = _rows(ftrack, f"id, name, file_type from FileComponent where id in ({ids})")
    sequences = _rows(
        ftrack, f"id, name, file_type, padding from SequenceComponent where id in ({ids})"
    )
    single = {_text(row, "id"): row for row in files}
    frames: dict[str, list[Result]] = {_text(row, "id"): [] for row in sequences}
    for one in component_ids:
        if one not in single and one not in frames:
            raise FatalError(
                f"ftrack knows no file or sequence {one}, or does not show it to this user; "
                "is the id that of a component?"
            )
    if frames:
        of_them = f"container_id in ({_listed(frames)})"
        wanted = f"id, name, file_type, container_id from FileComponent where {of_them}"
        for row in _rows(ftrack, wanted):
            frames.get(_text(row, "container_id"), []).append(row)
    found = [(one, ComponentFile(one, _name(row))) for one, row in single.items()]
    for sequence in sequences:
        owner = _text(sequence, "id")
        if not frames[owner]:
            raise FatalError(f"the sequence {owner} has no frames in ftrack")
        found += [
            (owner, ComponentFile(_text(row, "id"), _frame_name(row, sequence)))
            for row in frames[owner]
        ]
    _require_located(ftrack, found)
    order = {one: number for number, one in enumerate(component_ids)}
    found.sort(key=lambda pair: (order[pair[0]], pair[1].name))
    return [file for _, file in found]


def _require_located(ftrack: FtrackClient, found: Sequence[tuple[str, ComponentFile]]) -> None:
    wanted = [file.component_id for _, file in found]
    located: set[str] = set()
    for first in range(0, len(wanted), PAGE_ROWS):
        ids = _listed(wanted[first : first + PAGE_ROWS])
        rows = _rows(
            ftrack,
            "component_id from ComponentLocation "
            f'where location_id is "{SERVER_LOCATION_ID}" and component_id in ({ids})',
        )
        located |= {_text(row, "component_id") for row in rows}
    missing = [(owner, file) for owner, file in found if file.component_id not in located]
    if missing:
        owner, file = missing[0]
        count = sum(1 for other, _ in missing if other == owner)
        what = (
            f"component {owner} is"
            if owner == file.component_id
            else (f"{count} frames of the sequence {owner} are, the first of them {file.name},")
        )
        raise FatalError(f"{what} not in ftrack.server; it may be elsewhere, or on its way there")


def _rows(ftrack: FtrackClient, selection: str) -> list[Result]:
    rows: list[Result] = []
    while True:
        page = f"select {selection} order by id offset {len(rows)} limit {PAGE_ROWS}"
        try:
            [result] = ftrack.call([{"action": "query", "expression": page}])
        except FtrackRefusal as refusal:
            raise FatalError(f"ftrack refused a query: {refusal.name}: {refusal.why}") from None
        data = result.get("data")
        fresh = [row for row in data if isinstance(row, dict)] if isinstance(data, list) else []
        rows += fresh
        if len(fresh) < PAGE_ROWS:
            return rows


def _listed(ids: Iterable[str]) -> str:
    return ", ".join(f'"{one}"' for one in ids)


def _frame_name(frame: Result, sequence: Result) -> str:
    number = _text(frame, "name")
    if re.fullmatch("[0-9]+", number):
        padding = sequence.get("padding")
        number = number.zfill(padding if isinstance(padding, int) else 0)
    return _checked(f"{_text(sequence, 'name')}.{number}", frame)


def _name(row: Result) -> str:
    return _checked(_text(row, "name"), row)


def _checked(stem: str, row: Result) -> str:
    file_type = _text(row, "file_type").lstrip(".")
    name = f"{stem}.{file_type}" if file_type else stem
    # Looked at before encode(), which no lone surrogate survives.
    if UNFIT.search(name) or len(name.encode()) > MAX_NAME_BYTES:
        raise FatalError(
            f"component {_text(row, 'id')} has a name that can not be one of a file here "
            f"({name[:80]!a}): rename it in ftrack"
        )
    return name


def _text(row: Result, attribute: str) -> str:
    value = row.get(attribute)
    return value if isinstance(value, str) else ""
