"""What the processes of a worker tell each other: that work moves, and that the worker stops.

A few bytes of memory that all processes of the pool share, because the pool forks them from the
worker's main process. Celery's events would tell it too, but not while a process is busy.
"""

from __future__ import annotations

import math
import mmap
import struct
import time

#: The time limit of a task, in seconds; set before the pool is forked.
time_limit_s = math.inf

_DOUBLE = struct.Struct("d")
_MOVED, _STOPPING = 0, 8
_memory = mmap.mmap(-1, 16)


def note_moved() -> None:
    """Note that some work of this worker moves."""
    _DOUBLE.pack_into(_memory, _MOVED, time.monotonic())


def moved_s_ago() -> float:
    """Return how long no work of this worker has moved."""
    (moved,) = _DOUBLE.unpack_from(_memory, _MOVED)
    return time.monotonic() - float(moved)


def note_stopping() -> None:
    """Note that the worker shuts down."""
    _DOUBLE.pack_into(_memory, _STOPPING, time.monotonic())


def is_stopping() -> bool:
    """Return whether the worker shuts down."""
    return bool(_DOUBLE.unpack_from(_memory, _STOPPING)[0])
