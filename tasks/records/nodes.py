"""Nodes: the workers of the farm, by name (``celery@host``), as they note themselves in Redis."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tasks.config.sealing import UNREADABLE, Codec
from tasks.records.keys import to_text

#: A worker that has not taken tasks for this long is gone, in seconds.
WORKER_S = 30

#: What may be wrong with a node.
MEANINGS = {
    "files": "cannot read files that other nodes read",
    "records": "cannot open what other nodes have sealed",
    "ftrack": "cannot call ftrack",
    "store": "cannot reach the media store",
    "clock": "has a wrong clock",
}


@dataclass(frozen=True, slots=True)
class SetAside:
    """A node that takes no uploads that all nodes see.

    ``what`` is a key of MEANINGS. ``known`` is true if the node itself has found the fault, and
    false if it failed what other nodes managed. ``since`` is in seconds since 1970.
    """

    name: str
    since: float
    what: str
    error: str
    known: bool

    @property
    def why(self) -> str:
        """What is wrong with it, in words that continue its name."""
        meaning = MEANINGS.get(self.what, f"fails ({self.what})")
        error = self.error.removeprefix(f"on {self.name}: ")
        return f"{meaning}: {error}" if error and error != UNREADABLE else meaning


def set_aside(name: str, note: bytes | str, codec: Codec) -> SetAside:
    """Return a node from its note in Redis (PAUSED). Anybody may have written the note."""
    try:
        fields: Any = json.loads(note)
        return SetAside(
            name,
            float(fields.get("since") or 0),
            str(fields.get("what")),
            codec.unseal_text(to_text(fields.get("error"))),
            known=bool(fields.get("known")),
        )
    except (ValueError, TypeError, AttributeError):
        return SetAside(name, 0.0, "unknown", "", known=False)
