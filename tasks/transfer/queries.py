"""Queries in ftrack's query language, and the rows of their results."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.transfer.errors import UnexpectedAnswerError
from tasks.transfer.operations import Operation, Result
from tasks.transfer.targets import QUOTES, is_uuid

#: Rows of a query that comes page by page: a component has no more files than that.
MAX_ROWS = 200_000
#: The most digits that a frame number is padded to.
MAX_PADDING = 32


def query(columns: str, entity_type: str, where: str) -> Operation:
    """Return the operation for a query in ftrack's query language."""
    expression = f"select {columns} from {entity_type} where {where}"  # noqa: S608 not SQL; ids are checked UUIDs
    return {"action": "query", "expression": expression}


def quoted(ids: Iterable[str]) -> str:
    """Return ids as the list in an ``in (…)`` of a query.

    Raises:
        ValueError: one of them would end its text there.
    """
    listed = [*ids]
    if not QUOTES.isdisjoint("".join(listed)):
        raise ValueError("what is listed in a query contains a quote")
    return ", ".join(f'"{entity_id}"' for entity_id in listed)


def rows_of(result: Result) -> list[Result]:
    """Return the rows in the result of a query.

    Raises:
        UnexpectedAnswerError: an id is not a UUID; it would become part of a path or a query.
    """
    data = result.get("data")
    listed = data if isinstance(data, list) else []
    rows: list[Result] = [row for row in listed if isinstance(row, dict)]
    for row in rows:
        for name, value in row.items():
            if (name == "id" or name.endswith("_id")) and not _is_id(value):
                raise UnexpectedAnswerError("ftrack", "a query", f"{name} is not a UUID")
    return rows


def number_of(row: Result, column: str, most: int) -> int:
    """Return a number of a row, from 0 to ``most``; 0 if it has none."""
    value = row.get(column)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if 0 <= value <= most else 0  # a size is a float, and may be infinite


def _is_id(value: object) -> bool:
    return value is None or (isinstance(value, str) and is_uuid(value))
