"""Large files go in parts, over any worker, and finished parts outlive what breaks."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.farm import Farm, Upload, Worker, wait_until
from tests.functional.conftest import MakeFarm
from tests.sandbox import seed

MIB = 1 << 20
#: 9 parts of 8 MiB and a rest, in two runs.
SIZE = 72 * MIB + 4711


@pytest.fixture
def movie(farm: Farm) -> Path:
    return farm.make_file("sh010 cut.mov", SIZE)


def part_numbers(farm: Farm, component_id: str) -> Counter[int]:
    """How often each part was stored."""
    return Counter(
        put["part_number"]
        for put in farm.sandbox.store.puts(component_id)
        if put["status"] == 200 and put["part_number"]
    )


def runs_taken_by(worker: Worker) -> set[str]:
    """Return the ids of the tasks that sent a run of parts."""
    return set(re.findall(r"farmhaul\.put_parts\[([0-9a-f-]+)\]", worker.log_text()))


def upload_large(farm: Farm, path: Path) -> Upload:
    return farm.upload("--version-id", farm.sandbox.ftrack.version_id, path=path)


def md5_of(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def assert_located_whole(farm: Farm, upload: Upload) -> None:
    farm.wait_located([upload.id], timeout_s=60)
    assert farm.sandbox.store.md5(upload.component_id) == md5_of(upload.path)
    assert len(farm.sandbox.ftrack.locations(upload.component_id)) == 1


def test_a_large_file_is_sent_in_parts_each_once(farm: Farm, movie: Path) -> None:
    upload = upload_large(farm, movie)
    assert_located_whole(farm, upload)
    assert part_numbers(farm, upload.component_id) == Counter(range(1, 11))
    # One call signs all parts; one asks for a location, one joins the parts and makes it. Workers
    # may ask for other things meanwhile.
    calls = [str(call["operations"]) for call in farm.sandbox.ftrack.calls()]
    assert len([call for call in calls if upload.component_id in call]) == 3
    assert not farm.redis.exists(f"farmhaul:parts:{upload.id}")


def test_an_expired_part_url_is_signed_again_and_stored_parts_stay(farm: Farm, movie: Path) -> None:
    body = "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
    farm.sandbox.faults.add("store", "status", 403, part_number=4, times=1, body=body)
    # Refused after the other run: what that one sends at this moment may be sent once more.
    farm.sandbox.faults.add("store", "latency_s", 3, part_number=4, times=1)
    upload = upload_large(farm, movie)
    assert_located_whole(farm, upload)
    assert part_numbers(farm, upload.component_id) == Counter(range(1, 11))
    assert farm.sandbox.ftrack.count_calls("get_upload_metadata") == 2


def test_a_part_goes_without_a_content_md5_that_the_store_refuses(farm: Farm, movie: Path) -> None:
    body = "<Error><Code>AccessDenied</Code><Message>headers not signed</Message></Error>"
    farm.sandbox.faults.add("store", "status", 403, part_number=4, times=1, body=body)
    upload = upload_large(farm, movie)
    assert_located_whole(farm, upload)
    [_, second] = [
        put for put in farm.sandbox.store.puts(upload.component_id) if put["part_number"] == 4
    ]
    assert "content-md5" not in {name.lower() for name in second["headers"]}


def test_parts_are_sent_once_through_a_proxy_that_weakens_etags(farm: Farm, movie: Path) -> None:
    farm.sandbox.faults.add("store", "etag", 'W/"{}-gzip"', method="PUT")
    upload = upload_large(farm, movie)
    assert_located_whole(farm, upload)
    assert part_numbers(farm, upload.component_id) == Counter(range(1, 11))


@pytest.mark.parametrize(
    ("fault", "options"),
    {
        "a part meets a store that is down": (("store", "status", 503), {"method": "PUT"}),
        "a part is cut off": (("store", "reset"), {"after_bytes": 3 * MIB, "method": "PUT"}),
        "a bit flips in a part": (("store", "bad_digest"), {"method": "PUT"}),
        "the answer to the signature is lost": (
            ("ftrack", "lost_answer"),
            {"action": "get_upload_metadata"},
        ),
        "the join is refused for now": (
            ("ftrack", "status", 503),
            {"action": "complete_multipart_upload"},
        ),
        "the answer to the join is lost": (
            ("ftrack", "lost_answer"),
            {"action": "complete_multipart_upload"},
        ),
    }.values(),
    ids=str,
)
def test_a_large_file_arrives_whole_when_something_breaks_once(
    farm: Farm, movie: Path, fault: tuple[Any, ...], options: dict[str, Any]
) -> None:
    farm.sandbox.faults.add(*fault, times=1, **options)
    upload = upload_large(farm, movie)
    assert_located_whole(farm, upload)
    assert set(part_numbers(farm, upload.component_id).values()) == {1}


@pytest.mark.slow
def test_a_join_that_outlasts_a_proxy_sends_no_part_again(farm: Farm, movie: Path) -> None:
    joining = {"action": "complete_multipart_upload"}
    farm.sandbox.faults.add("ftrack", "late_s", 3, times=1, **joining)
    # While the store joins the parts, and after that, it does not know them.
    farm.sandbox.faults.add("ftrack", "error", "NoSuchUpload", skip=1, **joining)
    upload = upload_large(farm, movie)
    assert_located_whole(farm, upload)
    assert part_numbers(farm, upload.component_id) == Counter(range(1, 11))


def test_a_multipart_upload_that_the_store_forgot_is_sent_again_whole(
    farm: Farm, movie: Path
) -> None:
    farm.sandbox.faults.add(
        "ftrack", "error", "NoSuchUpload", times=1, action="complete_multipart_upload"
    )
    upload = upload_large(farm, movie)
    assert_located_whole(farm, upload)
    assert set(part_numbers(farm, upload.component_id).values()) == {2}


def test_parts_that_the_store_removes_midway_are_sent_again(farm: Farm, movie: Path) -> None:
    """As by a bucket's rule on multipart uploads that stay incomplete for days."""
    gone = "<Error><Code>NoSuchUpload</Code></Error>"
    farm.sandbox.faults.add("store", "status", 404, part_number=4, times=1, body=gone)
    upload = upload_large(farm, movie)
    assert_located_whole(farm, upload)
    assert farm.sandbox.ftrack.count_calls("get_upload_metadata") == 2


