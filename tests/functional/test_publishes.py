"""Sequences and publishes: many files that become visible together, or not at all."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tasks.transfer.targets import Target
from tests.farm import Farm, wait_until
from tests.functional.conftest import MakeFarm
from tests.sandbox import seed
from tests.sandbox.official import official_client

VERSION = seed.VERSION_ID


def render(farm: Farm, frames: range, size: int = 2000) -> Path:
    """Write a sequence; return its folder."""
    folder = farm.make_file(f"beauty.{frames[0]:04d}.exr", size).parent
    for number in frames[1:]:
        farm.make_file(f"beauty.{number:04d}.exr", size, folder.name)
    return folder


def pattern(folder: Path, frames: str) -> str:
    return f"{folder}/beauty.%04d.exr [{frames}]"


def in_ftrack(farm: Farm) -> dict[str, int]:
    """Count the components and locations."""
    kinds = ("SequenceComponent", "FileComponent", "ComponentLocation")
    return {kind: len(farm.sandbox.ftrack.entities(kind)) for kind in kinds}


def publish(farm: Farm, folder: Path, *options: str, name: str = "sh010 v003") -> Any:
    movie = farm.make_file("beauty.mov", 50_000, folder.name)
    still = farm.make_file("thumb.jpg", 3000, folder.name)
    common = {"version_id": VERSION, "publish": name}
    lines = [
        common | {"path": pattern(folder, "1001-1012"), "name": "exr"},
        common | {"path": str(movie), "name": "movie", "encode": True},
        common | {"path": str(still), "thumbnail": True, "task_id": seed.TASK_ID},
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    return farm.cli("enqueue", "--manifest", "-", *options, stdin=text)


def test_240_frames_make_one_sequence_in_at_most_20_calls(farm: Farm) -> None:
    folder = render(farm, range(1001, 1241))
    [upload] = farm.enqueue(
        pattern(folder, "1001-1240"), "--version-id", VERSION, "--name", "main", "--wait"
    )
    assert (upload["state"], upload["files"]) == ("located", 240)
    assert farm.sandbox.ftrack.count_calls() <= 20
    assert in_ftrack(farm) == {
        "SequenceComponent": 1,
        "FileComponent": 240,
        "ComponentLocation": 241,
    }
    session = official_client(farm.sandbox)
    [component] = session.query(f"SequenceComponent where version_id is {VERSION}")
    assert (component["name"], component["padding"], component["file_type"]) == ("main", 4, ".exr")
    assert component["size"] == 240 * 2000
    names = sorted(member["name"] for member in component["members"])
    assert names == [str(number) for number in range(1001, 1241)]
    server = session.get("Location", seed.SERVER_LOCATION_ID)
    assert server.get_component_availability(component) == 100.0
    member = next(member for member in component["members"] if member["name"] == "1007")
    stored = farm.sandbox.store.read(member["id"])
    assert stored == (folder / "beauty.1007.exr").read_bytes()
    session.close()


def test_a_proxy_that_refuses_a_sequence_holds_up_nothing_else(farm: Farm) -> None:
    folder = render(farm, range(1001, 1101), 10)
    farm.sandbox.faults.add(
        "ftrack", "status", 413, over_bytes=20_000, entity_type="SequenceComponent", body="<html>"
    )
    [refused] = farm.enqueue(str(folder), "--version-id", VERSION, "--name", "exr")
    other = farm.upload()

    farm.wait_state([refused["upload_id"]], "failed")
    farm.wait_located([other.id])
    assert "a proxy before ftrack answers 413" in farm.record(refused["upload_id"])["error"]
    assert not farm.redis.keys("farmhaul:gate:*")


def test_nothing_of_a_sequence_is_visible_before_all_of_it_is_stored(farm: Farm) -> None:
    folder = render(farm, range(1001, 1011))
    fault = farm.sandbox.faults.add("store", "status", 413, method="PUT", times=1)
    [upload] = farm.enqueue(str(folder), "--version-id", VERSION, "--name", "main")
    farm.wait_state([upload["upload_id"]], "failed")
    assert farm.sandbox.faults.struck(fault)
    assert in_ftrack(farm) == dict.fromkeys(in_ftrack(farm), 0)
    shown = json.loads(farm.cli("status", upload["upload_id"]).stdout)
    assert (shown["state"], shown["files"]) == ("failed", 10)
    assert shown["path"] == pattern(folder, "1001-1010")
    wait_until(lambda: json.loads(farm.cli("status", upload["upload_id"]).stdout)["stored"] == 9)
    farm.cli("retry", upload["upload_id"])
    farm.wait_located([upload["upload_id"]])
    assert in_ftrack(farm)["ComponentLocation"] == 11
    assert len(farm.sandbox.store.puts()) == 11


def test_a_retry_sends_stored_frames_again_only_if_they_have_changed(farm: Farm) -> None:
    folder = render(farm, range(1001, 1011))
    sequence = Target.under_version(VERSION, "main")
    frames = {number: Target.frame(sequence, str(number)).component_id for number in (1003, 1007)}
    farm.sandbox.faults.add("store", "status", 413, component_id=frames[1003], times=1)
    [upload] = farm.enqueue(str(folder), "--version-id", VERSION, "--name", "main")
    farm.wait_state([upload["upload_id"]], "failed")
    farm.wait_quiet()
    assert farm.cli("cancel", upload["upload_id"]).stdout.split()[1] == "cancelled"
    (folder / "beauty.1007.exr").write_bytes(b"new!" * 1000)

    farm.cli("retry", upload["upload_id"])

    farm.wait_located([upload["upload_id"]])
    puts = Counter(put["key"] for put in farm.sandbox.store.puts())
    assert {one: count for one, count in puts.items() if count > 1} == dict.fromkeys(
        frames.values(), 2
    )
    for row in farm.sandbox.ftrack.entities("FileComponent"):
        content = (folder / f"beauty.{row['name']}.exr").read_bytes()
        assert farm.sandbox.store.read(row["id"]) == content
        assert row["size"] == len(content)

    sent = len(farm.sandbox.store.puts())
    assert farm.cli("retry", upload["upload_id"]).stdout.split()[1] == "storing"
    farm.wait_located([upload["upload_id"]])
    shown = json.loads(farm.cli("status", upload["upload_id"]).stdout)
    assert (shown["stored"], shown["sent"]) == (10, 9 * 2000 + 4000)
    assert len(farm.sandbox.store.puts()) == sent


def test_a_sequence_is_the_same_upload_when_its_hook_fires_again(farm: Farm) -> None:
    folder = render(farm, range(1001, 1006))
    what = (str(folder), "--version-id", VERSION, "--name", "main", "--wait")
    [first], [second] = farm.enqueue(*what), farm.enqueue(*what)
    assert first["upload_id"] == second["upload_id"]
    assert len(farm.sandbox.store.puts()) == 5
    assert in_ftrack(farm)["ComponentLocation"] == 6


def test_only_the_new_frames_of_a_sequence_rendered_again_are_sent(farm: Farm) -> None:
    folder = render(farm, range(1001, 1031))
    what = (str(folder), "--version-id", VERSION, "--name", "main", "--wait")
    farm.enqueue(*what)
    for number in range(1011, 1021):
        farm.make_file(f"beauty.{number}.exr", 3000, folder.name)
    farm.make_file("beauty.1031.exr", 3000, folder.name)
    [again] = farm.enqueue(*what)
    assert again["state"] == "located"
    assert len(farm.sandbox.store.puts()) == 30 + 11
    [sequence] = farm.sandbox.ftrack.entities("SequenceComponent")
    assert sequence["size"] == 20 * 2000 + 11 * 3000
    files = farm.sandbox.ftrack.entities("FileComponent")
    assert sum(row["size"] for row in files) == sequence["size"]
    assert len(files) == 31
    # Two frames enqueued by themselves: the sequence still has all of its frames.
    for number in (1015, 1016):
        farm.make_file(f"beauty.{number}.exr", 4000, folder.name)
    farm.enqueue(pattern(folder, "1015-1016"), *what[1:])
    [sequence] = farm.sandbox.ftrack.entities("SequenceComponent")
    assert sequence["size"] == 20 * 2000 + 9 * 3000 + 2 * 4000


def test_a_sequence_may_be_enqueued_in_two_parts_one_after_another(
    farm: Farm,
) -> None:
    folder = render(farm, range(1001, 1041))
    farm.sandbox.faults.add("store", "latency_s", 0.2, method="PUT")
    ids = []
    for part in ("1001-1020", "1021-1040"):
        text = pattern(folder, part)
        [upload] = farm.enqueue(text, "--version-id", VERSION, "--name", "main")
        ids.append(upload["upload_id"])
    farm.wait_located(ids)
    assert in_ftrack(farm) == {
        "SequenceComponent": 1,
        "FileComponent": 40,
        "ComponentLocation": 41,
    }


def test_frames_rendered_again_meanwhile_do_not_hold_up_the_others(
    farm: Farm,
) -> None:
    folder = render(farm, range(1001, 1041))
    farm.sandbox.faults.add("store", "latency_s", 0.2, method="PUT")
    whole = pattern(folder, "1001-1040")
    [first] = farm.enqueue(whole, "--version-id", VERSION, "--name", "main")
    for number in (1003, 1039, 1040):
        (folder / f"beauty.{number}.exr").write_bytes(b"new!" * number)
    [again] = farm.enqueue(
        pattern(folder, "1003, 1039-1040"), "--version-id", VERSION, "--name", "main"
    )
    farm.wait_located([first["upload_id"], again["upload_id"]])
    frames = farm.sandbox.ftrack.entities("FileComponent")
    assert len(frames) == 40
    for row in frames:
        content = (folder / f"beauty.{row['name']}.exr").read_bytes()
        assert farm.sandbox.store.read(row["id"]) == content
        assert row["size"] == len(content)


def test_a_retried_publish_does_not_replace_newer_frames(
    farm: Farm,
) -> None:
    folder = render(farm, range(1001, 1004))
    sequence = Target.under_version(VERSION, "main")
    bad = Target.frame(sequence, "1003").component_id
    farm.sandbox.faults.add("store", "status", 413, method="PUT", component_id=bad, times=1)
    what = ("--version-id", VERSION, "--name", "main")
    [first] = farm.enqueue(pattern(folder, "1001-1003"), *what)
    farm.wait_state([first["upload_id"]], "failed")
    frame = folder / "beauty.1001.exr"
    frame.write_bytes(b"new!" * 1000)
    [again] = farm.enqueue(pattern(folder, "1001"), *what)
    farm.wait_located([again["upload_id"]])

    farm.cli("retry", first["upload_id"])

    farm.wait_located([first["upload_id"]])
    sizes = {row["name"]: row["size"] for row in farm.sandbox.ftrack.entities("FileComponent")}
    assert sizes == {"1001": 4000, "1002": 2000, "1003": 2000}


def test_a_publish_whose_files_all_have_newer_ones_is_superseded(hook: Farm) -> None:
    folder = render(hook, range(1, 4))
    what = (str(folder), "--version-id", VERSION)
    [old] = hook.enqueue(*what)
    render(hook, range(1, 4))
    for path in folder.iterdir():
        path.write_bytes(b"new!")
    [new] = hook.enqueue(*what)
    assert hook.states([old["upload_id"], new["upload_id"]]) == ["superseded", "storing"]
    shown = json.loads(hook.cli("status", old["upload_id"]).stdout)
    assert shown["error"] == "all of its files have newer ones"


@pytest.mark.slow
def test_options_added_to_an_unchanged_file_later_take_effect(farm: Farm) -> None:
    still = farm.make_file("still.jpg", 1000)
    what = (still, "--version-id", VERSION, "--name", "still", "--wait")
    [plain] = farm.enqueue(*what)
    assert farm.enqueue(*what) == [plain]
    [more] = farm.enqueue(*what, "--thumbnail", "--encode", "--metadata", "colour=sRGB")
    assert more["upload_id"] != plain["upload_id"]
    [version] = [
        row for row in farm.sandbox.ftrack.entities("AssetVersion") if row["id"] == VERSION
    ]
    assert version["thumbnail_id"] == more["component_id"]
    assert "sRGB" in {row["value"] for row in farm.sandbox.ftrack.entities("Metadata")}
    assert len(farm.sandbox.ftrack.entities("Job")) == 1

    folder = render(farm, range(1, 4))
    sequence = (folder, "--version-id", VERSION, "--name", "exr", "--wait")
    farm.enqueue(*sequence)
    sent = len(farm.sandbox.store.puts())
    farm.enqueue(*sequence, "--metadata", "colour=ACEScg")
    values = {row["value"] for row in farm.sandbox.ftrack.entities("Metadata")}
    assert values >= {"sRGB", "ACEScg"}
    assert len(farm.sandbox.store.puts()) == sent


def forget_places(farm: Farm) -> None:
    """Let the records of all components expire."""
    farm.redis.delete(*farm.redis.scan_iter("farmhaul:component:*"))


@pytest.mark.slow
def test_frames_of_another_padding_are_not_mixed_into_a_sequence(farm: Farm) -> None:
    folder = render(farm, range(1001, 1004))
    what = ("--version-id", VERSION, "--name", "exr", "--wait")
    farm.enqueue(folder, *what)
    other = farm.make_file("beauty.01001.exr", 100).parent
    done = farm.cli("enqueue", other, *what)
    assert done.returncode == 4
    assert f'component "exr" of version {VERSION} holds other files (upload ' in done.stderr
    forget_places(farm)
    sent = len(farm.sandbox.store.puts())
    done = farm.cli("enqueue", other, *what)
    assert done.returncode == 4
    assert "has frame numbers of padding 4 in ftrack, but the file is " in done.stderr
    assert len(farm.sandbox.store.puts()) == sent
    # Only the whole sequence shows that its padding is another one.
    forget_places(farm)
    done = farm.cli("enqueue", f"{folder}/beauty.%03d.exr [1001-1003]", *what)
    assert done.returncode == 4
    assert "of padding 3, but exr in ftrack has 4" in done.stderr
    assert len(farm.sandbox.ftrack.entities("FileComponent")) == 3

    still = farm.make_file("still.jpg", 100)
    farm.enqueue(still, "--version-id", VERSION, "--name", "still", "--wait")
    forget_places(farm)
    done = farm.cli("enqueue", folder, "--version-id", VERSION, "--name", "still", "--wait")
    assert "is a file in ftrack, and " in done.stderr
    expected = f"is a sequence in ftrack, and {still} is a file"
    done = farm.cli("enqueue", still, "--version-id", VERSION, "--name", "exr", "--wait")
    assert expected in done.stderr
    line = {"path": str(still), "version_id": VERSION, "name": "exr", "publish": "one"}
    done = farm.cli("enqueue", "--manifest", "-", "--wait", stdin=json.dumps(line))
    assert expected in done.stderr


def test_the_status_of_a_publish_names_the_file_that_holds_it_up(farm: Farm) -> None:
    folder = render(farm, range(1, 4))
    shown: dict[str, Any] = {}

    def names_an_error() -> bool:
        shown.update(json.loads(farm.cli("status", upload["upload_id"]).stdout))
        return bool(shown["error"])

    [upload] = farm.enqueue(pattern(folder, "1-4"), "--version-id", VERSION, "--no-stat")
    wait_until(names_an_error)
    assert f"{folder}/beauty.0004.exr" in shown["error"]
    assert shown["state"] == "storing"
    done = farm.cli("enqueue", pattern(folder, "1-4"), "--version-id", VERSION, "--no-stat",
        "--wait", "--timeout", "1")  # fmt: skip
    assert done.returncode == 4
    assert f"{folder}/beauty.0004.exr: No such file" in done.stderr


def test_a_publish_is_visible_at_once_with_thumbnail_and_encoding(farm: Farm) -> None:
    folder = render(farm, range(1001, 1013))
    done = publish(farm, folder, "--wait")
    assert done.returncode == 0, done.stderr
    [line] = map(json.loads, done.stdout.splitlines())
    assert (line["path"], line["state"], line["files"]) == ("sh010 v003", "located", 14)
    final = farm.sandbox.ftrack.calls("encode_media")
    assert len(final) == 1
    kinds = [operation.get("entity_type") for operation in final[0]["operations"]]
    assert kinds.count("ComponentLocation") == 15
    version = farm.sandbox.ftrack.get("AssetVersion", VERSION)
    task = farm.sandbox.ftrack.get("Task", seed.TASK_ID)
    assert version
    assert task
    assert version["thumbnail_id"] == task["thumbnail_id"] is not None
    shown = json.loads(farm.cli("status", line["upload_id"]).stdout)
    assert shown["job_state"] == "done"
    assert shown["jobs"] == [job["id"] for job in farm.sandbox.ftrack.entities("Job")]


def test_a_publish_whose_movie_fails_is_hidden_until_its_retry(
    farm: Farm,
) -> None:
    folder = render(farm, range(1001, 1013))
    first = publish(farm, folder)
    [upload_id] = [json.loads(line)["upload_id"] for line in first.stdout.splitlines()]
    farm.wait_located([upload_id])
    # Now with a movie that the store refuses.
    farm.make_file("beauty.1001.exr", 2100, folder.name)
    movie_id = next(
        row["id"] for row in farm.sandbox.ftrack.entities("FileComponent") if row["name"] == "movie"
    )
    farm.sandbox.reset()
    farm.sandbox.faults.add("store", "status", 413, method="PUT", component_id=movie_id, times=1)
    second = publish(farm, folder, "--wait")
    assert second.returncode == 4
    assert "sh010 v003: failed: the store refused" in second.stderr
    [upload_id] = [json.loads(line)["upload_id"] for line in second.stdout.splitlines()]
    assert in_ftrack(farm) == dict.fromkeys(in_ftrack(farm), 0)
    assert not farm.sandbox.ftrack.calls("encode_media")
    farm.cli("retry", upload_id)
    farm.wait_located([upload_id])
    assert in_ftrack(farm)["ComponentLocation"] == 15
    assert len(farm.sandbox.ftrack.calls("encode_media")) == 1


def test_a_lost_answer_to_the_last_call_registers_and_encodes_once(farm: Farm) -> None:
    folder = render(farm, range(1001, 1013))
    farm.sandbox.faults.add("ftrack", "lost_answer", action="encode_media", times=1)
    done = publish(farm, folder, "--wait")
    assert done.returncode == 0, done.stderr
    assert len(farm.sandbox.ftrack.entities("Job")) == 1
    assert in_ftrack(farm)["ComponentLocation"] == 15


def test_only_a_movie_that_was_rendered_again_is_encoded_again(farm: Farm) -> None:
    movie = farm.make_file("cut.mov", 30_000)
    what = ("--version-id", VERSION, "--encode", "--wait")
    farm.enqueue(movie, *what)
    farm.enqueue(movie, *what)
    assert len(farm.sandbox.ftrack.entities("Job")) == 1
    movie.write_bytes(b"better" * 1000)
    farm.enqueue(movie, *what)
    assert len(farm.sandbox.ftrack.entities("Job")) == 2
    [component] = farm.sandbox.ftrack.entities("FileComponent")
    assert component["size"] == 6000


def test_missing_frames_are_refused_by_number_unless_allowed(farm: Farm) -> None:
    folder = render(farm, range(1001, 1011))
    for number in (1004, 1006, 1007):
        (folder / f"beauty.{number}.exr").unlink()
    what = ("enqueue", pattern(folder, "1001-1010"), "--version-id", VERSION, "--name", "main")
    refused = farm.cli(*what)
    assert refused.returncode == 2
    assert "1004, 1006-1007" in refused.stderr
    assert farm.cli(*what, "--allow-missing", "--wait").returncode == 0
    assert in_ftrack(farm)["FileComponent"] == 7


def test_a_missing_version_is_reported_before_anything_is_sent(farm: Farm) -> None:
    folder = render(farm, range(1001, 1004))
    missing = "11111111-2222-4333-8444-555555555555"
    done = farm.cli("enqueue", str(folder), "--version-id", missing, "--wait")
    assert done.returncode == 4
    assert f"version {missing} does not exist" in done.stderr
    assert not farm.sandbox.store.puts()


def test_cancelling_a_publish_stops_its_files(hook: Farm) -> None:
    folder = render(hook, range(1001, 1006))
    [upload] = hook.enqueue(str(folder), "--version-id", VERSION)
    assert hook.cli("cancel", upload["upload_id"]).stdout.split()[1] == "cancelled"
    assert hook.redis.zcard("farmhaul:pending") == 0
    assert hook.redis.zcard("farmhaul:file:cancelled") == 5
    assert hook.cli("retry", upload["upload_id"]).stdout.split()[1] == "storing"
    assert hook.redis.zcard("farmhaul:pending") == 5


def test_a_publish_whose_hook_died_halfway_is_completed_by_the_next(hook: Farm) -> None:
    folder = render(hook, range(1001, 1006))
    what = (str(folder), "--version-id", VERSION)
    [upload] = hook.enqueue(*what)
    key = f"farmhaul:upload:{upload['upload_id']}"
    # As if it had been killed after three files.
    hook.redis.hdel(key, "complete")
    lost = hook.redis.spop(f"farmhaul:left:{upload['upload_id']}", 2)
    hook.redis.srem(f"farmhaul:files:{upload['upload_id']}", *lost)
    for upload_id in lost:
        hook.redis.delete(f"farmhaul:upload:{upload_id}")
        hook.redis.zrem("farmhaul:pending", upload_id)
    # A retry does not complete the publish.
    assert hook.cli("retry", upload["upload_id"]).stdout.split()[1] == "storing"
    assert not hook.redis.hexists(key, "complete")
    shown = json.loads(hook.cli("status", upload["upload_id"]).stdout)
    assert (shown["files"], shown["stored"]) == (5, 0)
    assert "not all of its files are recorded yet" in shown["error"]
    [again] = hook.enqueue(*what)
    assert (again["upload_id"], again["state"]) == (upload["upload_id"], "storing")
    assert hook.redis.zcard("farmhaul:pending") == 5
    assert hook.redis.scard(f"farmhaul:left:{upload['upload_id']}") == 5
    assert hook.redis.hget(key, "complete") == "1"


@pytest.mark.slow
def test_a_large_file_is_part_of_a_publish(farm: Farm) -> None:
    big = farm.make_file("big.mov", 70 << 20)
    still = farm.make_file("small.jpg", 1000, big.parent.name)
    common: dict[str, object] = {"version_id": VERSION, "publish": "both"}
    lines = [common | {"path": str(big)}, common | {"path": str(still), "thumbnail": True}]
    [upload] = farm.enqueue_manifest(lines, "--wait")
    assert upload["state"] == "located"
    assert in_ftrack(farm) == {
        "SequenceComponent": 0,
        "FileComponent": 2,
        "ComponentLocation": 2,
    }
    [component] = [
        row for row in farm.sandbox.ftrack.entities("FileComponent") if row["size"] > 2000
    ]
    assert farm.sandbox.store.size(component["id"]) == 70 << 20

    sent = len(farm.sandbox.store.puts())
    farm.cli("retry", upload["upload_id"])
    farm.wait_located([upload["upload_id"]])
    assert len(farm.sandbox.store.puts()) == sent


@pytest.mark.slow
def test_a_sequence_is_whole_although_a_worker_is_killed_midway(
    make_farm: MakeFarm,
) -> None:
    farm = make_farm(workers=2, env={"FARMHAUL_LEASE_SECONDS": "3"})
    folder = render(farm, range(1001, 1121))
    farm.sandbox.faults.add("store", "latency_s", 0.5, method="PUT")
    [upload] = farm.enqueue(str(folder), "--version-id", VERSION, "--name", "main")
    wait_until(lambda: len(farm.sandbox.store.puts()) > 10)
    farm.workers[0].kill()
    farm.wait_located([upload["upload_id"]], 60)
    assert in_ftrack(farm) == {
        "SequenceComponent": 1,
        "FileComponent": 120,
        "ComponentLocation": 121,
    }


@pytest.mark.parametrize("options", [("--thumbnail",), ("--encode",)])
def test_a_sequence_takes_no_option_of_a_single_file(hook: Farm, options: tuple[str, ...]) -> None:
    folder = render(hook, range(1, 3))
    done = hook.cli("enqueue", str(folder), "--version-id", VERSION, *options)
    assert done.returncode == 2
    assert options[0] in done.stderr
    assert "sequence" in done.stderr


def test_metadata_comes_with_the_component(farm: Farm) -> None:
    path = farm.make_file("plate.exr", 100)
    farm.enqueue(path, "--version-id", VERSION, "--metadata", "colour=ACES = cg", "--wait")
    [entry] = farm.sandbox.ftrack.entities("Metadata")
    assert (entry["key"], entry["value"]) == ("colour", "ACES = cg")
    path.write_bytes(b"x")
    farm.enqueue(path, "--version-id", VERSION, "--metadata", "colour=sRGB", "--wait")
    [entry] = farm.sandbox.ftrack.entities("Metadata")
    assert entry["value"] == "sRGB"
