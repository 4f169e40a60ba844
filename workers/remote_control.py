"""Which commands of Celery's remote control a worker obeys: those that look, and ``shutdown``.

Flower has the secret key, and may send such commands. With all that Celery knows, whoever takes
over Flower could have a worker read a queue of their own, and so run any task (``add_consumer``),
or send one (``election``); start thousands of processes (``pool_grow``); or fail each upload
(``time_limit``).
"""

from __future__ import annotations

from typing import Any

from celery.worker.control import Panel

OBEYED = {
    # Flower's, and those of ``celery inspect`` and ``celery status``.
    *("ping", "stats", "conf", "report", "registered", "active_queues", "query_task"),
    *("scheduled", "active", "reserved", "revoked", "clock"),
    # Flower asks for events again and again, because a worker may have been started without.
    "enable_events",
    "shutdown",
}


def restrict() -> None:
    """Have this process answer all other commands with an error, which Flower shows."""
    Panel.data.update(dict.fromkeys(Panel.data.keys() - OBEYED, _refuse))


def _refuse(_state: Any, **_: Any) -> dict[str, str]:
    return {"error": "workers of farmhaul obey no command of remote control but shutdown"}
