"""Rate limits: tokens taken from the bucket in Redis, and what happens without Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.config.settings import Settings
from tasks.config.timetable import Timetable
from tasks.records.fail_fast import fail_fast_redis
from tasks.records.keys import BUCKET, LIMITS
from tasks.records.scripts import open_scripts
from tasks.stage import limits as module
from tasks.stage.limits import Limits
from tasks.transfer.errors import LeaseLostError
from tests.sandbox import RedisServer

TABLES = {"bandwidth": Timetable.from_text("1M"), "api_rate": Timetable.from_text("4")}


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    with redis_server.client() as client:
        yield client


def limits(url: str, slept: list[float], tables: Mapping[str, Timetable] = TABLES) -> Limits:
    settings = Settings(url)
    return Limits(open_scripts(settings, fail_fast_redis(settings)), tables, sleep=slept.append)


def test_without_redis_each_process_keeps_to_the_limits(slept: list[float]) -> None:
    alone = limits("redis://127.0.0.1:1/0", slept)
    alone.api_call()
    with alone.transfer(500_000) as throttled:
        sent_bytes = 0
        while sent_bytes < 500_000:
            sent_bytes += throttled(sent_bytes) or 0
    assert slept[0] == 0.25
    assert sum(slept[1:]) == pytest.approx(0.5)  # it waits for its own bytes


def book(client: Any, bucket: str) -> float:
    """Book a bucket for an hour, so that it does not depend on the clock while a test runs."""
    until = float(client.time()[0] + 3600)
    client.set(BUCKET + bucket, until)
    return until


def test_a_small_file_takes_no_more_tokens_than_its_bytes(
    redis_server: RedisServer, client: Any, slept: list[float]
) -> None:
    farm = limits(redis_server.url, slept)
    with farm.transfer(100_000):
        until = book(client, "bandwidth")
        for _ in range(10):
            with farm.transfer(100_000) as throttled:
                throttled(0)
                throttled(100_000)

    assert sum(slept) > 10 * 3590
    assert float(client.get(BUCKET + "bandwidth")) == pytest.approx(until + 1.0, abs=1e-4)


def test_a_transfer_does_not_begin_while_the_farm_sends_all_it_may(
    redis_server: RedisServer, client: Any, slept: list[float]
) -> None:
    farm, until = limits(redis_server.url, slept), book(client, "bandwidth")

    def stop() -> None:
        raise LeaseLostError("u")

    with pytest.raises(LeaseLostError), farm.transfer(100_000, stop):
        raise AssertionError("it has begun")

    assert float(client.get(BUCKET + "bandwidth")) == until, "it takes nothing while it waits"
    client.delete(BUCKET + "bandwidth")
    with farm.transfer(100_000) as throttled:
        assert throttled(0) == 100_000
    assert slept == []


def test_no_other_part_begins_while_one_is_hashed(redis_server: RedisServer, client: Any) -> None:
    """On an idle line, at whose rate a part takes 1.7 s. Each process has its own ``Limits``."""
    tables = {"bandwidth": Timetable.from_text("5M")}
    first, second = (limits(redis_server.url, [], tables) for _ in range(2))
    at = time.monotonic()
    with first.transfer(8 << 20) as throttled:
        piece = throttled(0) or 0
        assert piece == 2 << 20
        with second.transfer(8 << 20):
            assert time.monotonic() - at >= piece / 5e6 - 0.001


def test_bytes_that_are_sent_once_more_take_tokens_once_more(
    redis_server: RedisServer, client: Any, slept: list[float]
) -> None:
    with limits(redis_server.url, slept).transfer(400_000) as throttled:
        until = book(client, "bandwidth")
        for sent_bytes in (0, 256 << 10, 0, 256 << 10):
            throttled(sent_bytes)

    taken_s = float(client.get(BUCKET + "bandwidth")) - until
    assert taken_s == pytest.approx((400_000 * 2 - (256 << 10)) / 1e6, abs=1e-4)


@pytest.mark.parametrize(
    ("rate", "piece"),
    [
        ("100k", 50_000),
        ("1M", 262_144),
        ("26214400", 262_144),
        ("100M", 1_000_000),
        ("10G", 4_194_304),
    ],
)
def test_a_piece_is_a_hundredth_of_the_rate_within_bounds(
    redis_server: RedisServer, client: Any, slept: list[float], rate: str, piece: int
) -> None:
    client.hset(LIMITS, "bandwidth", rate)
    bytes_a_second = Timetable.from_text(rate).at(datetime.now().astimezone()) or 0

    with limits(redis_server.url, slept).transfer(1 << 30) as throttled:
        begun = throttled(0) or 0
        until = book(client, "bandwidth")
        assert throttled(begun) == piece

    taken_s = float(client.get(BUCKET + "bandwidth")) - until
    assert taken_s == pytest.approx(piece / bytes_a_second, abs=2e-6)


def test_a_wait_lasts_until_the_bucket_is_free(
    redis_server: RedisServer, client: Any, slept: list[float]
) -> None:
    until = book(client, "api_rate")
    before, _ = client.time()
    limits(redis_server.url, slept).api_call()
    after, _ = client.time()

    assert until - after - 1 <= sum(slept) <= until - before


def test_a_limit_in_redis_that_is_not_a_rate_changes_nothing(
    redis_server: RedisServer, client: Any, slept: list[float]
) -> None:
    client.hset(LIMITS, mapping={"bandwidth": "very fast", "api_rate": "off"})
    limits(redis_server.url, slept).api_call()
    assert slept == []  # the burst of a farm that made no call yet
    until = book(client, "api_rate")
    limits(redis_server.url, slept).api_call()
    assert float(client.get(BUCKET + "api_rate")) == pytest.approx(until + 1 / 4, abs=1e-4)


def test_a_limit_that_is_removed_stops_within_two_seconds(
    redis_server: RedisServer, client: Any, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("tasks.stage.limits.time.monotonic", lambda: now[0])
    farm = limits(redis_server.url, slept)
    farm.api_call()
    client.hset(LIMITS, "api_rate", "off")
    until = book(client, "api_rate")
    now[0] += 1.5
    farm.api_call()
    assert sum(slept) > 3590
    now[0] += 0.1
    slept.clear()
    farm.api_call()

    assert slept == []
    assert float(client.get(BUCKET + "api_rate")) == pytest.approx(until + 1 / 4, abs=1e-4)


def test_no_thread_goes_without_the_limit_while_it_is_read(
    redis_server: RedisServer, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    book(client, "api_rate")
    client.hset(LIMITS, "api_rate", "4")
    slept: list[float] = []
    settings = Settings(redis_server.url)
    process = Limits(open_scripts(settings, fail_fast_redis(settings)), {}, sleep=slept.append)
    read = module.read_live

    def slowly(client: Any) -> dict[str, str]:
        time.sleep(0.2)
        return read(client)

    monkeypatch.setattr(module, "read_live", slowly)
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(process.api_call) for _ in range(8)]:
            done.result()

    assert sum(slept) > 8 * 3590


@pytest.mark.parametrize(("changed_to", "at_most_s"), [("off", 2.0), ("400", 38.0)])
def test_a_wait_that_has_begun_ends_when_its_limit_is_lifted(
    redis_server: RedisServer,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    changed_to: str,
    at_most_s: float,
) -> None:
    """Whatever was drawn before: an hour at 4 a second is 36 s at 400 a second."""
    now = [1000.0]
    monkeypatch.setattr("tasks.stage.limits.time.monotonic", lambda: now[0])

    def sleep(seconds: float) -> None:
        client.hset(LIMITS, "api_rate", changed_to)
        now[0] += seconds

    settings = Settings(redis_server.url)
    scripts = open_scripts(settings, fail_fast_redis(settings))
    client.hset(LIMITS, "api_rate", "4")
    Limits(scripts, {}, sleep=lambda _: None).api_call()
    book(client, "api_rate")

    Limits(scripts, {}, sleep=sleep).api_call()
    assert now[0] - 1000.0 <= at_most_s
    if changed_to != "off":
        Limits(scripts, {}, sleep=sleep).api_call()
        assert now[0] - 1000.0 <= 2 * at_most_s


def test_a_bucket_that_somebody_has_filled_holds_nobody_up(
    redis_server: RedisServer, client: Any, slept: list[float]
) -> None:
    for value in ("1e300", "x", "nan", "1e12"):
        client.set(BUCKET + "api_rate", value)
        limits(redis_server.url, slept).api_call()

    assert slept == []


@pytest.mark.parametrize("lives_s", [None, 3600])
def test_nobody_holds_up_a_process_by_a_wait_that_lasts(
    redis_server: RedisServer, lives_s: int | None
) -> None:
    scripts = open_scripts(Settings(redis_server.url), fail_fast_redis(Settings(redis_server.url)))
    scripts.client.set(f"{BUCKET}bandwidth:waiting", "nobody", ex=lives_s)
    asked = {"bucket": "bandwidth", "rate": 1e6, "amount": 1, "burst_s": 0.1, "if_free": True}

    assert float(scripts.run("take_tokens", **asked, process="p", held=True)) == 0


def test_only_a_tenth_of_a_second_of_unused_rate_is_caught_up(
    redis_server: RedisServer, client: Any, slept: list[float]
) -> None:
    before, _ = client.time()
    client.set(BUCKET + "api_rate", before - 60)

    limits(redis_server.url, slept).api_call()

    after, _ = client.time()
    free_at = float(client.get(BUCKET + "api_rate"))
    assert before - 0.1 <= free_at - 1 / 4 <= after + 1 - 0.1


def test_all_nodes_keep_a_timetable_in_the_zone_of_the_farm(
    redis_server: RedisServer, client: Any, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    monkeypatch.setattr(module, "REFRESH_S", -1)
    here = datetime.now(UTC)
    hour = (here + timedelta(hours=5)).hour
    table = f"{hour:02}:00-{(hour + 2) % 24:02}:00=7,else=off"
    farm = limits(redis_server.url, slept, {"api_rate": Timetable.from_text(table)})

    in_utc = farm._rate("api_rate")
    client.hset(LIMITS, "zone", "Etc/GMT-5")  # five hours ahead of UTC
    ahead = farm._rate("api_rate")
    client.hset(LIMITS, mapping={"api_rate": "3", "zone": "Europe/Atlantis"})
    unknown = farm._rate("api_rate")
    monkeypatch.undo()
    time.tzset()

    assert (in_utc, ahead) == (None, 7)
    assert unknown == 3, "a zone that this node lacks does not keep it from the limit"


def test_after_some_time_a_process_lets_another_one_begin_first(
    redis_server: RedisServer, client: Any, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HOLD_S", 0.0)
    one, other = limits(redis_server.url, slept), limits(redis_server.url, slept)

    def stop() -> None:
        raise LeaseLostError("u")

    with one.transfer(100_000):
        book(client, "bandwidth")
        with pytest.raises(LeaseLostError), other.transfer(100_000, stop):
            raise AssertionError("the other has begun")
        client.delete(BUCKET + "bandwidth")
        with pytest.raises(LeaseLostError), one.transfer(100_000, stop):
            raise AssertionError("the first has begun once more")
        with other.transfer(100_000) as throttled:
            assert throttled(0) == 100_000
