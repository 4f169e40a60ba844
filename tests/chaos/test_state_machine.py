"""The record's state machine: whatever happens in whatever order, the books balance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.chaos.machine import Uploads
from tests.sandbox.redis_server import RedisServer


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    server = RedisServer(tmp_path_factory.mktemp("valkey"))
    server.start()
    with server.client() as client:
        yield client
    server.stop()


def _check(client: redis.Redis, examples: int, steps: int) -> None:
    machine: Any = lambda: Uploads(client)  # noqa: E731 what makes one does as well as a class
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_whatever_happens_in_whatever_order_the_record_stays_consistent(
    valkey: redis.Redis,
) -> None:
    _check(valkey, 60, 40)


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_the_same_with_thousands_of_stories(valkey: redis.Redis) -> None:
    _check(valkey, 500, 60)
