"""The runs of a large file's parts, when messages come twice and uploads are signed again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.config.sealing import Codec, Signer
from tasks.parts import _urls
from tasks.records import keys
from tasks.records.parts import PartsRecord, Run
from tasks.records.record import MAX_DELIVERIES
from tasks.records.states import STAGES
from tasks.records.status import Status
from tasks.records.upload_state import UploadState
from tasks.transfer.models import FileIdentity, Multipart, Transfer
from tasks.transfer.multipart import Part, plan_runs
from tests.unit.records import Farm, file_of

SIZE = 150 << 20
RUNS = plan_runs(SIZE)
URLS = {part.number: f"https://store/{part.number}" for run in RUNS for part in run}


@pytest.fixture
def parts(farm: Farm) -> PartsRecord:
    return PartsRecord(farm.record, Codec([]), Signer([]))


@pytest.fixture
def movie(farm: Farm, parts: PartsRecord) -> Transfer:
    """A large file in its third stage, with its parts signed."""
    farm.enqueue(file_of(size=SIZE))
    [first] = farm.deliver()
    known = replace(first, identity=FileIdentity(SIZE, 1, 2, 3), multipart=Multipart("m", URLS))
    farm.settle(first, "advanced", file=farm.record.form.file_field(known))
    for stage in STAGES[1:3]:
        [transfer] = farm.deliver(stage)
        if stage != STAGES[2]:
            farm.settle(transfer, "advanced")
    movie = replace(known, fence=transfer.fence)
    parts.open_multipart(movie)
    return movie


def part_fields(farm: Farm, movie: Transfer) -> dict[str, str]:
    fields: dict[str, str] = farm.client.hgetall(keys.parts_key(movie.upload_id))
    return fields


def finish(parts: PartsRecord, movie: Transfer, *planned: Part) -> None:
    for part in planned:
        assert parts.part_done(movie, part, "etag")


def test_parts_that_are_signed_again_stay_stored(
    farm: Farm, parts: PartsRecord, movie: Transfer
) -> None:
    finish(parts, movie, RUNS[0][0])
    parts.expire(movie)
    assert not parts.is_signed(movie)

    parts.open_multipart(movie)

    assert parts.is_signed(movie)
    assert parts.etags(movie) == {1: "etag"}
    assert farm.field(movie.upload_id, "sent") == str(RUNS[0][0].size_bytes)
    lifetime = farm.client.ttl(keys.parts_key(movie.upload_id))
    assert lifetime == pytest.approx(farm.ttl_s, abs=5)


def test_parts_of_another_multipart_upload_are_dropped(
    farm: Farm, parts: PartsRecord, movie: Transfer
) -> None:
    finish(parts, movie, RUNS[0][0])
    parts.fan_out(movie, 1)

    parts.open_multipart(replace(movie, multipart=Multipart("another", URLS)))

    assert parts.etags(movie) == {}
    assert not farm.client.exists(keys.runs_key(movie.upload_id))
    assert farm.field(movie.upload_id, "sent") == "0"


def test_who_holds_an_old_fencing_token_opens_nothing(
    farm: Farm, parts: PartsRecord, movie: Transfer
) -> None:
    farm.deliver(STAGES[2])

    parts.open_multipart(replace(movie, multipart=Multipart("another", URLS)))

    assert part_fields(farm, movie)["multipart"] == "m"


def test_a_part_that_is_noted_twice_counts_once(
    farm: Farm, parts: PartsRecord, movie: Transfer
) -> None:
    part = RUNS[0][0]

    finish(parts, movie, part, part)

    assert part_fields(farm, movie)["done"] == "1"
    assert farm.field(movie.upload_id, "sent") == str(part.size_bytes)
    assert farm.counted("stored_bytes") == part.size_bytes


def test_runs_that_are_queued_again_are_queued_once(
    farm: Farm, parts: PartsRecord, movie: Transfer
) -> None:
    for _ in range(2):
        assert parts.fan_out(movie, 1) == [0]

    key = keys.runs_key(movie.upload_id)
    assert farm.client.lrange(key, 0, -1) == ["1", "2"]
    assert farm.client.ttl(key) == pytest.approx(farm.ttl_s, abs=5)
    finish(parts, movie, *RUNS[0])
    assert [parts.end_run(movie, number, "t") for number in (0, 1)] == [(False, 1), (False, 2)]
    assert parts.end_run(movie, 2, "t") == (False, None)


def test_parts_that_are_queued_again_may_have_another_joiner(
    parts: PartsRecord, movie: Transfer
) -> None:
    finish(parts, movie, *(part for run in RUNS for part in run))
    assert parts.fan_out(movie, 1) == []
    assert parts.end_run(movie, 2, "the first") == (True, None)
    assert parts.end_run(movie, 2, "another") == (False, None)

    parts.fan_out(movie, 1)

    assert parts.end_run(movie, 2, "another") == (True, None)


def test_a_run_that_ends_before_parts_are_counted_is_not_last(
    parts: PartsRecord, movie: Transfer
) -> None:
    assert parts.end_run(movie, 0, "task") == (False, None)


def test_a_run_shows_its_worker(farm: Farm, parts: PartsRecord, movie: Transfer) -> None:
    assert parts.start_run(movie.upload_id, movie.fence, 0, "node9")

    assert farm.field(movie.upload_id, "worker") == "node9"
    assert farm.counted("redelivered") == 0


def test_a_run_that_has_ended_has_not_killed_its_worker(
    parts: PartsRecord, movie: Transfer
) -> None:
    for _ in range(2):
        for _ in range(MAX_DELIVERIES):
            assert parts.start_run(movie.upload_id, movie.fence, 1, "w1")
        parts.end_run(movie, 1, "task")


def test_a_file_that_killed_its_workers_can_be_retried(
    farm: Farm, parts: PartsRecord, movie: Transfer
) -> None:
    for _ in range(MAX_DELIVERIES + 1):
        parts.start_run(movie.upload_id, movie.fence, 1, "w1")
    assert farm.state(movie.upload_id) == "failed"
    assert farm.counted("failed") == {"WorkerKilled": 1}

    farm.commands.retry(movie.upload_id)

    [again] = farm.pass_stages(STAGES[2], "again")
    assert parts.start_run(movie.upload_id, again.fence, 1, "w1")


def test_a_join_that_was_not_answered_is_known_the_next_time(
    parts: PartsRecord, movie: Transfer
) -> None:
    assert parts.join_asked(movie) is None
    assert parts.join_asked(movie) is not None

    parts.join_answered(movie)

    assert parts.join_asked(movie) is None


def shown(farm: Farm, movie: Transfer) -> UploadState:
    [state] = Status(farm.client, Codec([])).find([movie.upload_id])
    assert state is not None
    return state


def beat(farm: Farm, movie: Transfer, run: int, ahead: int) -> None:
    """Report the bytes of a run's parts that are under way."""
    farm.record.heartbeat("claim", {movie.upload_id: (movie.fence, -1)}, (run, ahead))


