"""What an upload that waits is waiting for, in words that the shell and Flower share."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from tasks.config.texts import visible
from tasks.config.timetable import Timetable, zone_named
from tasks.records.keys import LIMITS, to_text
from tasks.records.status import Status
from tasks.records.upload_state import UploadState


class Limit(NamedTuple):
    """A limit as it is now: its rate, None for none, and what says so, and until when."""

    rate: float | None
    text: str


def read_limits(client: Any) -> dict[str, str]:
    """Return what ``farmhaul limit`` has set."""
    return {to_text(name): to_text(value) for name, value in client.hgetall(LIMITS).items()}


def in_force(limits: Mapping[str, str], name: str, at: float) -> Limit | None:
    """Return a limit of ``farmhaul limit`` as it is now; None if it is not set, or is none."""
    zone = limits.get("zone", "UTC")
    # Somebody else may have written what is no limit.
    with suppress(ValueError, KeyError, OverflowError):
        table = Timetable.from_text(limits[name])
        now = datetime.fromtimestamp(at, zone_named(zone))
        entry, until = table.entry_at(now)
        text = f"{entry} until {until:%H:%M} in {zone}" if until else entry
        return Limit(table.at(now), text)
    return None


#: How the row ends that says that no worker takes an upload.
NONE_TAKES = "none takes tasks"


def waits_for(status: Status, upload: UploadState, now: float) -> dict[str, str]:
    """Return what a live upload waits for, and the limit that slows it, by the names of rows."""
    if upload.state not in {"pending", "active", "storing"}:
        return {}
    limit = in_force(read_limits(status.client), "bandwidth", now)
    slow = (
        {"limit": f"{limit.text}, in bytes a second, for the whole farm"}
        if limit and limit.rate
        else {}
    )
    return {"waits for": _what(status, upload)} | slow if upload.state == "pending" else slow


def _what(status: Status, upload: UploadState) -> str:
    workers = status.workers()
    if not workers:
        return f"a worker: {NONE_TAKES}"
    if closed := [gate.service for gate in status.gates() if gate.closed]:
        return f"the end of the outage of {' and '.join(closed)}"
    host, before = status.place(upload.upload_id)
    if host and host not in {name.partition("@")[2] for name in workers}:
        return f"a worker on {visible(host)}: {NONE_TAKES}"
    if not host and not status.sharing():
        return f"a worker without -Q farmhaul.HOST: {NONE_TAKES}"
    if not before:
        return "its turn: it is among the next ones"
    return f"its turn: {before} {'uploads are' if before > 1 else 'upload is'} before it"
