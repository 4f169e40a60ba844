"""For a worker started with ``-I tests.chaos.impatient``: calls and files hang for seconds only."""

from __future__ import annotations

from tasks.stage import threads
from tasks.transfer import ftrack

vars(ftrack).update(EXCHANGE_S=3.0, TIMEOUT_S=(2.0, 3.0))
threads.STALLED_S = 3.0
threads.WRAP_UP_S = threads.LAST_S = 0.5
threads.POLL_S = 0.1
