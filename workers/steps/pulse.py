"""What Redis says whenever this worker notes that it is up: the steps need not ask on their own.

Most workers of a farm are idle, and each question wakes Redis.
"""

from __future__ import annotations

import time
from typing import NamedTuple

#: How often a worker notes that it is up (``workers.health``).
EACH_S = 6.0
#: After so long without a pulse, the steps ask on their own.
LATE_S = 1.0


class Pulse(NamedTuple):
    """An answer of ``note_worker.lua``, and when it came by time.monotonic()."""

    at: float
    is_new: bool
    is_aside: bool
    #: Whether there are entries of hooks that some version of farmhaul cannot read.
    has_unread: bool
    #: The worker that reconciles, and for how long it holds the lock, if it does not renew it.
    reconciler: str
    held_s: float


_latest = Pulse(
    float("-inf"), is_new=False, is_aside=False, has_unread=True, reconciler="", held_s=0.0
)


def note(pulse: Pulse) -> None:
    """Keep what Redis has said last."""
    global _latest  # noqa: PLW0603 one for the whole process
    _latest = pulse


def latest() -> Pulse:
    """Return what Redis has said last; ``at`` is -inf if it has said nothing yet."""
    return _latest


def next_s() -> float:
    """Return the seconds until a later pulse must be there; not positive if it is late."""
    return _latest.at + EACH_S + LATE_S - time.monotonic()
