"""For a worker started with ``-I tests.chaos.hanging``: a file system that does not answer.

The name of a file says which call hangs: ``hang-open``, ``hang-stat``, ``hang-read`` (the first
stage) and ``hang-send`` (the third). It hangs until the file ``answers`` lies next to it. The time
limits for a hung call are short, and one that hangs is enough for a new process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from tasks.stage import threads


def _hanging(call: str, really: Callable[..., Any]) -> Callable[..., Any]:
    def hang(target: Any, *args: Any, **options: Any) -> Any:
        path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else str(target)
        if f"hang-{call}" in PurePath(path).name:
            while not os.access(PurePath(path).with_name("answers"), os.F_OK):
                time.sleep(0.05)
        return really(target, *args, **options)

    return hang


os.open = _hanging("open", os.open)
os.stat = _hanging("stat", os.stat)
os.preadv = _hanging("read", os.preadv)
os.pread = _hanging("send", os.pread)
threads.STALLED_S, threads.STALLED_AT_STOP_S = 3.0, 1.0
threads.WRAP_UP_S = threads.LAST_S = 0.5
threads.POLL_S = 0.1
threads.MAX_LEFT = 1
