"""No two things become one: what happens to other files under a name, through the command line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.farm import Farm
from tests.sandbox import seed

VERSION = seed.VERSION_ID
MAIN = ("--version-id", VERSION, "--name", "main", "--wait")


def frames(farm: Farm, text: str, numbers: range, size: int = 100) -> str:
    """Render frames whose names have this text after the number; return their pattern."""
    paths = [farm.make_file(f"b.{number:04d}{text}", size, folder=f"v{text}") for number in numbers]
    return f"{paths[0].parent}/b.%04d{text} [{numbers[0]}-{numbers[-1]}]"


def refused(farm: Farm, *arguments: str | Path) -> str:
    """Enqueue what is refused, before a byte is sent; return what is said."""
    before = len(farm.sandbox.store.puts())
    done = farm.cli("enqueue", *arguments)
    assert done.returncode == 4, done
    assert len(farm.sandbox.store.puts()) == before
    assert [json.loads(line)["state"] for line in done.stdout.splitlines()] == ["failed"]
    return done.stderr


def component(farm: Farm, name: str = "main") -> dict[str, Any]:
    [found] = [one for one in farm.sandbox.ftrack.entities("Component") if one["name"] == name]
    return found


def test_a_movie_of_another_type_needs_a_name_or_replace(farm: Farm) -> None:
    first, second = farm.make_file("sh010.mov", 1000), farm.make_file("sh010.mp4", 2000)
    farm.enqueue(first, *MAIN)

    said = refused(farm, second, *MAIN)

    assert f'component "main" of version {VERSION} holds other files (upload ' in said
    assert "; use another --name, --replace, or another version" in said
    assert farm.redis.hget("farmhaul:totals", "failed:PlaceTaken") == "1"
    assert (component(farm)["file_type"], component(farm)["size"]) == (".mov", 1000)
    farm.enqueue(second, *MAIN, "--replace")
    assert (component(farm)["file_type"], component(farm)["size"]) == (".mp4", 2000)
    assert farm.sandbox.store.size(component(farm)["id"]) == 2000


def test_a_retry_says_why_it_leaves_an_upload_as_it_is(farm: Farm) -> None:
    first, second = farm.make_file("sh010.mov", 1000), farm.make_file("sh010.mp4", 2000)
    [older] = farm.enqueue(first, *MAIN)
    done = farm.cli("enqueue", second, *MAIN)
    taken = json.loads(done.stdout)["upload_id"]

    done = farm.cli("retry", taken)

    assert (done.returncode, done.stdout) == (4, f"{taken} failed\n")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"farmhaul: {taken} was refused, so only another enqueue helps: ")
    assert line.endswith("; use another --name, --replace, or another version")

    with farm.frozen():
        farm.make_file("sh010.mov", 1500, first.parent.name)
        [superseded] = farm.enqueue(first, *MAIN[:-1])
        [newer] = farm.enqueue(second, *MAIN[:-1], "--replace")
        farm.take_in()
        assert farm.cli("cancel", newer["upload_id"]).stdout.split()[1] == "cancelled"
    for one, state, why in (
        (superseded["upload_id"], "superseded", f"superseded by {newer['upload_id']}"),
        (older["upload_id"], "located", "its component has a newer upload"),
    ):
        done = farm.cli("retry", one)
        assert (done.returncode, done.stdout) == (0, f"{one} {state}\n")
        assert done.stderr == (
            f"farmhaul: {one} is not retried: {why}; if you want its files there, enqueue them "
            "again (with --replace, if the newer ones are of another place)\n"
        )
    [again] = farm.enqueue(first, *MAIN, "--replace")
    assert again["state"] == "located"
    done = farm.cli("retry", again["upload_id"])
    assert (done.stdout.split()[1], done.stderr) == ("pending", "")


def test_the_eyes_of_a_sequence_are_never_mixed(farm: Farm) -> None:
    left = frames(farm, "_left.exr", range(1, 61))
    right = frames(farm, "_right.exr", range(1, 31), size=200)
    with farm.frozen():
        [first] = farm.enqueue(left, *MAIN[:-1])
        farm.enqueue(right, *MAIN[:-1])
    farm.wait_located([first["upload_id"]])

    sizes = Counter(one["size"] for one in farm.sandbox.ftrack.entities("FileComponent"))
    assert sizes == {100: 60}
    [failed] = map(json.loads, farm.cli("status", "--failed").stdout.splitlines())
    assert failed["path"] == right
    assert "holds other files" in failed["error"]

    farm.enqueue(right, *MAIN, "--replace")
    members = farm.sandbox.ftrack.entities("FileComponent")
    assert Counter(one["size"] for one in members) == {200: 30}
    assert component(farm)["size"] == 30 * 200
    frames(farm, "_right.exr", range(30, 41), size=300)
    farm.enqueue(right.replace("1-30", "30-40"), *MAIN)
    sizes = Counter(one["size"] for one in farm.sandbox.ftrack.entities("FileComponent"))
    assert sizes == {200: 29, 300: 11}


def test_a_sequence_under_way_is_stopped_by_the_one_that_replaces_it(farm: Farm) -> None:
    left = frames(farm, "_left.exr", range(1, 31))
    right = frames(farm, "_right.exr", range(1, 21), size=200)
    with farm.frozen():
        [first] = farm.enqueue(left, *MAIN[:-1])
        [second] = farm.enqueue(right, *MAIN[:-1], "--replace")
    farm.wait_located([second["upload_id"]])
    farm.wait_quiet()

    assert farm.states([first["upload_id"]]) == ["superseded"]
    sizes = Counter(one["size"] for one in farm.sandbox.ftrack.entities("FileComponent"))
    assert sizes == {200: 20}


def test_frames_with_another_padding_replace_all_frames_or_none(farm: Farm) -> None:
    for number in range(1, 4):
        farm.make_file(f"f.{number:04d}.exr", 100, folder="padded")
        folder = farm.make_file(f"f.{number:03d}.exr", 200, folder="padded").parent
    farm.enqueue(f"{folder}/f.%04d.exr [1-3]", *MAIN)
    other = f"{folder}/f.%03d.exr [1-2]"

    said = refused(farm, other, *MAIN)
    assert 'component "main" of version ' in said
    assert " has frame numbers of padding 4 in ftrack, but the file is " in said
    assert "; use another --name, --replace, or another version" in said
    assert Counter(one["size"] for one in farm.sandbox.ftrack.entities("FileComponent")) == {100: 3}

    farm.enqueue(other, *MAIN, "--replace")
    members = farm.sandbox.ftrack.entities("FileComponent")
    assert sorted((one["name"], one["size"]) for one in members) == [("001", 200), ("002", 200)]
    assert (component(farm)["padding"], component(farm)["size"]) == (3, 400)


def test_a_frame_of_another_folder_does_not_replace_one(farm: Farm) -> None:
    first = farm.make_file("f.1001.exr", 1000)
    other = farm.make_file("f.1001.exr", 2000)
    farm.enqueue(first, "--version-id", VERSION, "--wait")

    assert "holds other files" in refused(farm, other, "--version-id", VERSION, "--wait")


@pytest.mark.parametrize("size", [1000, 65 << 20], ids=["small", "in parts"])
def test_a_target_that_ftrack_lacks_costs_no_byte(farm: Farm, size: int) -> None:
    path = farm.make_file("a.jpg", size)
    missing = "9d1ad1a2-5b1c-4a0e-9a55-0a1b2c3d4e5f"

    said = refused(farm, path, "--component-id", missing, "--wait")
    assert f"component {missing} does not exist in ftrack" in said
    said = refused(farm, path, "--version-id", missing, "--wait")
    assert f"version {missing} does not exist" in said
    said = refused(farm, path, *MAIN, "--thumbnail", "--task-id", missing)
    assert f"task {missing} does not exist in ftrack" in said


def test_another_programs_component_is_replaced_only_when_asked(farm: Farm) -> None:
    there = farm.sandbox.ftrack.add_component("main.exr", size=5)
    where = {"location_id": seed.SERVER_LOCATION_ID, "resource_identifier": there}
    farm.sandbox.ftrack.create("ComponentLocation", component_id=there, **where)
    pattern = frames(farm, ".exr", range(1, 4))

    assert "made by another program" in refused(farm, pattern, *MAIN)

    farm.enqueue(pattern, *MAIN, "--replace")
    assert component(farm)["id"] != there
    assert component(farm)["__entity_type__"] == "SequenceComponent"


def test_a_sequence_with_frames_of_another_program_is_refused(farm: Farm) -> None:
    ftrack = farm.sandbox.ftrack
    sequence = ftrack.create("SequenceComponent", name="exr", padding=4, version_id=VERSION)["id"]
    for name in ("0001", "0002"):
        frame = ftrack.create("FileComponent", name=name, container_id=sequence, size=5)["id"]
        where = {"location_id": seed.SERVER_LOCATION_ID, "resource_identifier": frame}
        ftrack.create("ComponentLocation", component_id=frame, **where)
    ftrack.update("SequenceComponent", sequence, size=10)
    pattern = frames(farm, ".exr", range(1, 3))

    said = refused(farm, pattern, "--component-id", sequence, "--wait")
    assert f" of sequence {sequence} exists in ftrack already, made by another program (" in said
    assert said.endswith("; use --replace, or another component\n")
    other = farm.make_file("c.001.exr", 100).parent
    said = refused(farm, f"{other}/c.%03d.exr [1]", "--component-id", sequence, "--wait")
    assert f"sequence {sequence} has frame numbers of padding 4 in ftrack, but the file is " in said

    farm.enqueue(pattern, "--component-id", sequence, "--replace", "--wait")
    members = farm.sandbox.ftrack.entities("FileComponent")
    assert sorted((one["name"], one["size"]) for one in members) == [("0001", 100), ("0002", 100)]
