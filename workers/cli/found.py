"""The table of uploads for people: a summary of many, then the first ones, and the counts last."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from tasks.config.texts import visible
from tasks.intake.answer import size
from tasks.records.search import Hits
from tasks.records.upload_state import UploadState
from workers.cli import output
from workers.kinds import kind_line

#: The most uploads that a table reads: more are counted, but not summarized.
MOST_READ = 2000


def columns() -> int:
    """Return the width of the terminal."""
    return shutil.get_terminal_size().columns


def show_found(
    uploads: Sequence[UploadState], hits: Hits, *, counts: str, now: float, by: str, limit: int
) -> None:
    """Show the first uploads of those that were found, below a summary if they are many."""
    width, number = columns(), sum(hits.counts.values())
    total = f"{number}{' or more' if hits.is_cut else ''}"
    if len(uploads) > limit:
        for line in _summary_lines(uploads, by, limit, width):
            output.show(line)
        if number > len(uploads):
            output.show(f"these {by}s have the first {len(uploads)} of {total}")
        output.show(f"the first {limit} of {total}; --limit N shows more:")
    for upload in uploads[:limit]:
        for line in lines_of(upload, now, width):
            output.show(line)
    output.show(counts)


def failures(
    uploads: Sequence[UploadState], lines_of: Callable[[UploadState], list[str]], limit: int
) -> list[str]:
    """Return the lines of ``status --failed``: by kind of error, the most frequent first.

    At most *limit* uploads of each kind are listed.
    """
    groups: dict[str, list[UploadState]] = {}
    for upload in uploads:
        groups.setdefault(upload.error_kind, []).append(upload)
    lines = []
    for kind, group in sorted(groups.items(), key=lambda item: -len(item[1])):
        lines.append(f"{len(group)} x {kind_line(kind)}")
        lines += [f"  {line}" for upload in group[:limit] for line in lines_of(upload)]
        if len(group) > limit:
            lines.append(f"  and {len(group) - limit} more: --limit {len(group)} shows them")
    return lines


def lines_of(upload: UploadState, now: float, width: int) -> list[str]:
    """Return the lines of an upload in a table: what it is, and why it waits or has failed."""
    return [output.short_line(upload, width), *output.why_lines(upload, now)]


def _summary_lines(
    uploads: Iterable[UploadState], by: str, limit: int, width: int
) -> Iterable[str]:
    rows = _summary(uploads, by)
    for key, counts, size_bytes in rows[:limit]:
        failed = f", {counts['failed']} failed" if counts["failed"] else ""
        line = f"{counts['located']} of {sum(counts.values())} located{failed}"
        line += f", {size(size_bytes)}"
        room = width - len(line) - 2
        if room < output.SHORTEST_PATH:
            yield output.from_left(visible(key), width)
            yield f"  {line}"
        else:
            yield f"{output.from_left(visible(key), room)}  {line}"
    if len(rows) > limit:
        yield f"and {len(rows) - limit} more {by}s"


def _summary(uploads: Iterable[UploadState], by: str) -> list[tuple[str, Counter[str], int]]:
    """Return for each folder or version the number of uploads by state, and their bytes.

    Those in which most have failed come first.
    """
    rows: dict[str, tuple[Counter[str], list[int]]] = {}
    for upload in uploads:
        # A publish with a name has no folder.
        key = upload.version_id if by == "version" else upload.path.rpartition("/")[0]
        counts, sizes = rows.setdefault(key or f"(no {by})", (Counter(), []))
        counts[upload.state] += 1
        sizes.append(upload.size_bytes or 0)
    order = sorted(rows.items(), key=lambda row: (-row[1][0]["failed"], row[0]))
    return [(key, counts, sum(sizes)) for key, (counts, sizes) in order]
