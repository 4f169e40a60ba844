"""The parts of a large file's parts, on a real Redis."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tasks.config.redis_client import worker_redis
from tasks.config.sealing import Codec, Signer
from tasks.config.settings import Settings
from tasks.intake.request import UploadRequest
from tasks.records.commands import Commands
from tasks.records.delivery import Settlement
from tasks.records.keys import gate_key
from tasks.records.parts import PartsRecord, Run
from tasks.records.record import MAX_DELIVERIES, open_record
from tasks.records.states import SERVICES
from tasks.transfer.models import FileIdentity, Multipart, Transfer
from tasks.transfer.multipart import plan_runs
from tasks.transfer.targets import Target
from tests.sandbox import RedisServer

KEY = Codec(["A" * 43 + "="])
SIGNER = Signer([b"a key"])
SIZE = 150 << 20
IDENTITY = FileIdentity(SIZE, 1, 2, 3)


@pytest.fixture
def parts(redis_server: RedisServer) -> Iterator[PartsRecord]:
    settings = Settings(redis_server.url, lease_s=5)
    with worker_redis(settings) as client:
        yield PartsRecord(open_record(settings, client), KEY, SIGNER)


@pytest.fixture
def movie(parts: PartsRecord) -> Transfer:
    """A large file in its third stage, with its parts signed."""
    record = parts.record
    target = Target(str(uuid.uuid4()))
    Commands(record.scripts).enqueue([UploadRequest("/mnt/movie.mov", target, SIZE, 1)])
    [transfer] = record.deliver("claim", "compute_checksum", "w1").transfers
    transfer = replace(transfer, identity=IDENTITY)
    fields: dict[str, str | int] = {"file": record.form.file_field(transfer), "size": SIZE}
    for stage in ("get_put_metadata", "put_file"):
        record.settle([Settlement(transfer, "advanced", fields)])
        [transfer] = record.deliver("claim", stage, "w1").transfers
    planned = [part for run in plan_runs(SIZE) for part in run]
    urls = {part.number: f"https://store/{part.number}" for part in planned}
    transfer = replace(transfer, multipart=Multipart("an-upload", urls))
    parts.open_multipart(transfer)
    return transfer


def finish(parts: PartsRecord, movie: Transfer, number: int) -> None:
    """Note a part as its worker does."""
    planned = {part.number: part for run in plan_runs(SIZE) for part in run}
    assert parts.part_done(movie, planned[number], f"etag {number}")


def test_a_part_that_the_store_has_taken_opens_its_gate(
    parts: PartsRecord, movie: Transfer
) -> None:
    """Nobody waits for the end of a large file that is the probe."""
    client = parts.record.scripts.client
    for service in SERVICES:
        client.hset(gate_key(service), mapping={"until": 1, "probe": movie.upload_id})

    finish(parts, movie, 1)

    closed = [service for service in SERVICES if client.exists(gate_key(service))]
    assert closed == ["ftrack", "credentials"]


def first_run(parts: PartsRecord, movie: Transfer) -> dict[int, str]:
    """Return what the first run has to send: the URLs by part number."""
    run = parts.start_run(movie.upload_id, movie.fence, 0, "w1")
    assert isinstance(run, Run)
    return {part.number: url for part, url in run.parts}


def test_a_run_that_kills_its_worker_each_time_ends_the_upload(
    parts: PartsRecord, movie: Transfer
) -> None:
    parts.fan_out(movie, 16)
    for _ in range(MAX_DELIVERIES):
        assert parts.start_run(movie.upload_id, movie.fence, 0, "w1")
    assert parts.start_run(movie.upload_id, movie.fence, 0, "w1") is None
    state, error = parts.redis.hmget(f"farmhaul:upload:{movie.upload_id}", "state", "error")
    assert (state, b"killed its worker 5 times" in (error or b"")) == (b"failed", True)


def test_a_run_that_is_tried_again_often_has_not_killed_its_worker(
    parts: PartsRecord, movie: Transfer
) -> None:
    parts.fan_out(movie, 16)
    for _ in range(3 * MAX_DELIVERIES):
        assert parts.start_run(movie.upload_id, movie.fence, 0, "w1")
        parts.survived(movie, 0)


def test_the_task_that_ends_the_last_run_joins_and_no_other(
    parts: PartsRecord, movie: Transfer
) -> None:
    first, *others = parts.fan_out(movie, 2)
    assert [first, *others] == [0, 1]
    for number, run in enumerate(plan_runs(SIZE)):
        for part in run:
            assert parts.part_done(movie, part, "etag")
        ended = parts.end_run(movie, number, f"task {number}")
        assert ended == ((number == 2), 2 if number == 0 else None)
    # Delivered again, the last one joins again; another does not.
    assert parts.end_run(movie, 2, "task 2") == (True, None)
    assert parts.end_run(movie, 1, "task 1") == (False, None)
    assert sorted(parts.etags(movie)) == [part.number for run in plan_runs(SIZE) for part in run]


def test_who_holds_an_old_fencing_number_writes_no_part(
    parts: PartsRecord, movie: Transfer
) -> None:
    [newer] = parts.record.deliver("claim", "put_file", "w2").transfers
    newer = replace(newer, multipart=movie.multipart)
    part = plan_runs(SIZE)[0][0]
    assert not parts.part_done(movie, part, "etag")
    assert parts.fan_out(movie, 16) == []
    assert parts.start_run(movie.upload_id, movie.fence, 0, "w1") is None
    assert parts.end_run(movie, 0, "task") == (False, None)
    assert parts.part_done(newer, part, "etag")


def test_parts_are_trusted_only_while_the_file_is_the_same(
    parts: PartsRecord, movie: Transfer
) -> None:
    assert parts.multipart_id(movie) == "an-upload"
    for mtime_ns in (IDENTITY.mtime_ns - 1, IDENTITY.mtime_ns + 1):
        changed = replace(movie, identity=replace(IDENTITY, mtime_ns=mtime_ns))
        assert parts.multipart_id(changed) == ""
    parts.part_done(movie, plan_runs(SIZE)[0][0], "etag")
    parts.open_multipart(
        replace(changed, multipart=Multipart("an-upload", dict.fromkeys(range(1, 100), "u")))
    )
    assert parts.etags(changed) == {}


def test_parts_of_another_size_are_not_trusted(
    parts: PartsRecord, movie: Transfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when two versions of farmhaul cut files in different ways."""
    finish(parts, movie, 1)
    monkeypatch.setattr("tasks.records.parts.part_size_bytes", lambda _: 16 << 20)

    assert parts.multipart_id(movie) == ""
    assert parts.etags(movie) == {}