def test_the_progress_counts_parts_that_are_under_way_once(
    farm: Farm, parts: PartsRecord, movie: Transfer
) -> None:
    part = RUNS[0][0]
    beat(farm, movie, 0, part.size_bytes - 5)
    beat(farm, movie, 1, 1000)
    assert shown(farm, movie).sent_bytes == part.size_bytes + 995

    parts.part_done(movie, part, "etag", (0, 7))

    assert shown(farm, movie).sent_bytes == part.size_bytes + 1007
    parts.start_run(movie.upload_id, movie.fence, 1, "w2")
    assert shown(farm, movie).sent_bytes == part.size_bytes + 7, "what a killed worker had begun"
    parts.fan_out(movie, 1)
    assert shown(farm, movie).sent_bytes == part.size_bytes


def test_the_rate_is_known_after_some_seconds(farm: Farm, movie: Transfer) -> None:
    beat(farm, movie, 0, 0)
    assert shown(farm, movie).left_s is None
    key = keys.upload_key(movie.upload_id)
    farm.client.hset(key, "rate_at", float(farm.field(movie.upload_id, "rate_at")) - 10)

    beat(farm, movie, 0, 50 << 20)

    state = shown(farm, movie)
    assert state.bytes_s == pytest.approx(5 << 20, rel=0.2)
    assert state.left_s == pytest.approx(20, rel=0.2)
    farm.client.hset(key, "rate_at", float(farm.field(movie.upload_id, "rate_at")) - 40)
    beat(farm, movie, 0, 60 << 20)
    assert shown(farm, movie).bytes_s is None, "a pause says nothing"


