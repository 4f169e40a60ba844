"""Downloads by workers: how they are sent, and the lines that show them."""

from __future__ import annotations

import json
import time
from contextlib import suppress

import redis

from tasks.config.texts import visible
from tasks.intake.answer import size
from tasks.records.fetches import Fetches, FetchState
from workers.cli import output
from workers.cli.records import open_app, sending


def send_fetch(fetches: Fetches, fetch_id: str, component_id: str, folder: str) -> None:
    """Record a download, and let a worker make it.

    Raises:
        RedisError: Redis does not take it; the record says so, if Redis takes that.
    """
    from tasks.chain import FETCH_PRIORITY, QUEUE

    app = open_app()
    fetches.begin(fetch_id, component_id, folder, state="queued")
    try:
        with sending():
            app.send_task(
                "farmhaul.fetch_component",
                kwargs={"component_id": component_id, "folder": folder, "asked_at": time.time()},
                task_id=fetch_id,
                queue=QUEUE,
                priority=FETCH_PRIORITY,
                ignore_result=True,
                retry=False,
                # Shown in events instead of the arguments: messages are sealed, events not.
                kwargsrepr=f"({component_id})",
            )
    except redis.RedisError:
        with suppress(redis.RedisError):
            fetches.note(fetch_id, {"state": "failed"}, "Redis did not take its message")
        raise


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
        }
    )
