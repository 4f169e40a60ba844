"""Log events: a constant name, then fields, then text for people.

    log.warning("upload_retrying", upload_id=upload_id, stage=stage, text=str(error))

reads ``upload_retrying upload_id=5d27… stage=put_file waiting for the store``. The record that the
standard library passes to handlers also carries ``event``, ``fields`` and ``text``, so a formatter
never parses a line (docs/decisions/logging.md).
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from tasks.config.texts import visible

#: The keyword arguments that belong to ``logging`` itself; all others are fields of the event.
_STANDARD = frozenset({"exc_info", "stack_info", "stacklevel"})


class EventLog(logging.LoggerAdapter[logging.Logger]):
    """A logger whose messages are names of events."""

    def process(
        self, msg: str, kwargs: MutableMapping[str, Any]
    ) -> tuple[str, MutableMapping[str, Any]]:
        """Turn the name and the fields of an event into a line, and into ``extra``."""
        text = str(kwargs.get("text", ""))
        fields = {
            name: value
            for name, value in kwargs.items()
            if name not in _STANDARD and name != "text"
        }
        # A file system, a server or another host may have given these; JSON escapes them itself.
        words = map(visible, [msg, *(f"{name}={value}" for name, value in fields.items()), text])
        options = {name: value for name, value in kwargs.items() if name in _STANDARD}
        options["extra"] = {"event": msg, "fields": fields, "text": text}
        return " ".join(filter(None, words)), options


log = EventLog(logging.getLogger("farmhaul"))
