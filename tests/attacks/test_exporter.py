"""Someone who connects to the exporter and says nothing, and a page elsewhere that reads it."""

from __future__ import annotations

import http.client
import socket
import urllib.request
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client import CollectorRegistry, start_http_server

from tests.functional.conftest import MakeFarm
from tests.helpers.exporter import exporter
from workers import metrics_server
from workers.metrics_server import IDLE_S


def test_an_exporter_on_loopback_answers_no_page_elsewhere(
    make_farm: MakeFarm, tmp_path: Path
) -> None:
    """A name of theirs leads to loopback, so that their scripts may read the answer."""
    with exporter(make_farm(workers=0), tmp_path) as url:
        port = urlsplit(url).port
        for host in (f"localhost:{port}", f"[::1]:{port}", f"127.0.0.1:{port}"):
            assert status_of(url, {"Host": host}) == 200
        for headers in (
            *({"Host": host} for host in ("rebound.example.com", f"127.0.0.1.example.com:{port}")),
            *({"Host": host} for host in ("localhost@example.com", "")),
            {"Origin": "http://example.com"},
            {"Sec-Fetch-Site": "cross-site"},
        ):
            assert status_of(url, headers) == 403


def test_an_exporter_in_a_container_answers_no_rebound_name(
    make_farm: MakeFarm, tmp_path: Path
) -> None:
    browser = {"Accept-Language": "en"}
    with exporter(make_farm(workers=0), tmp_path, "--address=0.0.0.0") as url:
        # As Prometheus names it, in compose and in a cluster.
        for host in ("exporter:9840", "farmhaul-exporter.farm.svc:9840", "10.0.0.7:9840"):
            assert status_of(url, {"Host": host}) == 200
        for host in ("localhost:9840", "127.0.0.1", "[fe80::1]:9840", "node7"):
            assert status_of(url, {"Host": host, **browser}) == 200
        for host in ("rebound.example.com", "rebound.example.com:9840", "127.0.0.1.example.com"):
            assert status_of(url, {"Host": host, **browser}) == 403


def status_of(url: str, headers: dict[str, str]) -> int:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    try:
        connection.request("GET", address.path, headers=headers)
        answer = connection.getresponse()
        assert (b"farmhaul_" in answer.read()) == (answer.status == 200)
        return answer.status
    finally:
        connection.close()


@pytest.mark.slow
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


def test_a_connection_that_drips_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "LONGEST_S", 0.5)
    server, thread = start_http_server(0, "127.0.0.1", CollectorRegistry())
    server.RequestHandlerClass = metrics_server.with_time_limits(server.RequestHandlerClass)
    answer: bytes | None = None
    try:
        with socket.create_connection(("127.0.0.1", server.server_port), 30) as dripping:
            dripping.settimeout(0.1)
            while answer is None:  # a test that never ends fails by its time limit
                with suppress(TimeoutError):
                    dripping.sendall(b"y")
                    answer = dripping.recv(1)
    except ConnectionError:
        answer = b""  # closed, before the last byte was read
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert answer == b""
