"""Limits when Redis is away, or when somebody has written nonsense there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tasks.config.redis_client import fail_fast_redis
from tasks.config.settings import Settings
from tasks.config.timetable import Timetable
from tasks.records.keys import LIMITS
from tasks.records.scripts import open_scripts
from tasks.stage.limits import Limits
from tests.sandbox import RedisServer

TABLES = {"bandwidth": Timetable.from_text("1M"), "api_rate": Timetable.from_text("4")}


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    with redis_server.client() as client:
        yield client


def limits(url: str, slept: list[float]) -> Limits:
    settings = Settings(url)
    return Limits(open_scripts(settings, fail_fast_redis(settings)), TABLES, sleep=slept.append)


def test_without_redis_each_process_keeps_to_the_limits_for_itself(slept: list[float]) -> None:
    alone = limits("redis://127.0.0.1:1/0", slept)
    alone.api_call()
    throttled = alone.throttle(500_000)
    for sent_bytes in range(0, 500_000, 100_000):
        throttled(sent_bytes)
    assert slept[0] == 0.25
    assert sum(slept[1:]) == pytest.approx(0.5)  # each waits for what it drew itself


def test_a_small_file_draws_no_more_than_it_has(
    redis_server: RedisServer, slept: list[float]
) -> None:
    farm = limits(redis_server.url, slept)
    for _ in range(10):
        throttled = farm.throttle(100_000)
        throttled(0)
        throttled(100_000)
    assert slept[-1] == pytest.approx(0.9 - 0.1, abs=0.1)


def test_a_limit_in_redis_that_is_none_changes_nothing(
    redis_server: RedisServer, client: Any, slept: list[float]
) -> None:
    client.hset(LIMITS, mapping={"bandwidth": "very fast", "api_rate": "off"})
    limits(redis_server.url, slept).api_call()
    assert slept == []  # the burst of a farm that made no call yet
    rate = limits(redis_server.url, slept)
    for _ in range(5):
        rate.api_call()
    assert slept[-1] > 0.5


def test_a_limit_that_is_taken_back_is_heeded_within_seconds(
    redis_server: RedisServer, client: Any, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = limits(redis_server.url, slept)
    farm.api_call()
    client.hset(LIMITS, "api_rate", "off")
    later = time.monotonic() + 3
    monkeypatch.setattr("tasks.stage.limits.time.monotonic", lambda: later)
    slept.clear()
    farm.api_call()
    assert slept == []
