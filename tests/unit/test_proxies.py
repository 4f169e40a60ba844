"""Proxies from the environment: each host gets the one that is meant for it."""

from __future__ import annotations

import pytest

from tasks.transfer.http import send_raw
from tasks.transfer.put import store_session
from tests.unit.odd_server import OddServer


def test_a_host_without_a_proxy_is_reached_after_one_with_it(
    odd: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OddServer() as proxy, store_session(1) as session:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        for url in ("http://store.test/a", f"{odd.url}/b", "http://store.test/c"):
            send_raw(session, "GET", url, {}, service="store").close()

        lines = [request.line for request in proxy.requests]
    assert lines == [f"GET http://store.test/{name} HTTP/1.1".encode() for name in "ac"]
    assert [request.line for request in odd.requests] == [b"GET /b HTTP/1.1"]
