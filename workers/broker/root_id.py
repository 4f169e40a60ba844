"""The root id of a message: the claim, or the download, that the message is about."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any


def root_id(text: bytes | str, within: int | None = None) -> str:
    """Return the root id of a JSON message, or of the item ``within`` a JSON list; "" for junk."""
    # Anyone who can write to Redis can put anything there; it carries no claim.
    with suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):
        message: Any = json.loads(text)
        return str((message if within is None else message[within])["headers"]["root_id"])
    return ""
