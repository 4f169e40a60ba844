"""Connecting to ftrack or the store ends within its time, however many addresses are dead."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import requests

from tasks.transfer import exchange
from tasks.transfer.exchange import ExchangeAdapter
from tasks.transfer.put import store_session
from tests.unit.odd_server import OddServer, http

DEAD = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")
TIMEOUT_S = 0.8


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port that drops whoever wants to connect, as a host behind a firewall does."""
    with ExitStack() as sockets:
        listener = sockets.enter_context(socket.create_server(("0.0.0.0", 0), backlog=0))
        port = int(listener.getsockname()[1])
        for address in DEAD:
            for _ in range(2):
                client = sockets.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex((address, port))
        yield port


@pytest.fixture(params=["ftrack", "store"])
def session(request: pytest.FixtureRequest) -> Iterator[requests.Session]:
    with store_session(2) if request.param == "store" else requests.Session() as session:
        if request.param == "ftrack":
            session.mount("http://", ExchangeAdapter())
        yield session


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    monkeypatch.setattr(exchange, "_addresses", lambda _host, _port: list(addresses))


def test_all_addresses_share_the_time_to_connect(
    session: requests.Session, full_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, *DEAD)
    begun = time.monotonic()

    with pytest.raises(requests.ConnectTimeout):
        session.get(f"http://store.example:{full_port}/", timeout=TIMEOUT_S)

    assert time.monotonic() - begun < len(DEAD) * TIMEOUT_S


def test_the_next_address_is_tried_when_one_is_dead(
    session: requests.Session, odd: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd.answers = [http(body=b"here")]
    resolve_to(monkeypatch, "127.77.0.1", "127.0.0.1")

    assert session.get(f"http://store.example:{odd.port}/", timeout=10).content == b"here"


def test_the_host_keeps_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS compares it with the certificate."""
    resolve_to(monkeypatch, "127.0.0.1")
    connection = exchange.BoundedConnection("store.example", 1, timeout=1)
    with pytest.raises(Exception, match="refused"):
        connection.connect()
    assert (connection.host, connection.timeout) == ("store.example", 1)
