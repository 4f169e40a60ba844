"""The table of ``farmhaul watch``: the uploads and totals of one poll, and their rates."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

import redis

from tasks.config.texts import visible
from tasks.intake.answer import size
from tasks.records.inbox import waiting
from tasks.records.keys import TOTALS
from tasks.records.numbers import number
from tasks.records.states import LIVE, STAGES
from tasks.records.status import Status
from tasks.records.upload_state import UploadState
from workers.cli import output
from workers.wording import clock, faults_of_nodes, first_lines, may_pass, redis_problem

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: Rates are means over this time, because parts of a large file arrive 8 MB and more at once.
WINDOW_S = 10.0
BAR_COLUMNS = 5
#: A stage in a column that is 10 wide: the last word of its name, or a better one.
STAGE_WORDS = {stage: {"put_file": "put"}.get(stage, stage.split("_")[-1]) for stage in STAGES}
#: Stands for the whole farm among the upload ids whose rates are measured.
FARM = ""


class WatchTable:
    """The uploads and totals of the last poll, and how fast bytes are sent."""

    def __init__(self, status: Status, upload_ids: Sequence[str] = ()) -> None:
        self.status = status
        self.upload_ids = upload_ids
        self.uploads: list[UploadState] = []
        self.totals: list[str] = []
        self.away = ""
        self.all_ended = False
        #: For each upload: its bytes sent, with the time.monotonic() at which they were read.
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def poll(self, rows: int) -> None:
        """Read the totals and at most ``rows`` uploads; without Redis, keep the last ones."""
        try:
            ids = self._ids(rows)
            self.uploads = [upload for upload in self.status.find(ids) if upload]
            self.totals = self._totals()
            self.away = ""
        except redis.RedisError as error:
            if not may_pass(error):
                raise
            self.away = self.away or f"{clock(time.time())}: " + (redis_problem(error))
            return
        now = time.monotonic()
        for upload in self.uploads:
            self._note(upload.upload_id, now, upload.sent_bytes)
        shown = {FARM, *ids}
        self._seen = {key: seen for key, seen in self._seen.items() if key in shown}

    def _ids(self, rows: int) -> list[str]:
        if self.upload_ids:
            live = self.status.not_ended(self.upload_ids)
            self.all_ended = not live
            return list(dict.fromkeys((*live, *self.upload_ids)))[:rows]
        moving = [self.status.ids_in([state], rows) for state in LIVE if state != "pending"]
        # Each state gets its share of the rows; pending uploads only get the remaining rows.
        in_turn = chain.from_iterable(zip_longest(*moving))
        chosen = {*[upload_id for upload_id in in_turn if upload_id][:rows]}
        ordered = [upload_id for upload_id in chain(*moving) if upload_id in chosen]
        return ordered + self.status.ids_in(["pending"], rows - len(ordered))[: rows - len(ordered)]

    def _totals(self) -> list[str]:
        stored = int(number(self.status.client.hget(TOTALS, "stored_bytes")))
        self._note(FARM, time.monotonic(), stored)
        # Files and parts that end count at once; those on the screen show what goes on meanwhile.
        rate = max(self.rate(FARM), sum(upload.bytes_s or 0.0 for upload in self.uploads))
        in_inbox = waiting(self.status.client).entries
        workers = len(self.status.workers())
        gates = [gate for gate in self.status.gates() if gate.closed]
        faults = [*map(" ".join, faults_of_nodes(self.status).items())]
        closed = ", ".join(f"{gate.service} since {clock(gate.since)}" for gate in gates)
        speed = f"{size(round(rate))}/s  {workers} worker{'s' * (workers != 1)}"
        open_or_not = f"gate closed: {closed}" if closed else "all gates open"
        counts = output.counts_line(self.status.counts(), in_inbox)
        return [counts, f"{speed}  {open_or_not}", *first_lines(faults)]

    def _note(self, upload_id: str, now: float, sent_bytes: int) -> None:
        seen = self._seen.setdefault(upload_id, deque())
        if seen and sent_bytes < seen[-1][1]:
            seen.clear()  # the upload has started again
        seen.append((now, sent_bytes))
        while seen[0][0] < now - WINDOW_S:
            seen.popleft()

    def rate(self, upload_id: str) -> float:
        """Return the bytes per second of an upload, or of the whole ``FARM``."""
        seen = self._seen.get(upload_id)
        if not seen or seen[-1][0] <= seen[0][0]:
            return 0.0
        return (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0])

    def render(self, console: Console) -> Table:
        """Lay the table out for the width of the console."""
        from rich.table import Table
        from rich.text import Text

        width, ascii_only = console.width, console.options.ascii_only
        path_width = max((width - 52) * 2 // 3 + 10, 8)
        rows = Table.grid(padding=(0, 1))
        for column in (10, path_width, max(width - path_width - 13, 10)):
            rows.add_column(width=column, no_wrap=True, overflow="ellipsis")
        rows.add_row(*(Text(title, style="bold") for title in ("state", "file", self._titles())))
        for upload in self.uploads:
            state = upload.state
            style = {"retrying": "yellow", "failed": "red", "located": "green"}.get(state, "")
            word = STAGE_WORDS.get(upload.stage, state) if state == "active" else state
            path = Text(middle(visible(upload.path), path_width))
            rest = Text(self._rest(upload, ascii_only))
            rows.add_row(Text(visible(word), style=style), path, rest)
        whole = Table.grid()
        whole.add_column(no_wrap=True, overflow="ellipsis")
        whole.add_row(rows)
        whole.add_row("")
        for line in self.totals:
            whole.add_row(Text(visible(line)))
        if self.away:
            whole.add_row(Text(visible(f"since {self.away}; trying again"), style="red"))
        return whole

    @staticmethod
    def _titles() -> str:
        return f"{'sent':<{BAR_COLUMNS + 5}} {'per s':>9} {'eta':>5} try node"

    def _rest(self, upload: UploadState, ascii_only: bool) -> str:
        if upload.error and upload.state != "active":
            retries = upload.due and upload.state == "retrying"
            # The reason needs the room that a date and a zone would take.
            due = datetime.fromtimestamp(upload.due or 0).astimezone()
            until = f"until {due:%H:%M:%S} " if retries else ""
            return visible(f"{until}try {upload.tries + 1}: {upload.error}")
        if upload.state == "located" and upload.job_state:
            return f"encoding {visible(upload.job_state)}"
        full, empty = ("#", "-") if ascii_only else ("━", "╌")
        share = min(upload.sent_bytes / upload.size_bytes, 1.0) if upload.size_bytes else 0.0
        share = 1.0 if upload.state in {"located", "stored"} else share
        done = round(share * BAR_COLUMNS)
        bar = full * done + empty * (BAR_COLUMNS - done)
        # Its own rate knows what happened before this watch began.
        rate = upload.bytes_s or self.rate(upload.upload_id)
        left_s = ((upload.size_bytes or 0) - upload.sent_bytes) / rate if rate > 0 else 0
        speed = f"{size(round(rate))}/s" if rate > 0 else ""
        node = visible(upload.worker.partition("@")[2] or upload.worker).partition(".")[0]
        percent, left = f"{100 * share:.0f}%", output.span(left_s)
        return f"{bar} {percent:>4} {speed:>9.9} {left:>5} {upload.tries or '':>3} {node}"


def middle(path: str, width: int) -> str:
    """Shorten a path in its middle to a width in terminal columns; some letters take two."""
    from rich.cells import cell_len, chop_cells

    if cell_len(path) <= width:
        return path
    tail_width = (width - 1) * 2 // 3
    tail = chop_cells(path[::-1], tail_width)[0][::-1]
    return chop_cells(path, width - 1 - cell_len(tail))[0] + "…" + tail
