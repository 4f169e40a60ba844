"""``farmhaul exporter`` as a process, and the files that use its metrics."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.farm import BIN, Farm
from tests.sandbox.process import CHECKOUT, Child, free_ports

MONITORING = CHECKOUT / "deploy" / "monitoring"


@contextmanager
def exporter(farm: Farm, tmp_path: Path, *options: str) -> Iterator[str]:
    """Run the command with these options; yields the URL of its metrics."""
    [port] = free_ports(1)
    command = [str(BIN / "farmhaul"), "exporter", "--port", str(port), *options]
    child = Child("exporter", command, tmp_path / "exporter.log", env=farm.env)
    try:
        child.wait_ready(lambda: _listens(port))
        yield f"http://127.0.0.1:{port}/metrics"
    finally:
        child.stop()


def _listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 1):
        return True
