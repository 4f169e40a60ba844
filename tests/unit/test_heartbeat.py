"""Heartbeats: a worker that was silent for too long, or has lost its upload, stops."""

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
from tasks.records.keys import CLAIMS, upload_key
from tasks.records.record import Record
from tasks.records.scripts import Scripts
from tasks.stage.heartbeat import INTERVAL_S, LEASE_SHARE, Heartbeat
from tasks.transfer.errors import LeaseLostError
from tasks.transfer.models import Batch
from tasks.transfer.targets import Target
from tests.sandbox import RedisServer

LEASE_S = 10.0


class Clock:
    """A clock that a test sets."""

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
def heartbeat(record: Record, batch: Batch, clock: Clock) -> Heartbeat:
    return Heartbeat(record, batch, clock)


@pytest.fixture
def sent_of(client: redis.Redis) -> Callable[[str], str]:
    """Reads the progress that the record shows."""

    def read(upload_id: str) -> str:
        value = client.hget(upload_key(upload_id), "sent")
        return value.decode() if isinstance(value, bytes) else ""

    return read


def test_progress_is_written_once_a_second_at_most(
    heartbeat: Heartbeat, batch: Batch, clock: Clock, sent_of: Callable[[str], str]
) -> None:
    upload_id = batch.transfers[0].upload_id

    heartbeat(upload_id, 100)
    assert sent_of(upload_id) == ""

    clock.now += INTERVAL_S
    heartbeat(upload_id, 200)
    assert sent_of(upload_id) == "200"

    clock.now += INTERVAL_S / 2
    heartbeat(upload_id, 300)
    assert sent_of(upload_id) == "200"


def test_regular_heartbeats_keep_an_upload_beyond_its_lease(
    heartbeat: Heartbeat, batch: Batch, clock: Clock, sent_of: Callable[[str], str]
) -> None:
    upload_id = batch.transfers[0].upload_id

    for count in range(1, 101):
        clock.now += LEASE_S / 2
        heartbeat(upload_id, count)
        assert sent_of(upload_id) == str(count)


def test_a_heartbeat_renews_the_claim_in_redis(
    heartbeat: Heartbeat, batch: Batch, clock: Clock, client: redis.Redis
) -> None:
    client.zadd(CLAIMS, {batch.claim_id: 1})
    clock.now += INTERVAL_S

    heartbeat(batch.transfers[0].upload_id)

    deadline, (now_s, _) = client.zscore(CLAIMS, batch.claim_id), client.time()
    assert deadline is not None
    assert deadline > now_s


def test_a_worker_that_was_silent_for_its_lease_stops(
    heartbeat: Heartbeat, batch: Batch, clock: Clock, sent_of: Callable[[str], str]
) -> None:
    upload_id = batch.transfers[0].upload_id
    clock.now += LEASE_SHARE * LEASE_S + 0.1

    for _ in range(2):  # and it stays lost
        with pytest.raises(LeaseLostError, match=upload_id):
            heartbeat(upload_id, 100)
        clock.now += INTERVAL_S

    assert sent_of(upload_id) == ""


def test_only_the_upload_that_was_taken_over_stops(
    heartbeat: Heartbeat, batch: Batch, clock: Clock, client: redis.Redis
) -> None:
    taken, ours = (transfer.upload_id for transfer in batch.transfers)
    client.hincrby(upload_key(taken), "fence", 1)
    clock.now += INTERVAL_S

    # It asks about the whole batch, even about uploads that have not started.
    heartbeat(ours)

    with pytest.raises(LeaseLostError, match=taken):
        heartbeat(taken)
    heartbeat(ours)


def test_a_cancelled_upload_stops(
    heartbeat: Heartbeat, batch: Batch, clock: Clock, record: Record
) -> None:
    upload_id = batch.transfers[0].upload_id
    Commands(record.scripts).cancel(upload_id)
    clock.now += INTERVAL_S

    with pytest.raises(LeaseLostError):
        heartbeat(upload_id)


def test_without_redis_an_upload_goes_on_until_its_lease_ends(
    heartbeat: Heartbeat, batch: Batch, clock: Clock, redis_server: RedisServer
) -> None:
    upload_id = batch.transfers[0].upload_id
    redis_server.kill()

    for _ in range(8):
        clock.now += 1
        heartbeat(upload_id)
    clock.now += 2

    with pytest.raises(LeaseLostError):
        heartbeat(upload_id)


def test_other_threads_go_on_while_one_asks_redis(
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
    heartbeat = Heartbeat(record, batch, clock)
    first, other = (transfer.upload_id for transfer in batch.transfers)
    clock.now += INTERVAL_S
    thread = threading.Thread(target=heartbeat, args=(first,))
    thread.start()
    assert asking.wait(5)
    clock.now += INTERVAL_S

    heartbeat(other)

    answered.set()
    thread.join(5)
    assert asked == [1]


def test_an_older_delivery_of_the_same_batch_stops(
    record: Record, batch: Batch, clock: Clock
) -> None:
    old = replace(batch.transfers[0], fence=batch.transfers[0].fence - 1)
    heartbeat = Heartbeat(record, Batch(batch.claim_id, (old,)), clock)
    clock.now += INTERVAL_S

    with pytest.raises(LeaseLostError):
        heartbeat(old.upload_id)


def test_what_has_not_started_keeps_its_progress(
    heartbeat: Heartbeat, batch: Batch, clock: Clock, client: redis.Redis
) -> None:
    started, other = (transfer.upload_id for transfer in batch.transfers)
    client.hset(upload_key(other), "sent", 5)
    clock.now += INTERVAL_S

    heartbeat(started)

    assert [client.hget(upload_key(one), "sent") for one in (started, other)] == [b"0", b"5"]


def test_a_thread_keeps_the_lease_while_a_block_is_stuck(
    heartbeat: Heartbeat, batch: Batch, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    def confirm(*_: object) -> set[str]:
        asked.set()
        return set()

    monkeypatch.setattr("tasks.stage.heartbeat.INTERVAL_S", 0.01)
    monkeypatch.setattr(heartbeat._record, "heartbeat", confirm)
    with heartbeat:
        for _ in range(2):
            clock.now += 0.7 * LEASE_S
            assert asked.wait(5)
            asked.clear()
        heartbeat(batch.transfers[0].upload_id)
