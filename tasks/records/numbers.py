"""Numbers in records. Anyone who can write to Redis may have put anything in their place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

#: Larger than any size, time or count; all integers up to it are exact as doubles.
LARGEST = 2.0**53
#: Larger than the sizes together that a hook may ask for: of 100,000 files, each below 2**64 bytes.
LARGEST_SIZE = 2.0**81
#: The last second that every calendar knows (in 2242).
LATEST_S = 2.0**33


def number(text: Any, otherwise: float = 0.0, largest: float = LARGEST) -> float:
    """Return the number of a text; *otherwise* if it is none, or not between 0 and *largest*."""
    try:
        value = float(text)
    except (TypeError, ValueError, OverflowError):
        return otherwise
    return value if math.isfinite(value) and 0 <= value <= largest else otherwise


class Numbers:
    """The numbers of a record; ``odd`` names the fields that hold something else."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields
        self.odd: list[str] = []

    def get(self, name: str, largest: float = LARGEST) -> float | None:
        """Return a field, or None if it is absent, empty, or no number."""
        text = self._fields.get(name)
        if not text:
            return None
        value = number(text, -1.0, largest)
        if value < 0:
            self.odd.append(name)
            return None
        return value

    def whole(self, name: str, largest: float = LARGEST) -> int:
        """Return a field as an integer; 0 if it is none."""
        return int(self.get(name, largest) or 0)
