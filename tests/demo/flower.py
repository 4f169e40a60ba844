"""Flower for the demo's workers, on a free port of loopback."""

from __future__ import annotations

import http.client
import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.sandbox.process import CHECKOUT, Child, accepts, free_ports

SUCCEEDED = re.compile(
    r'^flower_events_total\{task="farmhaul\.(\w+)",type="task-succeeded".*\} (\S+)$', re.MULTILINE
)


class Flower:
    """The pages on which operators watch tasks, with the settings of ``deploy/flower``."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        """Start it; `wait_ready` waits."""
        [self.port] = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        command = [str(Path(sys.executable).with_name("celery")), "-A", "workers", "flower"]
        options = [f"--conf={CHECKOUT / 'deploy' / 'flower' / 'flowerconfig.py'}"]
        options += ["--address=127.0.0.1", f"--port={self.port}"]
        # Only users of this machine can reach it, so it needs no login.
        ours = {"FARMHAUL_FLOWER_OPEN": "yes", "FLOWER_DB": str(folder / "flower")}
        log = folder / "flower.log"
        self._child = Child("flower", [*command, *options], log, env={**env, **ours})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop()

    def wait_ready(self) -> None:
        self._child.wait_ready(lambda: accepts(self.port))

    def succeeded(self) -> Counter[str]:
        """Return how many tasks of each name it has seen succeed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        seen: Counter[str] = Counter()
        for task, count in SUCCEEDED.findall(text):
            seen[task] += int(float(count))
        return seen
