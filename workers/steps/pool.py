"""The processes of a worker's pool: those that hang are replaced, and none delays the worker's end.

A thread that reads from a mount that is gone may be in state D, where nothing ends it. Its process
cannot end either: it stays a zombie of which one thread lives, and the pool would wait for it for
ever. Such a process can do no harm (what it holds was given away), so it is forgotten.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import billiard.pool
from celery.signals import worker_process_init, worker_shutting_down

from tasks.log import log
from tasks.stage import shared, threads
from tasks.stage.context import clients
from workers.steps.periodic import PeriodicStep

#: A worker has exited so long after SIGTERM: what is under way stops by itself before.
EXIT_WITHIN_S = 27.0
#: In KiB. More than a process can have, so that a pool replaces only one that says it has more.
ENDLESS_KIB = 1 << 50


class Pool(PeriodicStep):
    """Looks after the processes of the pool."""

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        # Before the pool is forked: its processes see the value.
        shared.time_limit_s = worker.time_limit or math.inf
        self._stopping_since = math.inf
        self._zombies: set[int] = set()
        worker_shutting_down.connect(self._note_stopping, weak=False)
        worker_process_init.connect(replace_full_process, weak=False)

    def stop(self, _worker: Any) -> None:
        """Keep looking, because processes may hang while the worker shuts down."""

    def act(self) -> None:
        """Forget processes that cannot end; end a worker that does not end by itself."""
        self.forget_zombies()
        if time.monotonic() - self._stopping_since > EXIT_WITHIN_S:
            log.warning("shutdown_forced", text="what was under way goes on after the lease")
            for process in self._processes():
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            os._exit(0)

    def forget_zombies(self) -> None:
        """Let the pool replace each process that was a zombie with a thread the last time too."""
        zombies = {process.pid: process for process in self._processes() if _lingers(process.pid)}
        for pid in self._zombies & zombies.keys():
            log.error("process_lost", pid=pid, text="a thread of it hangs in state D; replaced")
            zombies[pid]._popen.returncode = -signal.SIGKILL  # noqa: SLF001 as if it was reaped
        self._zombies = set(zombies)

    def _processes(self) -> Iterator[Any]:
        pool = getattr(getattr(self.worker, "pool", None), "_pool", None)
        for process in list(getattr(pool, "_pool", [])):
            started = process._popen  # noqa: SLF001 its exitcode would reap the process
            if started is not None and started.returncode is None:
                yield process

    def _note_stopping(self, **_: Any) -> None:
        shared.note_stopping()
        self._stopping_since = time.monotonic()


def _lingers(pid: int) -> bool:
    """Return whether a process has ended but for other threads than its first."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
        threads_left = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] == "Z" and len(threads_left) > 1


def replace_full_process(**_: Any) -> None:
    """Have this process of the pool replaced, after a task, once too many of its threads hang.

    The pool asks each process for its memory after each task, and replaces one that has too much.
    """
    really = billiard.pool.mem_rss

    def memory_kib() -> int:
        hung = len(clients().threads.left_behind) if clients.cache_info().currsize else 0
        if hung < threads.MAX_LEFT:
            return int(really())
        log.warning("process_replaced", hung_threads=hung, text="their files are tried elsewhere")
        return 2 * ENDLESS_KIB

    billiard.pool.mem_rss = memory_kib
