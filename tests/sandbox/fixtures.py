"""Fixtures for pytest; conftest.py names this module in its ``pytest_plugins``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import RedisServer, Sandbox


@pytest.fixture(scope="session")
def running_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The servers, started once: SeaweedFS alone takes 3 s."""
    with Sandbox.start(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Sandbox:
    """The sandbox as if just started, but for the objects in its store."""
    running_sandbox.reset()
    return running_sandbox


@pytest.fixture(scope="session")
def running_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis without the rest of the sandbox, started once: it is ready in a moment."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_server(running_redis: RedisServer) -> RedisServer:
    """A Redis that is empty and runs, whatever the test before did to it."""
    running_redis.start()
    running_redis.flush()
    return running_redis
