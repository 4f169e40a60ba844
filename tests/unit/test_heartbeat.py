"""Signs of life: who was silent for too long, or was overtaken, goes no step further."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import redis

from tasks.config.sealing import Codec
from tasks.intake.request import UploadRequest
from tasks.records.commands import Commands
from tasks.records.keys import upload_key
from tasks.records.record import Record
from tasks.records.scripts import Scripts
from tasks.stage.heartbeat import INTERVAL_S, LEASE_SHARE, Heartbeat
from tasks.transfer.errors import LeaseLostError
from tasks.transfer.models import Batch, Target
from tests.sandbox import RedisServer

LEASE_S = 10.0


class Clock:
    """A clock that a test turns on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url, retry=None) as client:
        yield client


@pytest.fixture
def record(client: redis.Redis) -> Record:
    return Record(Scripts(client, Codec([]), lease_s=LEASE_S))


@pytest.fixture
def batch(record: Record) -> Batch:
    """Two uploads, delivered to a worker."""
    requests = [
        UploadRequest(f"/mnt/{n}.exr", Target(str(uuid.uuid4())), 6, 1_000) for n in range(2)
    ]
    Commands(record.scripts).enqueue(requests)
    delivery = record.deliver("a-claim", "compute_checksum", "node7")
    assert len(delivery.transfers) == 2
    return Batch("a-claim", tuple(delivery.transfers))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def beat(record: Record, batch: Batch, clock: Clock) -> Heartbeat:
    return Heartbeat(record, batch, clock)


@pytest.fixture
def sent_of(client: redis.Redis) -> Callable[[str], str]:
    """Reads the progress that the record shows."""

    def read(upload_id: str) -> str:
        value = client.hget(upload_key(upload_id), "sent")
        return value.decode() if isinstance(value, bytes) else ""

    return read


def test_progress_is_noted_once_a_second_at_most(
    beat: Heartbeat, batch: Batch, clock: Clock, sent_of: Callable[[str], str]
) -> None:
    upload_id = batch.transfers[0].upload_id

    beat(upload_id, 100)
    assert sent_of(upload_id) == ""

    clock.now += INTERVAL_S
    beat(upload_id, 200)
    assert sent_of(upload_id) == "200"

    clock.now += INTERVAL_S / 2
    beat(upload_id, 300)
    assert sent_of(upload_id) == "200"


def test_an_upload_goes_on_for_as_long_as_it_shows_life(
    beat: Heartbeat, batch: Batch, clock: Clock
) -> None:
    for _ in range(100):
        clock.now += LEASE_S / 2
        beat(batch.transfers[0].upload_id)


def test_who_was_silent_for_a_lease_goes_no_step_further(
    beat: Heartbeat, batch: Batch, clock: Clock, sent_of: Callable[[str], str]
) -> None:
    upload_id = batch.transfers[0].upload_id
    clock.now += LEASE_SHARE * LEASE_S + 0.1

    for _ in range(2):
        with pytest.raises(LeaseLostError, match=upload_id):
            beat(upload_id, 100)
        clock.now += INTERVAL_S

    assert sent_of(upload_id) == ""


def test_an_upload_that_another_delivery_took_over_stops_and_the_rest_goes_on(
    beat: Heartbeat, batch: Batch, clock: Clock, client: redis.Redis
) -> None:
    taken, ours = (one.upload_id for one in batch.transfers)
    client.hincrby(upload_key(taken), "fence", 1)
    clock.now += INTERVAL_S

    # That of the batch which has not begun is asked about too.
    beat(ours)

    with pytest.raises(LeaseLostError, match=taken):
        beat(taken)
    beat(ours)


def test_a_cancelled_upload_stops(
    beat: Heartbeat, batch: Batch, clock: Clock, record: Record
) -> None:
    upload_id = batch.transfers[0].upload_id
    Commands(record.scripts).cancel(upload_id)
    clock.now += INTERVAL_S

    with pytest.raises(LeaseLostError):
        beat(upload_id)


def test_while_redis_is_away_an_upload_goes_on_until_its_lease_ends(
    beat: Heartbeat, batch: Batch, clock: Clock, redis_server: RedisServer
) -> None:
    upload_id = batch.transfers[0].upload_id
    redis_server.kill()

    for _ in range(8):
        clock.now += 1
        beat(upload_id)
    clock.now += 2

    with pytest.raises(LeaseLostError):
        beat(upload_id)


def test_while_one_thread_asks_redis_the_others_go_on(
    record: Record, batch: Batch, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking, answered = threading.Event(), threading.Event()
    really = record.heartbeat
    asked = []

    def slowly(*args: object) -> set[str]:
        asked.append(1)
        asking.set()
        assert answered.wait(5)
        return really(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(record, "heartbeat", slowly)
    beat = Heartbeat(record, batch, clock)
    first, other = (one.upload_id for one in batch.transfers)
    clock.now += INTERVAL_S
    thread = threading.Thread(target=beat, args=(first,))
    thread.start()
    assert asking.wait(5)
    clock.now += INTERVAL_S

    beat(other)

    answered.set()
    thread.join(5)
    assert asked == [1]


def test_an_older_delivery_of_the_same_batch_is_told_that_it_lost(
    record: Record, batch: Batch, clock: Clock
) -> None:
    old = replace(batch.transfers[0], fence=batch.transfers[0].fence - 1)
    beat = Heartbeat(record, Batch(batch.claim_id, (old,)), clock)
    clock.now += INTERVAL_S

    with pytest.raises(LeaseLostError):
        beat(old.upload_id)
