"""Child processes that end with us, whatever happens to us.

Linux sends ``PR_SET_PDEATHSIG`` when the *thread* that forked ends, not the process
(https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html). A server that a
helper thread restarts would thus die with that thread, so one thread that lives as long
as the interpreter starts every child.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
# Below Linux' range for outgoing connections (32768 and up), so that none of those takes
# a port between our look and the server's bind.
_PORTS = range(15_000, 32_000)
_SHARES = 64
CHECKOUT = Path(__file__).resolve().parents[2]


class NotReady(Exception):
    """A server of the sandbox did not come up."""


class _Spawner:
    """The thread that forks."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Future[subprocess.Popen[bytes]], Job]] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def run(self, job: Job) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._thread is None:
                # Not a ThreadPoolExecutor: its threads end before atexit handlers run,
                # and the children would be killed before they are asked to stop.
                self._thread = threading.Thread(target=self._loop, daemon=True)
                self._thread.start()
        future: Future[subprocess.Popen[bytes]] = Future()
        self._jobs.put((future, job))
        return future.result()

    def _loop(self) -> None:
        while True:
            future, job = self._jobs.get()
            try:
                future.set_result(job())
            except Exception as error:  # noqa: BLE001 - it is raised where the caller waits
                future.set_exception(error)


Job = Callable[[], "subprocess.Popen[bytes]"]
_spawner = _Spawner()


class Child:
    """A server process with its log; it ends with this process."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        *,
        cwd: Path = CHECKOUT,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        parent = os.getpid()

        def die_with_parent() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

        def start() -> subprocess.Popen[bytes]:
            with log.open("ab") as output:
                return subprocess.Popen(
                    [str(word) for word in command],
                    cwd=cwd,
                    env={**os.environ, **(env or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    # Ctrl-C is for this process alone, which stops its children in order.
                    start_new_session=True,
                    preexec_fn=die_with_parent,
                )

        self._process = _spawner.run(start)
        atexit.register(self.stop)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def terminate(self) -> None:
        """Ask it to exit, without waiting."""
        if self.alive:
            # A stopped process would not see SIGTERM.
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()

    def stop(self, timeout_s: float = 5) -> None:
        """Stop it; kill it if that takes longer than *timeout_s*."""
        atexit.unregister(self.stop)
        self.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        atexit.unregister(self.stop)
        if self.alive:
            self._process.kill()
        self._process.wait()

    def wait_ready(self, probe: Callable[[], bool], timeout_s: float = 60) -> None:
        """Poll *probe* until it returns true; an OSError means not yet."""
        end = time.monotonic() + timeout_s
        while True:
            if not self.alive:
                raise NotReady(self._report(f"exited with code {self._process.returncode}"))
            try:
                if probe():
                    return
            except OSError:
                pass
            if time.monotonic() > end:
                raise NotReady(self._report(f"did not answer within {timeout_s:.0f} s"))
            time.sleep(0.02)

    def _report(self, what: str) -> str:
        tail = self.log.read_text(errors="replace")[-2000:]
        return f"{self.name} {what}; the end of {self.log}:\n{tail}"


def python_module(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


#: A port on which nothing ever listens here. Another process may take a port that is free now.
CLOSED_PORT = 1
NO_REDIS = f"redis://127.0.0.1:{CLOSED_PORT}/0"


#: The last ports handed out: their servers may not have bound them yet.
_given: deque[int] = deque(maxlen=100)


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that are free now and were not handed out recently."""
    found: list[int] = []
    held: list[socket.socket] = []
    # Each process draws from its own share of the ports, so that parallel test runs do not take
    # them from each other before the server binds. SystemRandom, because a seeded generator
    # would draw the same ports in each run.
    own = sorted({*_PORTS[os.getpid() % _SHARES :: _SHARES]} - {*_given})
    for port in random.SystemRandom().sample(own, k=len(own)):
        candidate = socket.socket()
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            candidate.close()
            continue
        held.append(candidate)
        found.append(port)
        if len(found) == count:
            break
    for candidate in held:
        candidate.close()
    _given.extend(found)
    return found


def accepts(port: int) -> bool:
    """Return whether a server listens on *port*."""
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
