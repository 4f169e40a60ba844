"""The lifetime counters, and what a publish records of its files, each exact."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis

from tasks.config.sealing import Codec, Signer
from tasks.intake.request import PublishRequest, UploadRequest
from tasks.records import keys
from tasks.records.commands import Commands
from tasks.records.counters import NAMES, read
from tasks.records.delivery import Settlement
from tasks.records.publishes import DueJobs, Publishes
from tasks.records.record import Record
from tasks.records.scripts import Scripts
from tasks.records.states import PREVIEW_STEP, STAGES
from tasks.transfer.models import FileIdentity, Transfer
from tasks.transfer.targets import Container, Publish, Target
from tests.sandbox import RedisServer

SIZE = 700


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        client.flushdb()
        yield client


@pytest.fixture
def record(client: redis.Redis) -> Record:
    return Record(Scripts(client, Codec([])))


@pytest.fixture
def commands(record: Record) -> Commands:
    return Commands(record.scripts)


def request_of(**options: Any) -> UploadRequest:
    return UploadRequest(f"/mnt/{uuid.uuid4()}.exr", Target(str(uuid.uuid4())), SIZE, 1, **options)


def publish_of(count: int) -> PublishRequest:
    sequence = Target.under_version(str(uuid.uuid4()), "exr")
    files = tuple(
        UploadRequest(f"/mnt/{n}.exr", Target.frame(sequence, str(n)), SIZE, 1, is_member=True)
        for n in range(count)
    )
    publish = Publish((Container(sequence, ".exr", 4),))
    return PublishRequest("/mnt", sequence.component_id, publish, files)


def known(record: Record, transfer: Transfer, **options: Any) -> Settlement:
    """Return the settlement of a stage that knows the file, and may have stored it."""
    identity = FileIdentity(SIZE, 1, 2, 3)
    done = replace(transfer, identity=identity, checksum="x", **options)
    stored = done.content_fingerprint if done.stored else ""
    file = record.form.file_field(done)
    fields: dict[str, str | int] = {"file": file, "size": SIZE, "stored": stored}
    return Settlement(transfer, "stored" if done.is_member else "advanced", fields)


def pass_stages(record: Record, claim: str = "claim") -> Transfer:
    """Bring one upload through all stages but the last, and return its delivery to that."""
    for stage in STAGES[:-1]:
        [transfer] = record.deliver(claim, stage, "w1").transfers
        record.settle([known(record, transfer, stored=stage == "put_file")])
    [transfer] = record.deliver(claim, STAGES[-1], "w1").transfers
    return transfer


def test_a_new_farm_shows_each_counter_as_zero(client: redis.Redis) -> None:
    totals = read(client)

    assert totals.plain == dict.fromkeys(NAMES, 0)
    assert (totals.by_kind, totals.seconds_sum) == ({}, 0)
    assert {*totals.buckets.values()} == {0}
    assert [*totals.buckets][-2:] == ["131072", "+Inf"], "the scripts count what is longer as +Inf"


def test_a_counter_that_cannot_be_read_is_left_out(client: redis.Redis) -> None:
    odd = {"stored": "text", "located": "-1", "seconds_sum": "nan", "failed:A": "inf", "A-b": "1"}
    for name, value in {**odd, "enqueued": "2"}.items():
        client.hset(keys.TOTALS, name, value)

    totals = read(client)

    assert totals.plain == {**dict.fromkeys(NAMES, 0), "enqueued": 2}
    assert (totals.by_kind, totals.seconds_sum) == ({}, 0)


def test_a_located_upload_counts_once(record: Record, commands: Commands) -> None:
    request = request_of()
    for is_new in (True, False):
        assert commands.enqueue([request]) == [("pending", is_new)]
    transfer = pass_stages(record)
    record.settle([Settlement(transfer, "located", {"size": SIZE})])

    # Asked for again, ftrack still has it.
    assert commands.enqueue([request]) == [("pending", True)]
    [transfer] = record.deliver("again", STAGES[0], "w").transfers
    record.settle([Settlement(transfer, "located")])
    totals = read(record.scripts.client)
    counted = {name: count for name, count in totals.plain.items() if count}
    assert counted == {
        "enqueued": 1,
        "located": 1,
        "located_bytes": SIZE,
        "stored_bytes": SIZE,
    }
    assert totals.buckets["+Inf"] == 1
    assert totals.seconds_sum > 0


@pytest.mark.parametrize(
    ("age_s", "bound"),
    [(-60, "1"), (40, "64"), (600, "1024"), (100_000, "131072"), (200_000, "+Inf")],
)
def test_durations_count_by_powers_of_two(
    record: Record, commands: Commands, age_s: int, bound: str
) -> None:
    request = request_of()
    commands.enqueue([request])
    client = record.scripts.client
    seconds, _ = client.time()
    begun_ms = int((seconds - age_s) * 1000)
    client.hset(keys.upload_key(request.upload_id), "score", 10**13 + PREVIEW_STEP + begun_ms)

    record.settle([Settlement(pass_stages(record), "located", {"size": SIZE})])

    buckets = read(client).buckets
    assert next(name for name, count in buckets.items() if count) == bound
    assert read(client).seconds_sum == pytest.approx(max(age_s, 0), abs=20)


def test_a_failure_counts_by_its_kind(record: Record, commands: Commands) -> None:
    commands.enqueue([request_of()])
    [transfer] = record.deliver("claim", STAGES[0], "w1").transfers
    record.settle([Settlement(transfer, "failed", {"error": "no", "error_kind": "Refused"})])

    totals = read(record.scripts.client)
    assert totals.by_kind["failed"] == {"Refused": 1}
    assert totals.plain["located"] == 0


def test_a_lost_claim_counts_once_and_locks_its_worker_out(
    record: Record, commands: Commands
) -> None:
    commands.enqueue([request_of(), request_of()])
    held = record.deliver("claim", STAGES[0], "w1").transfers
    record.scripts.client.zadd(keys.CLAIMS, {"claim": 1})

    assert record.reclaim("claim") == 2
    assert set(record.settle([known(record, one) for one in held]).values()) == {"lost"}
    assert read(record.scripts.client).plain["claims_lost"] == 1
    assert record.reclaim("claim") == 0


def test_a_publish_counts_the_bytes_of_its_stored_files(record: Record, commands: Commands) -> None:
    request = publish_of(2)
    assert commands.enqueue([request]) == [("storing", True)]
    assert commands.enqueue([request]) == [("storing", False)]
    first, second = record.deliver("claim", STAGES[0], "w1").transfers

    def sent() -> tuple[str, str]:
        values = record.scripts.client.hmget(keys.upload_key(request.upload_id), "sent", "state")
        return keys.to_text(values[0]), keys.to_text(values[1])

    record.settle([known(record, first, stored=True)])
    assert sent() == (str(SIZE), "storing")
    record.settle([known(record, second, stored=True)])
    assert sent() == (str(2 * SIZE), "pending")
    assert read(record.scripts.client).plain["stored"] == 2
    assert read(record.scripts.client).plain["stored_bytes"] == 2 * SIZE


def test_a_publish_fails_with_the_error_of_its_file(record: Record, commands: Commands) -> None:
    request = publish_of(2)
    commands.enqueue([request])
    file, _ = record.deliver("claim", STAGES[0], "w1").transfers
    record.settle([Settlement(file, "failed", {"error": "torn", "error_kind": "Torn"})])

    names = ("state", "error", "error_kind")
    values = record.scripts.client.hmget(keys.upload_key(request.upload_id), *names)
    assert [keys.to_text(value) for value in values] == ["failed", "torn", "Torn"]


def test_a_publish_that_is_retried_waits_for_all_its_files(
    record: Record, commands: Commands
) -> None:
    request = publish_of(2)
    commands.enqueue([request])
    first, second = record.deliver("claim", STAGES[0], "w1").transfers
    record.settle([known(record, first, stored=True)])
    record.settle([Settlement(second, "failed", {"error": "torn", "error_kind": "Torn"})])

    assert commands.retry(request.upload_id) == ("", "storing", True)
    left = record.scripts.client.smembers(keys.left_key(request.upload_id))
    both = {first.upload_id, second.upload_id}
    assert {keys.to_text(one) for one in left} == both
    assert commands.retry(request.upload_id).state == "storing"
    again = record.deliver("again", STAGES[0], "w1").transfers
    assert {one.upload_id for one in again} == both


@pytest.mark.parametrize("priority", ["urgent", "normal", "low"])
@pytest.mark.parametrize("encode", [True, False])
def test_a_retry_keeps_the_place_in_the_queue(
    record: Record, commands: Commands, priority: str, encode: bool
) -> None:
    target = Target.under_version(str(uuid.uuid4()), "main", encode=encode)
    request = UploadRequest("/mnt/main.mov", target, SIZE, 1, priority)
    client: Any = record.scripts.client
    commands.enqueue([request])
    [(_, before)] = client.zrange(keys.PENDING, 0, -1, withscores=True)
    commands.cancel(request.upload_id)

    assert commands.retry(request.upload_id).is_new
    [(_, after)] = client.zrange(keys.PENDING, 0, -1, withscores=True)
    assert after // PREVIEW_STEP == before // PREVIEW_STEP


def test_only_a_worker_can_say_which_thumbnail_is_set_again(
    record: Record, commands: Commands
) -> None:
    record = Record(record.scripts, signer=Signer([b"a key of the farm"]))
    about = {"version": str(uuid.uuid4()), "thumbnail": str(uuid.uuid4())}
    requests = [request_of(), request_of()]
    commands.enqueue(requests)
    genuine, other = (
        replace(
            transfer,
            job_ids=(str(uuid.uuid4()),),
            encoded_version=about["version"],
            thumbnail_id=about["thumbnail"],
        )
        for transfer in record.deliver("a claim", STAGES[0], "w1").transfers
    )
    fields = record.form.job_fields(genuine)
    record.settle([Settlement(genuine, "located", dict(fields))])
    copied = {**record.form.job_fields(other), "thumbnail_seal": fields["thumbnail_seal"]}
    record.settle([Settlement(other, "located", dict(copied))])

    due = Publishes(record).take_due_jobs(60, 10)

    assert due[genuine.upload_id] == DueJobs([*genuine.job_ids], *about.values())
    assert due[other.upload_id] == DueJobs([*other.job_ids])


def test_each_encoding_job_is_due_once_in_its_interval(record: Record, commands: Commands) -> None:
    requests = [request_of(), request_of()]
    jobs = [[str(uuid.uuid4()), str(uuid.uuid4())] for _ in requests]
    for number, request in enumerate(requests):
        commands.enqueue([request])
        transfer = pass_stages(record, f"claim {number}")
        # What is no UUID would become part of a query.
        named = ",".join([*jobs[number], "x' or id like '"])
        record.settle([Settlement(transfer, "located", {"jobs": named})])
    publishes = Publishes(record)

    due = publishes.take_due_jobs(60, 10)

    found = {upload_id: one.jobs for upload_id, one in due.items()}
    assert found == {one.upload_id: jobs[n] for n, one in enumerate(requests)}
    assert publishes.take_due_jobs(60, 10) == {}
    publishes.record_job_state(requests[0].upload_id, "done", final=True)
    assert record.scripts.client.zcard(keys.JOBS) == 1


def test_what_somebody_counts_without_end_is_read_to_a_bound(client: redis.Redis) -> None:
    odd: dict[Any, Any] = {f"failed:K{number}": 1 for number in range(3000)}
    odd |= {f"{'x' * (number // 26)}{chr(97 + number % 26)}": 1 for number in range(900)}
    odd |= {f"{name}:kind": 1 for name in [*odd][3000:]}
    client.hset(keys.TOTALS, mapping={**odd, "located": 7})

    totals = read(client)
    assert totals.plain["located"] == 7
    assert sum(map(len, totals.by_kind.values())) < 700
    assert len(totals.plain) + len(totals.by_kind) <= 200
