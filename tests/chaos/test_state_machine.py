"""The record's state machine: whatever happens in whatever order, the books balance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.chaos.machine import Uploads
from tests.chaos.publish_machine import PublishedUploads
from tests.sandbox.redis_server import RedisServer


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    server = RedisServer(tmp_path_factory.mktemp("valkey"))
    server.start()
    with server.client() as client:
        yield client
    server.stop()


def check_machine(
    machine: Callable[[redis.Redis], Any], client: redis.Redis, examples: int
) -> None:
    # What makes one does as well as a class.
    make: Any = lambda: machine(client)  # noqa: E731
    run_state_machine_as_test(
        make,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(600)
def test_the_record_is_consistent_after_any_sequence_of_events(
    valkey: redis.Redis,
) -> None:
    check_machine(Uploads, valkey, 25)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_same_with_a_hundred_stories(valkey: redis.Redis) -> None:
    check_machine(Uploads, valkey, 100)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_publish_whose_hook_fires_again_is_always_located(
    valkey: redis.Redis,
) -> None:
    check_machine(PublishedUploads, valkey, 40)
