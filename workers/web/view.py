"""What the pages of uploads show, as texts: sizes, times and bars. All templates escape them."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from tasks.config.texts import visible
from tasks.intake.answer import size
from tasks.records.fetches import FetchState
from tasks.records.query import Query
from tasks.records.refusals import Refused
from tasks.records.search import ORDER, Page
from tasks.records.states import LIVE
from tasks.records.upload_state import UploadState
from tasks.transfer.targets import is_uuid
from workers.web.summary import Summary
from workers.web.timeline import Event
from workers.wording import span

#: Flower's classes for the colour of a state.
COLOURS = {
    "located": "success",
    "failed": "danger",
    "retrying": "warning",
    # Flower's primary colour is a green, as that of what is done.
    "active": "info",
    "storing": "info",
}
#: How the error of a superseded upload begins, before the id of the newer one.
NEWER = "superseded by "


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
        visible(name or upload.path or upload.upload_id),
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


def found(page: Page, query: Query) -> str:
    """Return how many uploads a search has found, by state; empty for a list of all of them."""
    if query.is_listing and not query.since:
        return ""
    states = (state for state in ORDER if state in query.states and page.counts.get(state))
    counts = [f"{page.counts[state]} {state}" for state in states]
    text = ", ".join([f"{page.total}{' or more' if page.is_cut else ''} found", *counts])
    return f"{text}. The list ends there: ask for less, as by since:1h." if page.is_cut else text


def elsewhere(found: FetchState | int) -> str:
    """Return where else may be what no upload fits: it is a download, or in the inbox."""
    if isinstance(found, int):
        many = f"{found} entries are" if found > 1 else "one entry is"
        return f"0 found. It may be in the inbox: {many} not taken in; see Farm." if found else ""
    done = f"{size(found.received_bytes)}"
    if found.size_bytes:
        share = min(100 * found.received_bytes // found.size_bytes, 100)
        done = f"{share} %, {done} of {size(found.size_bytes)}"
    files = f"{found.fetched} of {found.files} files" if found.files else ""
    rate = f"{size(found.bytes_s)}/s" if found.left_s is not None and found.bytes_s else ""
    left = f"{span(found.left_s)} left" if found.left_s else ""
    where = f"to {found.folder}" if found.folder else ""
    worker = f"on {found.worker}" if found.state == "fetching" else ""
    parts = (f"A download, {found.state}", done, files, rate, left, where, worker, found.error)
    said = ", ".join(part for part in parts if part)
    return visible(f"{said}. To follow it: farmhaul watch {found.fetch_id}")


def refused(rows: Sequence[Refused]) -> str:
    """Return how many requests of hooks workers have refused, as what is looked for may be."""
    count = sum(row.times for row in rows)
    many = f"{count} requests" if count > 1 else "one request"
    return f"Workers have refused {many} of hooks in the last day: see Farm."


def summed_up(found: Summary, by: str) -> str:
    """Return how much a summary covers, in words."""
    late = sum(1 for group in found.groups if group.oldest)
    text = f"{len(found.groups) + found.left} {by}s, {late} late"
    if found.read < found.found:
        text += f", of the first {found.read} of {found.found} uploads"
    return f"{text}; {found.left} are not shown" if found.left else text


def quoted(path: str) -> str:
    """Return a path as a word of a search, which finds this path alone.

    What a word cannot have, a double quote or half a character, is found as any character.
    """
    word = re.sub('["\ud800-\udfff]', "?", glob.escape(path))
    return f'"{word}"' if any(map(str.isspace, word)) else word


def in_ftrack(upload: UploadState) -> str:
    """Return whether ftrack shows an upload, in words."""
    if upload.state == "located":
        return "yes, all of its files" if upload.files else "yes"
    if upload.state == "stored":
        return "its bytes are; ftrack shows them with the rest of its sequence or publish"
    return "not yet" if upload.state in LIVE else "no"


def newer(upload: UploadState) -> str:
    """Return the upload that has taken the place of one; empty if none is named."""
    named = upload.error.removeprefix(NEWER)
    is_named = upload.state == "superseded" and upload.error.startswith(NEWER)
    return named if is_named and is_uuid(named) else ""


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


def clock(at: float, now: float) -> str:
    """Return a time of day, with the date if it is another day's; UTC, as Flower shows times."""
    moment, today = (datetime.fromtimestamp(one, UTC) for one in (at, now))
    day = "" if moment.date() == today.date() else f"{moment:%Y-%m-%d} "
    return f"{day}{moment:%H:%M:%S} UTC"


def ago(at: float, now: float) -> str:
    """Return how long ago something was, or in how long it will be."""
    return f"in {span(at - now)}" if at > now else f"{span(now - at)} ago"


def timeline(events: Iterable[Event], now: float) -> list[tuple[str, ...]]:
    """Return for each event when it was, how long ago, what, and more about it."""
    return [
        (clock(one.at, now), ago(one.at, now), visible(one.what), visible(one.more))
        for one in events
    ]


def ftrack_link(version_id: str) -> str:
    """Return the address of a version in ftrack; empty if Flower is not told where ftrack is."""
    server = os.environ.get("FLOWER_FTRACK_SERVER", "").rstrip("/")
    if not (server.startswith(("https://", "http://")) and version_id):
        return ""
    return f"{server}/#slideEntityId={version_id}&slideEntityType=assetversion&itemId=home"
