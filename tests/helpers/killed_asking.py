"""``farmhaul`` as ``python -m tests.helpers.killed_asking``: SIGKILL when it would send a task."""

from __future__ import annotations

import os
import signal
import sys

from celery import Celery

from workers.cli.group import main


def _die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    Celery.send_task = _die
    raise SystemExit(main(sys.argv[1:]))