def test_urls_of_a_key_that_is_gone_are_refused_and_so_signed_again(
    parts: PartsRecord, movie: Transfer
) -> None:
    parts.fan_out(movie, 16)
    other = PartsRecord(parts.record, Codec(["B" * 43 + "="]), SIGNER)
    assert set(first_run(other, movie).values()) == {""}


def test_urls_of_another_multipart_upload_or_run_are_refused(
    parts: PartsRecord, movie: Transfer
) -> None:
    parts.fan_out(movie, 16)
    key = f"farmhaul:parts:{movie.upload_id}"
    assert first_run(parts, movie)[1] == "https://store/1"

    ours, others = parts.redis.hmget(key, ["urls:0", "urls:1"])
    swapped: list[dict[Any, Any]] = [{"urls:0": others}, {"urls:0": ours, "multipart": "another"}]
    parts.redis.hset(key, mapping=swapped[0])
    assert set(first_run(parts, movie).values()) == {""}

    parts.redis.hset(key, mapping=swapped[1])
    assert set(first_run(parts, movie).values()) == {""}


def test_what_is_sealed_for_something_else_is_no_url(parts: PartsRecord, movie: Transfer) -> None:
    parts.fan_out(movie, 16)
    key = f"farmhaul:parts:{movie.upload_id}"
    others: list[Any] = [[{}] * 16, ["https://store/1"], "https://store/1", {"path": "/etc/x"}]
    for value in others:
        parts.redis.hset(key, "urls:0", KEY.encode(value))
        assert set(first_run(parts, movie).values()) == {""}, value


def test_an_etag_that_no_worker_has_signed_is_refused(parts: PartsRecord, movie: Transfer) -> None:
    finish(parts, movie, 1)
    finish(parts, movie, 2)
    key = f"farmhaul:parts:{movie.upload_id}"
    signed = parts.redis.hget(key, "seal:2")
    forged: dict[Any, Any] = {
        "etag:1": "altered",
        "etag:3": "invented",
        "seal:3": "0" * 32,
        "etag:4": "etag 2",  # copied
        "seal:4": signed,
        "etag:5": "by an older version",
        "done": 99,
    }
    parts.redis.hset(key, mapping=forged)

    assert parts.etags(movie) == {2: "etag 2"}
    assert parts.fan_out(movie, 16) == [0, 1, 2]
    assert parts.redis.hget(key, "done") == b"1"
    assert sorted(first_run(parts, movie)) == [1, *range(3, 9)]
    for number in (1, 3):
        finish(parts, movie, number)
    assert parts.etags(movie) == {1: "etag 1", 2: "etag 2", 3: "etag 3"}
    assert parts.redis.hget(key, "done") == b"3"


