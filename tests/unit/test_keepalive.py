"""Each connection is probed while it is idle, so one whose other side is gone is noticed."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery

from tasks.config.redis_client import shared_redis, worker_redis
from tasks.config.redis_url import parse_redis_url
from tasks.config.settings import Settings
from tasks.intake.deadline import Deadline
from tasks.intake.reach import reach
from tasks.records.fail_fast import fail_fast_redis
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.put import store_session
from tests.sandbox import RedisServer
from tests.unit.odd_server import OddServer, http
from workers.broker.address import celery_address
from workers.broker.transport import Transport

#: The longest time until the other side counts as gone.
NOTICED_WITHIN_S = 45

#: Connects to a URL, and returns what closes the connection.
Connect = Callable[[str], Any]


def hook(url: str) -> Any:
    parsed = parse_redis_url(url)
    return reach(parsed, parsed.hosts[0], Deadline(5))


def redis_by(make: Callable[[Settings], redis.Redis]) -> Connect:
    def connect(url: str) -> Any:
        client = make(Settings(url))
        client.ping()
        return client

    return connect


def broker(url: str) -> Any:
    connection = celery(url).connection_for_read(transport=Transport)
    channel = connection.default_channel
    channel.client.ping()
    channel.async_pool.get_connection()  # as BRPOP, which waits on a connection of its own
    return connection


def result_backend(url: str) -> Any:
    client = celery(url).backend.client
    client.ping()
    return client


def celery(url: str) -> Celery:
    app = Celery(set_as_current=False)
    app.conf.update(celery_address(parse_redis_url(url)))
    return app


def ftrack(url: str, proxy: str = "") -> Any:
    client = FtrackClient(url, "farm", "key")
    client.session.proxies = {"http": proxy}
    client.call([])
    return client.session


def store(url: str, proxy: str = "") -> Any:
    session = store_session(1)
    session.proxies = {"http": proxy}
    session.put(url, b"")
    return session


TO_REDIS: dict[str, Connect] = {
    "a hook": hook,
    "a command": redis_by(fail_fast_redis),
    "a worker": redis_by(worker_redis),
    "its main process": redis_by(shared_redis.__wrapped__),
    "the broker": broker,
    "the result backend": result_backend,
}
BY_HTTP: dict[str, Connect] = {
    "ftrack": ftrack,
    "ftrack by a proxy": partial(ftrack, "http://ftrack.invalid"),
    "the store": store,
    "the store by a proxy": partial(store, "http://store.invalid"),
}


@pytest.mark.parametrize("kind", TO_REDIS)
def test_a_connection_to_redis_is_probed(kind: str, redis_server: RedisServer) -> None:
    with contextlib.closing(TO_REDIS[kind](redis_server.url)):
        check_probed(redis_server.url)


@pytest.mark.parametrize("kind", BY_HTTP)
def test_a_connection_by_http_is_probed(kind: str, odd: OddServer) -> None:
    odd.answers = [http(body=b"[]")]
    with contextlib.closing(BY_HTTP[kind](odd.url)):
        check_probed(odd.url)


def check_probed(url: str) -> None:
    """Check all connections that this process has to a URL."""
    found = 0
    for file in Path("/proc/self/fd").iterdir():
        if not file.is_socket():
            continue
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(file.name))) as one:
            if one.getpeername()[1] != urlsplit(url).port:
                continue
            found += 1
            options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            idle_s, interval_s, count = (
                one.getsockopt(socket.IPPROTO_TCP, option) for option in options
            )
            assert one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert idle_s + interval_s * count <= NOTICED_WITHIN_S
    assert found
