"""What the pages show, as texts: sizes, times, bars and charts. All templates escape them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

from tasks.config.texts import visible
from tasks.intake.answer import size
from tasks.records.states import LIVE
from tasks.records.status import UploadState

#: Flower's classes for the colour of a state.
COLOURS = {
    "located": "success",
    "failed": "danger",
    "retrying": "warning",
    "active": "primary",
    "storing": "primary",
}
#: From here on, a time is shown in minutes, and in days.
MOST_SECONDS, MOST_HOURS = 90, 48


class Row(NamedTuple):
    """An upload as a line of the table."""

    upload_id: str
    state: str
    colour: str
    name: str
    folder: str
    percent: int
    progress: str
    rate: str
    left: str
    stage: str
    worker: str
    age: str
    who: str
    error: str
    version_id: str
    component: str


def row_of(upload: UploadState, now: float) -> Row:
    """Return the line of an upload."""
    folder, _, name = upload.path.rpartition("/")
    is_live = upload.state in LIVE
    return Row(
        upload.upload_id,
        upload.state,
        COLOURS.get(upload.state, "secondary"),
        visible(name or upload.path),
        visible(folder),
        percent(upload),
        progress(upload),
        f"{size(round(upload.bytes_s))}/s" if upload.bytes_s else "",
        span(upload.left_s) if is_live else "",
        upload.stage if upload.state == "active" else "",
        upload.worker if upload.state == "active" else "",
        span(now - upload.created),
        visible(" on ".join(filter(None, (upload.asked_user, upload.asked_host)))),
        visible(upload.error) if upload.state != "located" else "",
        upload.version_id,
        visible(upload.name),
    )


def percent(upload: UploadState) -> int:
    """Return how much of an upload is in the store, in percent."""
    if upload.state in {"located", "stored"}:
        return 100
    if upload.files:
        return 100 * upload.stored // upload.files
    if not upload.size_bytes:
        return 0
    return min(100 * upload.sent_bytes // upload.size_bytes, 100)


def progress(upload: UploadState) -> str:
    """Return bytes of bytes, and files of files."""
    whole = size(upload.size_bytes)
    if upload.state not in {"located", "stored"} and upload.size_bytes is not None:
        whole = f"{size(upload.sent_bytes)} of {whole}"
    if not upload.files:
        return whole
    stored = upload.files if upload.state == "located" else upload.stored
    return f"{whole}, {stored} of {upload.files} files"


def span(seconds: float | None) -> str:
    """Return a time in words of at most two units: 40 s, 12 min, 3 h 20 min, 5 d."""
    if seconds is None:
        return ""
    whole = max(round(seconds), 0)
    hours, rest = divmod(round(whole / 60), 60)
    if whole < MOST_SECONDS:
        return f"{whole} s"
    if not hours:
        return f"{rest} min"
    if hours < MOST_HOURS:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{hours // 24} d"


def clock(at: float, now: float) -> str:
    """Return a time of day, with the date if it is another day's; UTC, as Flower shows times."""
    moment, today = (datetime.fromtimestamp(one, UTC) for one in (at, now))
    return f"{moment:%H:%M:%S}" if moment.date() == today.date() else f"{moment:%Y-%m-%d %H:%M:%S}"


def ftrack_link(version_id: str) -> str:
    """Return the address of a version in ftrack; empty if Flower is not told where ftrack is."""
    server = os.environ.get("FLOWER_FTRACK_SERVER", "").rstrip("/")
    if not (server.startswith(("https://", "http://")) and version_id):
        return ""
    return f"{server}/#slideEntityId={version_id}&slideEntityType=assetversion&itemId=home"


class Chart(NamedTuple):
    """A line over an hour as an SVG of 300 by 60: its points, its highest value and its last."""

    title: str
    points: str
    area: str
    highest: str
    latest: str


def charts(history: Sequence[dict[str, float]]) -> list[Chart]:
    """Return the charts of the farm's last hour; none before there are two minutes."""
    rows = [*pairwise(history)]
    if not rows:
        return []
    spans = [max(after["at"] - before["at"], 1.0) for before, after in rows]

    def rates(name: str) -> list[float]:
        return [
            max(after.get(name, 0) - before.get(name, 0), 0) / span_s
            for (before, after), span_s in zip(rows, spans, strict=True)
        ]

    def bytes_text(value: float) -> str:
        return f"{size(round(value))}/s"

    def count_text(value: float) -> str:
        return f"{value:,.0f}"

    waits = [row.get("pending", 0) + row.get("retrying", 0) for row in history]
    found = [
        ("Throughput", rates("stored_bytes"), bytes_text),
        ("Located a minute", [60 * rate for rate in rates("located")], count_text),
        ("Waiting uploads", waits, count_text),
        ("Failed a minute", [60 * rate for rate in rates("failed")], count_text),
    ]
    return [
        _chart(title, values, text(max(values)), text(values[-1])) for title, values, text in found
    ]


def _chart(title: str, values: Sequence[float], highest: str, latest: str) -> Chart:
    top = max([*values, 1e-9])
    step = 300 / max(len(values) - 1, 1)
    points = [
        f"{number * step:.1f},{58 - 54 * value / top:.1f}" for number, value in enumerate(values)
    ]
    line = " ".join(points)
    return Chart(title, line, f"0,60 {line} {(len(values) - 1) * step:.1f},60", highest, latest)