def test_an_etag_of_another_upload_or_version_is_refused(
    parts: PartsRecord, movie: Transfer
) -> None:
    finish(parts, movie, 1)
    key = f"farmhaul:parts:{movie.upload_id}"
    others = (
        replace(movie, upload_id="another"),
        replace(movie, identity=replace(IDENTITY, mtime_ns=2)),
    )
    parts.redis.copy(key, "farmhaul:parts:another")
    assert [parts.etags(other) for other in others] == [{}, {}]
    assert parts.etags(movie) == {1: "etag 1"}
    parts.redis.hset(key, "multipart", "another")
    assert parts.etags(movie) == {}


def test_a_forged_etag_is_replaced_by_the_workers(parts: PartsRecord, movie: Transfer) -> None:
    parts.fan_out(movie, 16)
    parts.redis.hset(f"farmhaul:parts:{movie.upload_id}", mapping={"etag:1": "x", "seal:1": ""})
    assert 1 in first_run(parts, movie)
    finish(parts, movie, 1)
    assert parts.etags(movie) == {1: "etag 1"}


def test_without_a_secret_key_etags_are_not_signed(parts: PartsRecord, movie: Transfer) -> None:
    plain = PartsRecord(parts.record, KEY, Signer([]))
    finish(plain, movie, 1)
    assert plain.etags(movie) == {1: "etag 1"}
    assert parts.etags(movie) == {}


def test_a_transfer_without_a_multipart_upload_has_nothing_to_lay(
    parts: PartsRecord, movie: Transfer
) -> None:
    with pytest.raises(ValueError, match="has no multipart upload"):
        parts.open_multipart(replace(movie, multipart=None))


@pytest.mark.parametrize("file", ["[]", "{}", '{"checksum": null, "new": 1}'])
def test_what_is_known_of_a_file_by_a_newer_version_is_refused(
    parts: PartsRecord, movie: Transfer, file: str
) -> None:
    record = parts.record
    [request] = parts.redis.hmget(f"farmhaul:upload:{movie.upload_id}", "request")
    assert isinstance(request, bytes)
    with pytest.raises(ValueError, match="by a version"):
        record.form.read(movie.upload_id, request.decode(), file)


def test_only_a_worker_can_say_that_the_parts_are_joined(
    parts: PartsRecord, movie: Transfer
) -> None:
    assert not parts.is_joined(movie)
    parts.note_joined(movie)
    assert parts.is_joined(movie)
    for seal in ("", "0" * 32):
        parts.redis.hset(f"farmhaul:upload:{movie.upload_id}", "joined_seal", seal)
        assert not parts.is_joined(movie)


def test_whether_a_component_was_located_is_noted_once(parts: PartsRecord, movie: Transfer) -> None:
    assert not parts.located_before(movie, located=False)
    assert not parts.located_before(movie, located=True)

    parts.forget(movie)
    assert parts.located_before(movie, located=True)
    assert parts.located_before(movie, located=False)


def test_only_a_worker_can_say_that_a_component_was_not_located(
    parts: PartsRecord, movie: Transfer
) -> None:
    """Otherwise its location would show that the parts are joined, which they are not."""
    assert parts.located_before(movie, located=True)
    key = f"farmhaul:parts:{movie.upload_id}"
    parts.redis.hset(key, "located_before", 0)
    assert parts.located_before(movie, located=True)
    parts.redis.hdel(key, "located_before_seal")
    assert parts.located_before(movie, located=True)


def test_a_note_without_its_seal_counts_if_it_is_still_so(
    parts: PartsRecord, movie: Transfer
) -> None:
    """As a former version writes it, or one of which only the first half was written."""
    key = f"farmhaul:parts:{movie.upload_id}"
    parts.redis.hset(key, "located_before", 0)
    assert not parts.located_before(movie, located=False)
    assert not parts.located_before(movie, located=True)

    parts.redis.hdel(key, "located_before_seal")
    assert parts.located_before(movie, located=True)


def test_only_a_large_file_has_a_multipart_upload(parts: PartsRecord, movie: Transfer) -> None:
    unsigned = replace(movie, multipart=None)
    assert parts.with_multipart(unsigned).multipart is not None
    small = replace(unsigned, identity=replace(IDENTITY, size_bytes=6))
    assert parts.with_multipart(small).multipart is None