def test_a_part_that_is_too_large_for_a_proxy_fails_its_upload_soon(
    farm: Farm, movie: Path
) -> None:
    farm.sandbox.faults.add("store", "status", 413, method="PUT")
    upload = upload_large(farm, movie)
    farm.wait_state([upload.id], "failed")
    assert "413" in farm.record(upload.id)["error"]
    refused = Counter(put["part_number"] for put in farm.sandbox.store.puts(upload.component_id))
    assert set(refused.values()) == {1}


def test_a_newer_large_file_replaces_the_bytes_of_a_component(farm: Farm, movie: Path) -> None:
    assert_located_whole(farm, upload_large(farm, movie))
    movie.write_bytes(b"newer" * (SIZE // 5))
    assert_located_whole(farm, upload_large(farm, movie))


def test_a_large_file_overwritten_midway_arrives_with_its_new_bytes(
    farm: Farm, movie: Path
) -> None:
    number = farm.sandbox.faults.add("store", "bandwidth_bytes_s", 4e6)
    upload = upload_large(farm, movie)
    wait_until(lambda: bool(farm.redis.exists(f"farmhaul:parts:{upload.id}")), 20)
    movie.write_bytes(b"new bytes" * (SIZE // 9))
    farm.sandbox.faults.remove(number)
    assert_located_whole(farm, upload)


@pytest.mark.slow
def test_after_a_kill_only_missing_parts_are_sent(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=1, env={"FARMHAUL_LEASE_SECONDS": "2", "FARMHAUL_CONNECTIONS": "2"})
    path = farm.make_file("killed.mov", SIZE)
    farm.sandbox.faults.add("store", "bandwidth_bytes_s", 8e6)
    upload = upload_large(farm, path)
    wait_until(lambda: len(part_numbers(farm, upload.component_id)) >= 4, 30)
    farm.workers[0].kill("group")
    farm.sandbox.faults.clear()
    done = [
        int(name[5:])
        for name in farm.redis.hkeys(f"farmhaul:parts:{upload.id}")
        if name.startswith("etag:")
    ]
    farm.add()
    assert_located_whole(farm, upload)
    sent = part_numbers(farm, upload.component_id)
    assert len(done) >= 3
    assert {sent[number] for number in done} == {1}


def test_the_end_of_a_run_starts_the_next_one(make_farm: MakeFarm) -> None:
    """9 parts: a run of 8, and a run of one that is queued when the first ends."""
    farm = make_farm(workers=1, options=("--concurrency=2", "-I", "tests.functional.one_run"))
    path = farm.make_file("two runs.mov", b"\x05" * (72 * MIB))
    farm.sandbox.faults.add("store", "discard", method="PUT")
    farm.sandbox.faults.add("ftrack", "junk", action="complete_multipart_upload", body="[{}, {}]")
    upload = upload_large(farm, path)
    wait_until(lambda: len(part_numbers(farm, upload.component_id)) == 9, 60)

    assert part_numbers(farm, upload.component_id) == Counter(range(1, 10))
    assert len(runs_taken_by(farm.workers[0])) == 2
    path.unlink()


def test_stored_parts_are_joined_although_the_record_lacks_a_note(farm: Farm, movie: Path) -> None:
    """As when a worker dies between the last part and the join."""
    joining = {"action": "complete_multipart_upload"}
    number = farm.sandbox.faults.add("ftrack", "status", 503, **joining)
    upload = upload_large(farm, movie)
    farm.wait_state([upload.id], "retrying")
    farm.redis.hset(f"farmhaul:upload:{upload.id}", "stored", "")
    farm.sandbox.faults.remove(number)
    assert_located_whole(farm, upload)
    assert part_numbers(farm, upload.component_id) == Counter(range(1, 11))


@pytest.mark.parametrize(
    "has_key", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["sealed", "plain"]
)
def test_parts_that_are_missing_or_forged_are_sent_again(
    make_farm: MakeFarm, has_key: bool
) -> None:
    env = {"FARMHAUL_SECRET_KEY": Fernet.generate_key().decode()} if has_key else {}
    farm = make_farm(workers=1, env=env)
    joining = {"action": "complete_multipart_upload"}
    number = farm.sandbox.faults.add("ftrack", "status", 503, **joining)
    upload = upload_large(farm, farm.make_file("forged.mov", SIZE))
    farm.wait_state([upload.id], "retrying")
    key = f"farmhaul:parts:{upload.id}"
    farm.redis.hdel(key, "etag:10")
    if has_key:
        # The second is the ETag of another part, with the signature of that part.
        forged = {"etag:2": "0" * 32, "etag:3": farm.redis.hget(key, "etag:4")}
        farm.redis.hset(key, mapping={**forged, "seal:3": farm.redis.hget(key, "seal:4")})
    farm.sandbox.faults.remove(number)

    assert_located_whole(farm, upload)

    sent = part_numbers(farm, upload.component_id)
    again = {2, 3, 10} if has_key else {10}
    assert sent == Counter(range(1, 11)) + Counter(again)


def test_cancelling_stops_a_large_file_between_blocks(farm: Farm, movie: Path) -> None:
    farm.sandbox.faults.add("store", "bandwidth_bytes_s", 3e5)  # 28 s for a part
    upload = upload_large(farm, movie)
    wait_until(lambda: bool(farm.redis.exists(f"farmhaul:parts:{upload.id}")), 20)
    assert farm.cli("cancel", upload.id).stdout.split()[1] == "cancelled"
    farm.wait_quiet(60)
    assert farm.states([upload.id]) == ["cancelled"]
    assert set(part_numbers(farm, upload.component_id)) <= {10}  # which is less than a block
    assert not farm.sandbox.ftrack.locations(upload.component_id)


def test_a_file_that_has_grown_does_not_hold_up_its_batch(make_farm: MakeFarm) -> None:
    """The others are located while the store takes the large file slowly."""
    farm = make_farm()
    with farm.frozen():
        grown, *others = farm.upload_many(20)
        rate = {"component_id": grown.component_id}
        farm.sandbox.faults.add("store", "bandwidth_bytes_s", 1e6, **rate)
        grown.path.write_bytes(bytes(SIZE))

    farm.wait_located([upload.id for upload in others])

    assert farm.record(grown.id)["state"] != "located"
    farm.sandbox.faults.clear()
    assert_located_whole(farm, grown)


def test_a_refused_registration_sends_no_part_again(farm: Farm, movie: Path) -> None:
    """The stand-in joins the parts, refuses the rest of the POST, and takes back its own part."""
    ftrack = farm.sandbox.ftrack
    task_id = str(ftrack.create("Task", name="comp", parent_id=seed.SHOT_ID)["id"])
    number = farm.sandbox.faults.add("ftrack", "status", 503, action="complete_multipart_upload")
    still = movie.rename(movie.with_suffix(".jpg"))
    upload = farm.upload(
        "--version-id", ftrack.version_id, "--thumbnail", "--task-id", task_id, path=still
    )
    farm.wait_state([upload.id], "retrying")
    ftrack.delete("Task", task_id)
    farm.sandbox.faults.remove(number)
    farm.wait_state([upload.id], "failed", timeout_s=60)

    ftrack.create("Task", id=task_id, name="comp", parent_id=seed.SHOT_ID)
    assert farm.cli("retry", upload.id).returncode == 0
    assert_located_whole(farm, upload)
    assert part_numbers(farm, upload.component_id) == Counter(range(1, 11))


def test_a_retry_of_a_located_large_file_sends_nothing(farm: Farm, movie: Path) -> None:
    upload = upload_large(farm, movie)
    assert_located_whole(farm, upload)

    with farm.frozen():
        assert farm.cli("retry", upload.id).returncode == 0
        assert farm.states([upload.id]) == ["pending"]
        assert farm.cli("cancel", upload.id).stdout.split()[1] == "located"
    farm.cli("retry", upload.id)
    assert_located_whole(farm, upload)
    farm.wait_quiet()
    assert part_numbers(farm, upload.component_id) == Counter(range(1, 11))

    farm.sandbox.store.delete(upload.component_id)
    farm.cli("retry", upload.id)
    assert_located_whole(farm, upload)
    assert part_numbers(farm, upload.component_id) == Counter([*range(1, 11)] * 2)

    # An enqueue looks, too.
    farm.sandbox.store.delete(upload.component_id)
    upload_large(farm, movie)
    farm.wait_quiet()
    assert_located_whole(farm, upload)
    assert part_numbers(farm, upload.component_id) == Counter([*range(1, 11)] * 3)

    movie.write_bytes(b"newer" * (SIZE // 5))
    assert_located_whole(farm, upload_large(farm, movie))
