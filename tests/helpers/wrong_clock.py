"""For a worker started with ``-I tests.helpers.wrong_clock``: its clock is ten minutes ahead."""

from __future__ import annotations

import time

AHEAD_S = 600.0

_now = time.time


def _ahead() -> float:
    return _now() + AHEAD_S


time.time = _ahead
