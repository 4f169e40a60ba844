"""The numbers that decide what becomes of an upload, each on a real Redis.

Every test here fails when its number is off by one.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from cryptography.fernet import Fernet

from tasks.config.sealing import Codec
from tasks.intake.request import PublishRequest, UploadRequest
from tasks.records import keys
from tasks.records.commands import Commands
from tasks.records.delivery import Settlement
from tasks.records.record import (
    CLAIM_BYTES,
    CLAIM_UPLOADS,
    MAX_DELIVERIES,
    OPEN_PUBLISH_S,
    Record,
)
from tasks.records.scripts import Scripts
from tasks.records.states import STAGES
from tasks.transfer.models import LARGE_BYTES, Transfer
from tasks.transfer.targets import Container, Publish, Target
from tests.sandbox import RedisServer
from tests.unit.records import Farm, file_of

LEASE_S = 10
HOUR_S = 3600


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        client.flushdb()
        yield client


@pytest.fixture
def record(client: redis.Redis) -> Record:
    return Record(Scripts(client, Codec([]), lease_s=LEASE_S))


def request_of(size: int = 10, **options: Any) -> UploadRequest:
    return UploadRequest(f"/mnt/{uuid.uuid4()}.exr", Target(str(uuid.uuid4())), size, 1, **options)


def enqueue(record: Record, *requests: UploadRequest) -> list[str]:
    Commands(record.scripts).enqueue(requests)
    return [request.upload_id for request in requests]


def claim(record: Record, claim_id: str = "claim") -> list[Transfer]:
    return record.deliver(claim_id, STAGES[0], "w1").transfers


def field(record: Record, upload_id: str, name: str) -> str:
    return keys.to_text(record.scripts.client.hget(keys.upload_key(upload_id), name))


def test_a_claim_takes_fifty_uploads_and_not_one_more(record: Record) -> None:
    enqueue(record, *(request_of() for _ in range(CLAIM_UPLOADS + 1)))

    assert [len(claim(record, name)) for name in ("one", "two")] == [CLAIM_UPLOADS, 1] == [50, 1]


def test_a_claim_takes_so_many_bytes_and_not_one_more(record: Record) -> None:
    part = CLAIM_BYTES // 4
    assert part == LARGE_BYTES == 64 << 20
    enqueue(record, *(request_of(part) for _ in range(4)))
    assert len(claim(record, "fits")) == 4

    enqueue(record, *(request_of(part) for _ in range(4)), request_of(1))
    assert len(claim(record, "does not")) == 4
    assert len(claim(record, "the rest")) == 1


def test_a_large_file_is_a_claim_of_its_own(record: Record) -> None:
    small, large = request_of(1), request_of(LARGE_BYTES + 1)
    for request in (small, large):
        enqueue(record, request)
        next_millisecond(record)

    claims = [claim(record, name) for name in ("one", "two")]

    ids = [[transfer.upload_id for transfer in transfers] for transfers in claims]
    assert ids == [[small.upload_id], [large.upload_id]]


@pytest.mark.parametrize("stage", STAGES)
def test_an_upload_fails_when_it_was_delivered_too_often(record: Record, stage: str) -> None:
    [upload_id] = enqueue(record, request_of())
    transfers = claim(record)
    for number in range(STAGES.index(stage)):
        record.settle([Settlement(transfers[0], "advanced")])
        transfers = record.deliver("claim", STAGES[number + 1], "w1").transfers
    # The first delivery of the stage is above.
    for _ in range(MAX_DELIVERIES - 1):
        assert record.deliver("claim", stage, "w1").transfers
        assert field(record, upload_id, "state") == "active"

    assert record.deliver("claim", stage, "w2").transfers == []
    assert field(record, upload_id, "state") == "failed"
    assert field(record, upload_id, "error_kind") == "WorkerKilled"
    assert "w2" in field(record, upload_id, "error")
    assert MAX_DELIVERIES == 5


def test_a_batch_is_taken_apart_at_its_third_delivery(record: Record) -> None:
    first, second = enqueue(record, request_of(), request_of())
    assert [len(claim(record)) for _ in range(2)] == [2, 2], "once, and after one death"

    assert claim(record) == []

    assert [field(record, one, "state") for one in (first, second)] == ["pending", "pending"]
    # From here on each is delivered by itself.
    assert [len(claim(record, name)) for name in ("one", "two")] == [1, 1]


def test_a_single_upload_is_not_taken_apart(record: Record) -> None:
    enqueue(record, request_of())

    assert [len(claim(record)) for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(("strikes", "passes"), [(2, True), (3, False)])
def test_a_gate_closes_at_the_third_strike(record: Record, strikes: int, passes: bool) -> None:
    for _ in range(strikes):
        enqueue(record, request_of())
        [transfer] = claim(record, str(uuid.uuid4()))
        record.settle([Settlement(transfer, "retrying", {}, retry_of(gate="store"))])
    enqueue(record, request_of())

    assert bool(claim(record, "another")) is passes


def test_a_closed_gate_lets_one_upload_through_as_a_probe(record: Record) -> None:
    enqueue(record, *(request_of() for _ in range(CLAIM_UPLOADS + 1)))
    client = record.scripts.client
    client.hset(keys.gate_key("ftrack"), mapping={"until": 1, "strikes": 3})

    assert len(claim(record, "the probe")) == 1
    assert claim(record, "behind it") == []


def test_a_good_answer_opens_the_gate(record: Record) -> None:
    [upload_id] = enqueue(record, request_of())
    [transfer] = claim(record)
    client = record.scripts.client
    client.hset(keys.gate_key("ftrack"), mapping={"until": 9e9, "strikes": 3})

    record.settle([Settlement(transfer, "pending")], answered=["ftrack"])

    assert not client.exists(keys.gate_key("ftrack"))
    assert [one.upload_id for one in claim(record, "next")] == [upload_id]


@pytest.mark.parametrize(("max_tries", "state"), [(2, "failed"), (3, "retrying")])
def test_the_last_try_fails(record: Record, max_tries: int, state: str) -> None:
    [upload_id] = enqueue(record, request_of())
    for _ in range(2):
        [transfer] = claim(record, str(uuid.uuid4()))
        [now] = record.settle(
            [Settlement(transfer, "retrying", {}, retry_of(max_tries=max_tries))]
        ).values()
        make_due(record)

    assert now == state
    assert field(record, upload_id, "tries:Refused") == "2"


@pytest.mark.parametrize(
    ("waited_s", "state"), [(HOUR_S - 60, "retrying"), (HOUR_S + 60, "failed")]
)
def test_patience_ends_when_it_is_used_up(record: Record, waited_s: int, state: str) -> None:
    [upload_id] = enqueue(record, request_of())
    [transfer] = claim(record)
    key = keys.upload_key(upload_id)
    record.scripts.client.hset(key, "since", now_of(record) - waited_s)

    [now] = record.settle(
        [Settlement(transfer, "retrying", {}, retry_of(patience_s=HOUR_S))]
    ).values()

    assert now == state


@pytest.mark.parametrize(
    ("options", "delay_s"),
    [
        ({"delay_s": 4, "cap_s": 100}, 4),
        ({"delay_s": 4, "cap_s": 3}, 3),
        ({"delay_s": 4, "cap_s": 100, "jitter": 0.5}, 2),
        ({"delay_s": 4, "cap_s": 100, "jitter": 0, "at_least_s": 7}, 7),
    ],
    ids=["the delay", "its cap", "jitter", "its least"],
)
def test_the_first_retry_waits_for(record: Record, options: dict[str, float], delay_s: int) -> None:
    assert delays(record, 1, **options) == pytest.approx([delay_s], abs=0.5)


def test_each_retry_waits_twice_as_long_up_to_the_cap(record: Record) -> None:
    found = delays(record, 5, delay_s=4, cap_s=40)

    assert found == pytest.approx([4, 8, 16, 32, 40], abs=0.5)


def test_the_lease_of_a_claim_is_twice_the_interval(record: Record) -> None:
    enqueue(record, request_of())
    claim(record)

    deadline = record.scripts.client.zscore(keys.CLAIMS, "claim")

    assert deadline == pytest.approx(now_of(record) + 0.75 * LEASE_S, abs=2)


@pytest.mark.parametrize(
    ("open_s", "state"), [(OPEN_PUBLISH_S - 60, "storing"), (86_460, "failed")]
)
def test_a_publish_may_stay_open_for_a_day(record: Record, open_s: int, state: str) -> None:
    sequence = Target.under_version(str(uuid.uuid4()), "exr")
    publish = Publish((Container(sequence, ".exr", 4),))
    files = (request_of(is_member=True), request_of(is_member=True))
    request = PublishRequest("/mnt", sequence.component_id, publish, files)
    commands = Commands(record.scripts)
    commands.write([commands.new_record(request)])  # its hook dies here
    record.scripts.client.zadd(keys.OPEN, {request.upload_id: now_of(record) - open_s})

    record.apply_due()

    assert field(record, request.upload_id, "state") == state


def test_the_scores_of_pending_uploads_go_by_class_preview_and_age(record: Record) -> None:
    def made(priority: str, *, encode: bool = False) -> UploadRequest:
        target = Target.under_version(str(uuid.uuid4()), "main", encode=encode)
        return UploadRequest(f"/mnt/{uuid.uuid4()}.mov", target, 1, 1, priority)

    low, normal, urgent = (made(priority) for priority in ("low", "normal", "urgent"))
    preview, later = made("normal", encode=True), made("urgent")
    enqueue(record, low, normal, preview, urgent)
    next_millisecond(record)
    enqueue(record, later)

    order = record.scripts.client.zrange(keys.PENDING, 0, -1)

    wanted = [urgent, later, preview, normal, low]
    assert [keys.to_text(one) for one in order] == [request.upload_id for request in wanted]


@pytest.mark.parametrize("asked_at", ["1795", "later", True])
def test_an_odd_time_of_asking_means_now(record: Record, asked_at: Any) -> None:
    component = Target(str(uuid.uuid4()))
    older, newer = (UploadRequest(f"/mnt/{n}.exr", component, 1, n) for n in (1, 2))
    commands = Commands(record.scripts)
    commands.enqueue([older])
    odd = commands.new_record(newer)

    [enqueued] = commands.write([odd._replace(asked_at=asked_at)])

    assert enqueued.state == ("superseded" if asked_at == "1795" else "pending")
    # The component is not poisoned either.
    assert commands.enqueue([UploadRequest("/mnt/3.exr", component, 1, 3)])[0].state == "pending"


def retry_of(**options: float | str) -> dict[str, float | str]:
    """Return how an upload is tried again, without jitter: after two seconds, up to nine times."""
    return {
        "kind": "Refused",
        "error": "no",
        "max_tries": 9,
        "patience_s": HOUR_S,
        "delay_s": 2,
        "cap_s": 60,
        "jitter": 1,
        "at_least_s": 0,
        "gate": "",
        **options,
    }


def delays(record: Record, count: int, **options: float) -> list[float]:
    """Return how long an upload waits before each of its retries, in seconds."""
    [upload_id] = enqueue(record, request_of())
    found = []
    for _ in range(count):
        [transfer] = claim(record, str(uuid.uuid4()))
        record.settle([Settlement(transfer, "retrying", {}, retry_of(**options))])
        found.append(float(field(record, upload_id, "due")) - now_of(record))
        make_due(record)
    return found


def next_millisecond(record: Record) -> None:
    """Wait until Redis gives another score to what is enqueued."""
    before = now_of(record)
    while now_of(record) < before + 0.001:
        pass


def make_due(record: Record) -> None:
    client: Any = record.scripts.client
    for upload_id in client.zrange(keys.RETRYING, 0, -1):
        client.zadd(keys.RETRYING, {upload_id: 0})
    record.apply_due()


def now_of(record: Record) -> float:
    seconds, microseconds = record.scripts.client.time()
    return float(seconds) + microseconds / 1e6


def test_a_path_with_a_nul_fails_alone(record: Record) -> None:
    """Without a key, anybody may write such a record; no system can open the file."""
    good = request_of()
    bad = request_of()._replace(path="/mnt/a\0b.exr")
    enqueue(record, good, bad)

    delivery = record.deliver("claim", STAGES[0], "w1")

    assert [transfer.upload_id for transfer in delivery.transfers] == [good.upload_id]
    [refused] = delivery.refused
    assert refused.transfer.upload_id == bad.upload_id
    assert "not one that a file can have" in str((refused.retry or {})["error"])


def test_a_retry_asks_again_for_a_file_that_a_worker_has_read(farm: Farm) -> None:
    farm.commands = Commands(Scripts(farm.client, Codec([Fernet.generate_key().decode()])))
    farm.record = Record(farm.commands.scripts)
    codec, asked_at = farm.commands.scripts.codec, time.time() - 9 * 86400
    requests = [file_of(asked_at=asked_at) for _ in range(2)]
    seen, unseen = farm.enqueue(*requests)
    farm.client.hset(keys.upload_key(seen), "file", "sealed by a worker")
    for upload_id in (seen, unseen):
        farm.commands.cancel(upload_id)
        assert farm.commands.retry(upload_id).is_new

    assert codec.decode(farm.field(seen, "request"))["asked_at"] > time.time() - 60
    assert codec.decode(farm.field(unseen, "request"))["asked_at"] == asked_at
