"""The size of a sequence, after one of its frames has got another file by its own id.

ftrack does not add up the sizes of frames, and other programs read that of the sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.lookup import all_rows
from tasks.transfer.models import MAX_SIZE_BYTES, Transfer
from tasks.transfer.operations import Operation, Result, update
from tasks.transfer.queries import number_of, query, quoted, rows_of

#: Other workers may bring files into other frames of the sequence meanwhile.
MOST_TIMES = 5


def containers_query(files: Iterable[Transfer]) -> list[Operation]:
    """Return the query for what those files are in that were named by their components' ids."""
    ids = [file.component_id for file in files if file.target.version_id is None]
    return [query("container_id", "FileComponent", f"id in ({quoted(ids)})")] if ids else []


def add_up(ftrack: FtrackClient, containers: Sequence[Result]) -> None:
    """Give the sequences among the results of ``containers_query`` the size of their frames.

    Raises:
        FtrackRefusal: ftrack refused.
        UploadError: what ``FtrackClient.call`` and ``all_rows`` raise.
    """
    rows = [row for result in containers for row in rows_of(result)]
    for sequence_id in sorted(
        {str(row["container_id"]) for row in rows if row.get("container_id")}
    ):
        # Read again after it was written: whoever writes last has seen all frames.
        for _ in range(MOST_TIMES):
            if _is_right(ftrack, sequence_id):
                break


def _is_right(ftrack: FtrackClient, sequence_id: str) -> bool:
    """Return whether the size is right, or the container is no sequence; else set it."""
    frames = all_rows(ftrack, "id, size", "FileComponent", f'container_id is "{sequence_id}"')
    size = sum(number_of(row, "size", MAX_SIZE_BYTES) for row in frames)
    [found] = ftrack.call([query("size", "SequenceComponent", f'id is "{sequence_id}"')])
    rows = rows_of(found)
    if not rows or number_of(rows[0], "size", MAX_SIZE_BYTES) == size:
        return True
    ftrack.call([update("SequenceComponent", sequence_id, {"size": size})])
    return False
