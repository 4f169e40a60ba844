"""For a worker started with ``-I tests.chaos.poison``: opening a file named poison… kills it.

An audit hook sees the file however it is opened. SIGKILL is also what the kernel sends to a
process that a file has made too large.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import PurePath
from typing import Any


def _die(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and PurePath(str(arguments[0])).name.startswith("poison"):
        os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(_die)
