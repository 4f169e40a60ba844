"""A deadline for what a hook waits for."""

from __future__ import annotations

import time


class Deadline:
    """A moment by which something must be done."""

    def __init__(self, within_s: float) -> None:
        self._moment = time.monotonic() + within_s

    @property
    def is_over(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self._moment

    def left_s(self) -> float:
        """Return the seconds that are left.

        Raises:
            TimeoutError: none are.
        """
        left_s = self._moment - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("no answer in time")
        return left_s

    def share(self, of: int) -> Deadline:
        """Return an earlier deadline, so that one of several tries cannot use up all of it."""
        return Deadline(self.left_s() / of)
