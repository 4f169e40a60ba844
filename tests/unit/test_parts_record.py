"""The parts of a large file's parts, on a real Redis."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tasks.config.redis_client import worker_redis
from tasks.config.sealing import Codec
from tasks.config.settings import Settings
from tasks.intake.request import UploadRequest
from tasks.records.commands import Commands
from tasks.records.delivery import Settlement
from tasks.records.parts import PartsRecord
from tasks.records.record import MAX_DELIVERIES, open_record
from tasks.transfer.models import FileIdentity, Multipart, Transfer
from tasks.transfer.multipart import plan_runs
from tasks.transfer.targets import Target
from tests.sandbox import RedisServer

KEY = Codec(["A" * 43 + "="])
SIZE = 600 << 20
IDENTITY = FileIdentity(SIZE, 1, 2, 3)


@pytest.fixture
def parts(redis_server: RedisServer) -> Iterator[PartsRecord]:
    settings = Settings(redis_server.url, lease_s=5)
    with worker_redis(settings) as client:
        yield PartsRecord(open_record(settings, client), KEY)


@pytest.fixture
def movie(parts: PartsRecord) -> Transfer:
    """A large file in its third stage, with its parts signed."""
    record = parts.record
    target = Target(str(uuid.uuid4()))
    Commands(record.scripts).enqueue([UploadRequest("/mnt/movie.mov", target, SIZE, 1)])
    [transfer] = record.deliver("claim", "compute_checksum", "w1").transfers
    transfer = replace(transfer, identity=IDENTITY)
    fields: dict[str, str | int] = {"file": record.seal_file(transfer), "size": SIZE}
    for stage in ("get_put_metadata", "put_file"):
        record.settle([Settlement(transfer, "advanced", fields)])
        [transfer] = record.deliver("claim", stage, "w1").transfers
    planned = [part for run in plan_runs(SIZE) for part in run]
    urls = {part.number: f"https://store/{part.number}" for part in planned}
    parts.open_multipart(replace(transfer, multipart=Multipart("an-upload", urls)))
    return transfer


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
    changed = replace(movie, identity=replace(IDENTITY, mtime_ns=2))
    assert parts.multipart_id(changed) == ""
    parts.part_done(movie, plan_runs(SIZE)[0][0], "etag")
    parts.open_multipart(
        replace(changed, multipart=Multipart("an-upload", dict.fromkeys(range(1, 100), "u")))
    )
    assert parts.etags(changed) == {}


def test_urls_of_a_key_that_is_gone_are_refused_and_so_signed_again(
    parts: PartsRecord, movie: Transfer
) -> None:
    parts.fan_out(movie, 16)
    other = PartsRecord(parts.record, Codec(["B" * 43 + "="]))
    run = other.start_run(movie.upload_id, movie.fence, 0, "w1")
    assert run is not None
    assert {url for _, url in run.parts} == {""}


def test_a_transfer_without_a_multipart_upload_has_nothing_to_lay(
    parts: PartsRecord, movie: Transfer
) -> None:
    with pytest.raises(ValueError, match="has no multipart upload"):
        parts.open_multipart(movie)


@pytest.mark.parametrize("file", ["[]", "{}", '{"checksum": null, "new": 1}'])
def test_what_is_known_of_a_file_by_a_newer_version_is_refused(
    parts: PartsRecord, movie: Transfer, file: str
) -> None:
    record = parts.record
    [request] = parts.redis.hmget(f"farmhaul:upload:{movie.upload_id}", "request")
    assert isinstance(request, bytes)
    with pytest.raises(ValueError, match="by a version"):
        record.transfer(movie.upload_id, request.decode(), file, "")


def test_whether_a_component_was_located_is_noted_once(parts: PartsRecord, movie: Transfer) -> None:
    assert not parts.located_before(movie, located=False)
    assert not parts.located_before(movie, located=True)

    parts.forget(movie)
    assert parts.located_before(movie, located=True)
    assert parts.located_before(movie, located=False)


def test_only_a_large_file_has_a_multipart_upload(parts: PartsRecord, movie: Transfer) -> None:
    assert parts.with_multipart(movie).multipart is not None
    small = replace(movie, identity=replace(IDENTITY, size_bytes=6))
    assert parts.with_multipart(small).multipart is None
