"""The table of ``farmhaul watch``: what one look at the farm has found, and how fast it goes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

import redis

from tasks.records.keys import TOTALS
from tasks.records.record import STAGES
from tasks.records.status import LIVE_STATES, Status, UploadState
from workers.cli import output
from workers.wording import redis_trouble, size

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: Rates are means of so many seconds: parts of a large file arrive by 8 MB and more at once.
WINDOW_S = 10.0
BAR = 10
STAGE_WORDS = dict(zip(STAGES, ("checksum", "metadata", "put", "location"), strict=True))


class View:
    """What one look at the farm has found, and how fast it goes."""

    def __init__(self, status: Status, upload_ids: Sequence[str] = ()) -> None:
        self.status = status
        self.upload_ids = upload_ids
        self.uploads: list[UploadState] = []
        self.totals = ""
        self.away = ""
        self.ended = False
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def look(self, rows: int) -> None:
        """Read as many uploads as there are rows, and the totals; keep the last without Redis."""
        try:
            ids = self._ids(rows)
            self.uploads = [one for one in self.status.find(ids) if one]
            self.totals = self._totals()
            self.away = ""
        except (redis.ConnectionError, redis.TimeoutError) as error:
            self.away = self.away or f"{datetime.now().astimezone():%H:%M:%S}: " + (
                redis_trouble(error)
            )
            return
        now = time.monotonic()
        for one in self.uploads:
            self._note(one.upload_id, now, one.sent_bytes)
        shown = {"", *ids}
        self._seen = {one: seen for one, seen in self._seen.items() if one in shown}

    def _ids(self, rows: int) -> list[str]:
        if self.upload_ids:
            left = self.status.not_ended(self.upload_ids)
            self.ended = not left
            return list(dict.fromkeys((*left, *self.upload_ids)))[:rows]
        moving = [self.status.ids_in([state], rows) for state in LIVE_STATES if state != "pending"]
        # Each state has its share of the rows; what is pending only has what is left of them.
        mixed = [one for turn in zip_longest(*moving) for one in turn if one][:rows]
        ordered = [one for one in chain(*moving) if one in set(mixed)]
        return ordered + self.status.ids_in(["pending"], rows - len(ordered))[: rows - len(ordered)]

    def _totals(self) -> str:
        stored = int(self.status.client.hget(TOTALS, "stored_bytes") or 0)
        self._note("", time.monotonic(), stored)
        workers = len(self.status.workers())
        gates = [gate for gate in self.status.gates() if gate.closed]
        closed = ", ".join(f"{one.service} since {clock(one.since)}" for one in gates)
        return (
            f"{output.counts_line(self.status.counts())}\n"
            f"{size(round(self.rate('')))}/s  {workers} worker{'s' * (workers != 1)}  "
            f"{f'gate closed: {closed}' if closed else 'all gates open'}"
        )

    def _note(self, upload_id: str, now: float, sent: int) -> None:
        seen = self._seen.setdefault(upload_id, deque())
        if seen and sent < seen[-1][1]:
            seen.clear()  # it began anew
        seen.append((now, sent))
        while seen[0][0] < now - WINDOW_S:
            seen.popleft()

    def rate(self, upload_id: str) -> float:
        """Bytes a second of an upload, or of the farm under the empty name."""
        seen = self._seen.get(upload_id)
        if not seen or seen[-1][0] <= seen[0][0]:
            return 0.0
        return (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0])

    def table(self, console: Console) -> Table:
        """Lay it out for the width of the console."""
        from rich.table import Table
        from rich.text import Text

        width, ascii_only = console.width, console.options.ascii_only
        path_width = max((width - 52) * 2 // 3 + 10, 8)
        rows = Table.grid(padding=(0, 1))
        for column in (10, path_width, max(width - path_width - 13, 10)):
            rows.add_column(width=column, no_wrap=True, overflow="ellipsis")
        rows.add_row(*(Text(title, style="bold") for title in ("state", "file", self._titles())))
        for one in self.uploads:
            style = {"retrying": "yellow", "failed": "red", "located": "green"}.get(one.state, "")
            state = STAGE_WORDS.get(one.stage, "active") if one.state == "active" else one.state
            path = Text(middle(clean(one.path), path_width))
            rows.add_row(Text(state, style=style), path, Text(self._rest(one, ascii_only)))
        whole = Table.grid()
        whole.add_column(no_wrap=True, overflow="ellipsis")
        whole.add_row(rows)
        whole.add_row("")
        for line in self.totals.splitlines():
            whole.add_row(Text(line))
        if self.away:
            whole.add_row(Text(f"since {self.away}; looking again", style="red"))
        return whole

    @staticmethod
    def _titles() -> str:
        return f"{'sent':<{BAR}} {'a second':>9} {'eta':>5} try node"

    def _rest(self, one: UploadState, ascii_only: bool) -> str:
        if one.error and one.state != "active":
            until = f"till {clock(one.due)} " if one.due and one.state == "retrying" else ""
            return clean(f"{until}try {one.tries + 1}: {one.error}")
        if one.state == "located" and one.job_state:
            return f"encoding {clean(one.job_state)}"
        full, empty = ("#", "-") if ascii_only else ("━", "╌")
        share = min(one.sent_bytes / one.size_bytes, 1.0) if one.size_bytes else 0.0
        share = 1.0 if one.state in {"located", "stored"} else share
        bar = full * round(share * BAR) + empty * (BAR - round(share * BAR))
        rate = self.rate(one.upload_id)
        left_s = ((one.size_bytes or 0) - one.sent_bytes) / rate if rate > 0 else 0
        speed = f"{size(round(rate))}/s" if rate > 0 else ""
        node = clean(one.worker.partition("@")[2] or one.worker).partition(".")[0]
        return f"{bar} {speed:>9.9} {span(left_s):>5} {one.tries or '':>3} {node}"


def span(seconds: float) -> str:
    """Write a time that is left, in at most five characters; nothing for none."""
    if seconds <= 0:
        return ""
    for unit, size_s in (("s", 1), ("m", 60), ("h", 3600)):
        if seconds < size_s * 100:
            return f"{seconds / size_s:.0f}{unit}"
    return ">99h"


def clock(at: float | None) -> str:
    """Write a time of Redis' clock as this node's time of the day."""
    return f"{datetime.fromtimestamp(at or 0).astimezone():%H:%M:%S}"


def clean(value: str) -> str:
    """Make what others have written harmless to a terminal."""
    return "".join(one if one.isprintable() else "?" for one in value)


def middle(path: str, width: int) -> str:
    """Shorten a path in its middle to so many columns, as wide as its letters are."""
    from rich.cells import cell_len, chop_cells

    if cell_len(path) <= width:
        return path
    tail_width = (width - 1) * 2 // 3
    tail = chop_cells(path[::-1], tail_width)[0][::-1]
    return chop_cells(path, width - 1 - cell_len(tail))[0] + "…" + tail
