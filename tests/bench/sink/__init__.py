"""The sink: stand-ins for ftrack and its store that keep nothing, each a process of its own.

    with Sink(folder) as sink:
        sink.conduct(latency_s=0.05, connect_s=0.05)
        sink.reset()
        sink.store_stats()["bytes"]

A benchmark's server must not be its bottleneck, and on this machine it takes its time from
the same cores. So the store has the kernel drop bodies unread (``MSG_TRUNC``), and ftrack
keeps no rules. What the bytes are worth, tests on the sandbox show.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from tests.sandbox import seed
from tests.sandbox.process import Child, accepts, free_ports, python_module


class Sink:
    """Both servers on free ports of 127.0.0.1; they end with the process that started them."""

    def __init__(self, folder: Path) -> None:
        api_port, store_port = free_ports(2)
        self.api_url = f"http://127.0.0.1:{api_port}"
        self.store_url = f"http://127.0.0.1:{store_port}"
        self._session = requests.Session()
        self._children = {
            port: Child(
                name, python_module(f"{__package__}.{name}", *ports), folder / f"{name}.log"
            )
            for name, port, ports in (
                ("api", api_port, (str(api_port), self.store_url)),
                ("store", store_port, (str(store_port),)),
            )
        }

    def __enter__(self) -> Self:
        for port, child in self._children.items():
            child.wait_ready(lambda port=port: accepts(port))  # type: ignore[misc]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.close()
        for child in self._children.values():
            child.stop()

    @property
    def env(self) -> dict[str, str]:
        """The environment for clients of ftrack."""
        return {
            "FTRACK_SERVER": self.api_url,
            "FTRACK_API_USER": seed.API_USER,
            "FTRACK_API_KEY": seed.API_KEY,
        }

    def conduct(
        self, *, latency_s: float = 0, connect_s: float = 0, bytes_s: float | None = None
    ) -> None:
        """Set the latency of responses and connections, and the bytes/s of a connection."""
        wanted = {"latency_s": latency_s, "connect_s": connect_s, "bytes_s": bytes_s}
        for url in (self.api_url, self.store_url):
            self._session.post(f"{url}/-/conduct", json=wanted).raise_for_status()

    def reset(self) -> None:
        """Reset the counts, and remove all entities."""
        for url in (self.api_url, self.store_url):
            self._session.post(f"{url}/-/reset").raise_for_status()

    def api_stats(self) -> dict[str, Any]:
        """Return the counts of the API since the last reset."""
        return self._stats(self.api_url)

    def store_stats(self) -> dict[str, Any]:
        """Return the counts of the store since the last reset."""
        return self._stats(self.store_url)

    def _stats(self, url: str) -> dict[str, Any]:
        stats: dict[str, Any] = self._session.get(f"{url}/-/stats").json()
        return stats
