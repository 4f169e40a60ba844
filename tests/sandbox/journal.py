"""The journal of the front: what it records of each request."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .faults import Service


@dataclass
class Entry:
    """A request as the journal keeps it."""

    service: Service
    method: str
    path: str
    headers: dict[str, str]
    body_bytes: int
    started_at: float
    #: The operations of a call to ftrack, and their actions.
    operations: Any = None
    actions: Sequence[str] = ()
    #: The object and part that a request to the store is for.
    key: str = ""
    part_number: int | None = None
    #: None: no response was sent.
    status: int | None = None
    #: How much of the body of a PUT has come.
    came_bytes: int = 0
    #: How much of the response's body was sent back.
    answer_bytes: int = 0
    faults: Sequence[str] = ()
    ended_at: float | None = None


@dataclass
class Journal:
    """All requests since the last reset. Thread-safe."""

    _entries: list[Entry] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, entry: Entry) -> None:
        with self._lock:
            self._entries.append(entry)

    def clear(self) -> None:
        with self._lock:
            self._entries = []

    def entries(self) -> list[dict[str, Any]]:
        with self._lock:
            found = list(self._entries)
        return [asdict(entry) for entry in found]
