"""How fast ftrack answers, so that a call that takes much longer than others can be noticed.

One upload may make ftrack slow, and each upload of its call would wait with it. Only calls that
write nothing are hurried: ftrack may carry out a call whose answer nobody waits for.
"""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

#: A call for several uploads may take this many times as long as others, for its size.
FACTOR = 5
#: A server, network or machine may pause for this long. The others of a slow upload's batch are
#: held for three times as long at most; a quarter of a second ended calls that a busy machine held.
LEAST_S = 0.5
#: So many calls are remembered; before there are so many as FEWEST, nothing is slow.
REMEMBERED, FEWEST = 15, 3

_here = threading.local()


class SlowCallError(Exception):
    """A hurried call took much longer than others. ftrack may carry it out nevertheless."""


@contextmanager
def hurried(least_s: float = 0.0) -> Iterator[None]:
    """Let the calls of this thread end with a SlowCallError if they take longer than others.

    ``least_s`` is how long they may take at least.
    """
    _here.least_s = least_s
    try:
        yield
    finally:
        _here.least_s = math.inf


class Pace:
    """The time that calls have taken lately for each operation; its threads share it."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)

    @contextmanager
    def of(self, operations: int) -> Iterator[float]:
        """Time a call, and yield how long it may take; infinity if it is not hurried.

        A slow call counts too, because ftrack may be slow from now on. Other errors do not count.
        """
        begun = time.monotonic()
        try:
            yield self._limit_s(operations)
        except SlowCallError:
            self._note(operations, begun)
            raise
        self._note(operations, begun)

    def _limit_s(self, operations: int) -> float:
        least_s: float = getattr(_here, "least_s", math.inf)
        if len(self._seconds) < FEWEST:
            return math.inf
        usual_s = statistics.median(tuple(self._seconds)) * operations
        return max(LEAST_S, least_s, FACTOR * usual_s)

    def _note(self, operations: int, begun: float) -> None:
        self._seconds.append((time.monotonic() - begun) / max(operations, 1))