def test_a_part_that_is_stored_forgets_what_was_refused_before(
    farm: Farm, parts: PartsRecord, movie: Transfer
) -> None:
    """A file that takes days is signed again each time its URLs expire."""
    key = keys.upload_key(movie.upload_id)
    forgotten = {"tries:UrlRefusedError": 4, "since": 1, "retries": 4, "failed_alone": 4}
    farm.client.hset(key, mapping={**forgotten, "tries:MultipartGoneError": 2})

    finish(parts, movie, RUNS[0][0])

    assert farm.client.hmget(key, *forgotten) == [None] * 4
    assert farm.field(movie.upload_id, "tries:MultipartGoneError") == "2"


def test_a_file_that_makes_progress_is_not_what_kills_workers(
    parts: PartsRecord, movie: Transfer
) -> None:
    part = iter(RUNS[0])
    for _ in range(3):
        for _ in range(MAX_DELIVERIES):
            assert parts.start_run(movie.upload_id, movie.fence, 1, "w1")
        finish(parts, movie, next(part))

    assert parts.start_run(movie.upload_id, movie.fence, 1, "w1")


def test_a_process_signs_the_parts_of_a_file_once_for_all_its_runs(
    monkeypatch: pytest.MonkeyPatch, movie: Transfer
) -> None:
    asked = answer_signing(monkeypatch, "m")
    for run in RUNS:
        assert urls_of(movie, run) == {part: URLS[part.number] for part in run}
    assert asked == [movie.fence]

    # Signed again, because the store refuses the URLs: these have expired too.
    again = replace(movie, fence=movie.fence + 1)
    for run in RUNS:
        assert urls_of(again, run) == {part: URLS[part.number] for part in run}
    assert asked == [movie.fence, again.fence]


@pytest.mark.parametrize(
    "url", ["http://10.0.0.7/key", "https://127.0.0.1:2375/", "https://a:b@c/"]
)
def test_a_sealed_url_that_ftrack_may_not_name_is_not_used(
    monkeypatch: pytest.MonkeyPatch, movie: Transfer, url: str
) -> None:
    """Whoever has an operator's key can seal it."""
    answer_signing(monkeypatch, "m")
    assert urls_of(movie, RUNS[0], url) == {part: URLS[part.number] for part in RUNS[0]}


def test_a_server_that_opens_another_upload_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, movie: Transfer
) -> None:
    asked = answer_signing(monkeypatch, "another")
    for fence in (movie.fence, movie.fence, movie.fence + 1):
        assert set(urls_of(replace(movie, fence=fence), RUNS[0]).values()) == {""}
    assert asked == [movie.fence]


def test_a_process_keeps_the_urls_of_the_latest_files_only(
    monkeypatch: pytest.MonkeyPatch, movie: Transfer
) -> None:
    asked = answer_signing(monkeypatch, "m")
    files = [replace(movie, upload_id=f"upload {number}", fence=number) for number in range(5)]
    for file in [*files, files[4], files[0]]:
        urls_of(file, RUNS[0])
    assert asked == [0, 1, 2, 3, 4, 0]


def answer_signing(monkeypatch: pytest.MonkeyPatch, multipart_id: str) -> list[int]:
    """Let ftrack answer with a multipart upload; return the fencing tokens for which it did."""
    asked: list[int] = []

    def sign(_: object, transfers: list[Transfer]) -> dict[str, Transfer]:
        [transfer] = transfers
        asked.append(transfer.fence)
        return {transfer.upload_id: replace(transfer, multipart=Multipart(multipart_id, URLS))}

    monkeypatch.setattr("tasks.parts.sign", sign)
    monkeypatch.setattr("tasks.parts._signed_here", OrderedDict())
    return asked


def urls_of(movie: Transfer, run: Sequence[Part], sealed: str = "") -> dict[Part, str]:
    """Return the URLs that a node uses which finds no others in the record."""
    clients: Any = SimpleNamespace(ftrack=SimpleNamespace(server_url="https://ftrack.example"))
    return _urls(clients, Run(movie, tuple((part, sealed) for part in run)))
