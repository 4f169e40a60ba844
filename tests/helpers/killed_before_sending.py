"""For a worker started with ``-I tests.helpers.killed_before_sending``: it dies once of SIGKILL.

That is when a part of a batch has gone on without the rest, and its message is not sent yet. Only
while the file DIES_WHILE exists.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from tasks.stage.base import Stage

_send_next = Stage._send_next


def _deadly(self: Stage, message: Any, claim_id: str = "") -> None:
    trap = Path(os.environ["DIES_WHILE"])
    if claim_id and trap.exists():
        trap.unlink()
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    _send_next(self, message, claim_id)


Stage._send_next = _deadly  # type: ignore[method-assign]
