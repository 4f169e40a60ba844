"""The lines that show downloads by workers."""

from __future__ import annotations

import json

from tasks.config.texts import visible
from tasks.intake.answer import size
from tasks.records.fetches import FetchState
from workers.cli import output


def fetch_line(fetch: FetchState, *, human: bool) -> str:
    """Return the line of ``status`` for a download; in JSON, ``received`` is in bytes."""
    if human:
        files = f"{fetch.fetched} of {fetch.files} files" if fetch.files else ""
        if fetch.state == "fetching":
            speed = output.speed_text(
                fetch.received_bytes, fetch.size_bytes, fetch.bytes_s, fetch.left_s
            )
            files = ", ".join(filter(None, (files, speed)))
        where = f"{fetch.component_id} -> {fetch.folder}"
        worker = f"on {fetch.worker}" if fetch.state == "fetching" else ""
        if fetch.state == "cancelled":
            worker = f"by {fetch.cancelled_by}"
        line = f"{fetch.state:<10} {fetch.fetch_id}  {size(fetch.received_bytes):>9}  {where}"
        return visible("  ".join(text for text in (line, files, worker, fetch.error) if text))
    return json.dumps(
        {
            "task_id": fetch.fetch_id,
            "component_id": fetch.component_id,
            "folder": fetch.folder,
            "state": fetch.state,
            "files": fetch.files,
            "fetched": fetch.fetched,
            "received": fetch.received_bytes,
            "size": fetch.size_bytes,
            "rate": fetch.bytes_s,
            "left_s": fetch.left_s,
            "worker": fetch.worker,
            "error": fetch.error,
            "created": fetch.created,
            "updated": fetch.updated,
            "asked_by": fetch.who or None,
            "tries": fetch.tries,
            "due": fetch.next_try or None,
            "cancelled_by": fetch.cancelled_by or None,
        }
    )
