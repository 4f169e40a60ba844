"""Someone who connects to the exporter and says nothing: the connection is closed."""

from __future__ import annotations

import socket
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.functional.conftest import MakeFarm
from tests.helpers.exporter import exporter
from workers.exporter import IDLE_S

pytestmark = pytest.mark.chaos


def test_a_connection_that_says_nothing_is_closed(make_farm: MakeFarm, tmp_path: Path) -> None:
    with exporter(make_farm(workers=0), tmp_path) as url:
        port = urlsplit(url).port
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
        silent[0].sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert b"farmhaul_redis_up 1.0" in answer.read()
        for one in silent:
            one.settimeout(IDLE_S + 20)
            assert one.recv(100) == b""
            one.close()
