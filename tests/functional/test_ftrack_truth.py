"""ftrack is the truth about what is there: what other clients have removed is sent again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.farm import Farm
from tests.helpers.looks import let_an_hour_pass
from tests.sandbox import seed
from tests.sandbox.official import official_client

VERSION = seed.VERSION_ID


@pytest.fixture
def official(farm: Farm) -> Iterator[Any]:
    with official_client(farm.sandbox) as session:
        yield session


def render(farm: Farm, count: int) -> Path:
    """Write a sequence, and return its folder."""
    folder = farm.make_file("beauty.1001.exr", 2000).parent
    for number in range(1002, 1001 + count):
        farm.make_file(f"beauty.{number}.exr", 2000, folder.name)
    return folder


def remove(session: Any, kind: str, component_id: str) -> None:
    """Remove a component from ftrack.server as other tools do: bytes and locations."""
    server = session.get("Location", seed.SERVER_LOCATION_ID)
    server.remove_component(session.get(kind, component_id))


def sent(farm: Farm) -> Counter[str]:
    """Count the PUTs of each component."""
    return Counter(put["key"] for put in farm.sandbox.store.puts())


def check_readable(session: Any, sequence_id: str, folder: Path, frames: int) -> None:
    """Check with the official client that every frame of a sequence can be read, once each."""
    sequence = session.get("SequenceComponent", sequence_id)
    members = {member["name"]: member for member in sequence["members"]}
    assert len(sequence["members"]) == len(members) == frames
    server = session.get("Location", seed.SERVER_LOCATION_ID)
    assert server.get_component_availability(sequence) == 100.0
    for name, member in members.items():
        data = server.accessor.open(server.get_resource_identifier(member), "rb")
        assert data.read() == (folder / f"beauty.{name}.exr").read_bytes()
        data.close()


@pytest.mark.parametrize("again", ["enqueue", "retry"])
def test_files_that_are_gone_from_ftrack_are_sent_again(
    again: str, farm: Farm, official: Any
) -> None:
    paths = [farm.make_file(f"{name}.exr", 3000) for name in ("removed", "deleted", "kept")]
    what: tuple[str | Path, ...] = (*paths, "--version-id", VERSION, "--wait")
    uploads = farm.enqueue(*what)
    removed, deleted, kept = (upload["component_id"] for upload in uploads)
    for component_id in (removed, deleted):
        remove(official, "FileComponent", component_id)
    official.delete(official.get("FileComponent", deleted))
    official.commit()

    if again == "enqueue":
        assert farm.enqueue(*what) == uploads
    else:
        ids = [upload["upload_id"] for upload in uploads]
        farm.cli("retry", *ids)
        farm.wait_located(ids)

    assert sent(farm) == {removed: 2, deleted: 2, kept: 1}
    for component_id, path in zip((removed, deleted), paths, strict=False):
        assert farm.sandbox.store.read(component_id) == path.read_bytes()
        [location] = farm.sandbox.ftrack.locations(component_id)
        assert location["location_id"] == seed.SERVER_LOCATION_ID


def move_to_another_version(official: Any, component_id: str) -> str:
    component = official.get("Component", component_id)
    asset = official.get("AssetVersion", VERSION)["asset"]
    component["version"] = official.create("AssetVersion", {"asset": asset})
    official.commit()
    return str(component["version_id"])


@pytest.mark.parametrize("again", [[], ["--replace"]])
def test_a_component_that_was_moved_to_another_version_is_left_alone(
    again: list[str], farm: Farm, official: Any
) -> None:
    path = farm.make_file("main.exr", 3000)
    what: tuple[str | Path, ...] = (path, "--version-id", VERSION, "--wait")
    [upload] = farm.enqueue(*what)
    other = move_to_another_version(official, upload["component_id"])

    for size in (3000, 3500):
        if size != 3000:
            farm.make_file("main.exr", size, path.parent.name)
        done = farm.cli("enqueue", *what, *again)

        assert done.returncode == 4
        assert f"is in version {other} in ftrack, not in version" in done.stderr
    assert sent(farm) == {upload["component_id"]: 1}


def test_a_sequence_that_was_moved_to_another_version_is_left_alone(
    farm: Farm, official: Any
) -> None:
    for number in (1, 2):
        path = farm.make_file(f"b.000{number}.exr", 3000, folder="frames")
    what = (f"{path.parent}/b.%04d.exr [1-2]", "--version-id", VERSION, "--wait")
    [sequence] = farm.enqueue(*what)
    other = move_to_another_version(official, sequence["component_id"])
    before = sent(farm)

    done = farm.cli("enqueue", *what)

    assert done.returncode == 4
    assert f"is in version {other} in ftrack, not in version {VERSION}" in done.stderr
    assert sent(farm) == before


def test_a_hook_that_fires_again_costs_few_queries_for_many_files(farm: Farm) -> None:
    paths = [farm.make_file(f"{name}.exr", 1000) for name in "abcdefghijklmnopqrst"]
    what: tuple[str | Path, ...] = (*paths, "--version-id", VERSION, "--wait")
    uploads = farm.enqueue(*what)
    before = farm.sandbox.ftrack.count_calls()

    assert farm.enqueue(*what) == uploads

    # One for each batch, and mostly there is one.
    assert farm.sandbox.ftrack.count_calls() - before <= 4
    assert set(sent(farm).values()) == {1}
    # Nobody has asked ftrack when this hook returns.
    assert {upload["state"] for upload in farm.enqueue(*what[:-1])} == {"queued"}


def test_a_sequence_that_is_gone_from_ftrack_is_sent_again(farm: Farm, official: Any) -> None:
    folder = render(farm, 4)
    what = (folder, "--version-id", VERSION, "--name", "exr", "--wait")
    [upload] = farm.enqueue(*what)
    remove(official, "SequenceComponent", upload["component_id"])
    farm.make_file("beauty.1002.exr", 2500, folder.name)

    farm.enqueue(*what)

    assert sorted(sent(farm).values()) == [2, 2, 2, 2]
    with official_client(farm.sandbox) as fresh:
        check_readable(fresh, upload["component_id"], folder, 4)


def test_one_frame_that_is_gone_from_ftrack_is_sent_alone(farm: Farm, official: Any) -> None:
    folder = render(farm, 4)
    what = (folder, "--version-id", VERSION, "--name", "exr", "--wait")
    [upload] = farm.enqueue(*what)
    sequence = official.get("SequenceComponent", upload["component_id"])
    lost = next(member for member in sequence["members"] if member["name"] == "1003")
    for times, again in ((2, "enqueue"), (3, "retry")):
        with official_client(farm.sandbox) as session:
            remove(session, "FileComponent", lost["id"])

        if again == "enqueue":
            assert farm.enqueue(*what) == [upload]
        else:
            farm.cli("retry", upload["upload_id"])
            farm.wait_located([upload["upload_id"]])

        resent = {key: count for key, count in sent(farm).items() if count > 1}
        assert resent == {lost["id"]: times}
    with official_client(farm.sandbox) as session:
        check_readable(session, upload["component_id"], folder, 4)


@pytest.mark.parametrize("again", ["enqueue", "retry"])
def test_bytes_that_only_the_store_has_lost_are_sent_again(again: str, farm: Farm) -> None:
    folder = render(farm, 3)
    still = farm.make_file("still.exr", 3000)
    what = (folder, still, "--version-id", VERSION, "--wait")
    uploads = farm.enqueue(*what)
    [lost, other, _] = sorted(
        one["id"] for one in farm.sandbox.ftrack.entities("FileComponent") if one["container_id"]
    )
    farm.sandbox.store.delete(lost)
    farm.sandbox.store.write(other, b"x" * 2000)
    farm.sandbox.store.delete(uploads[1]["component_id"])
    ids = [upload["upload_id"] for upload in uploads]

    for _ in range(2):
        if again == "enqueue":
            assert farm.enqueue(*what) == uploads
        else:
            farm.cli("retry", *ids)
            farm.wait_located(ids)

    resent = {key for key, count in sent(farm).items() if count > 1}
    assert resent == {lost, other, uploads[1]["component_id"]}
    assert max(sent(farm).values()) == 2
    with official_client(farm.sandbox) as session:
        check_readable(session, uploads[0]["component_id"], folder, 3)
    assert farm.sandbox.store.read(uploads[1]["component_id"]) == still.read_bytes()


def test_the_store_is_asked_once_an_hour_for_each_file(farm: Farm) -> None:
    folder = render(farm, 3)
    still = farm.make_file("still.exr", 3000)
    what = (folder, still, "--version-id", VERSION, "--wait")
    uploads = farm.enqueue(*what)

    totals = farm.redis.hgetall("farmhaul:totals")

    for hour in (1, 2):
        for _ in range(2):
            assert farm.enqueue(*what) == uploads
        asked = Counter(get["key"] for get in farm.sandbox.store.gets())
        assert asked == dict.fromkeys(sent(farm), hour)
        let_an_hour_pass(farm.redis)
    assert [*sent(farm).values()] == [1] * 4
    counted = farm.redis.hgetall("farmhaul:totals")
    for what_ended in ("enqueued", "stored", "located"):
        assert counted.get(what_ended) == totals.get(what_ended)

    # What is sent anyway need not be looked at.
    farm.make_file("beauty.1002.exr", 2500, folder.name)
    farm.enqueue(*what)
    assert len(farm.sandbox.store.gets()) == 4 + 4 + 3


def test_who_cannot_look_into_the_store_believes_ftrack(farm: Farm) -> None:
    folder = render(farm, 2)
    uploads = farm.enqueue(folder, "--version-id", VERSION, "--wait")
    # What a proxy may make of a redirect.
    number = farm.sandbox.faults.add("ftrack", "status", 200, method="GET")

    assert farm.enqueue(folder, "--version-id", VERSION, "--wait") == uploads

    assert farm.sandbox.faults.struck(number)
    assert [*sent(farm).values()] == [1, 1]


def test_an_empty_component_of_another_client_is_filled(farm: Farm, official: Any) -> None:
    version = official.get("AssetVersion", VERSION)
    made = official.create("FileComponent", {"name": "plate", "version": version})
    official.commit()
    path = farm.make_file("plate.exr", 3000)
    what = (path, "--version-id", VERSION, "--name", "plate", "--wait")

    farm.enqueue(*what)

    with official_client(farm.sandbox) as session:
        [component] = session.query(f"Component where version_id is {VERSION}")
        assert (component["id"], component["size"]) == (made["id"], 3000)
        assert component["file_type"] == ".exr"
        server = session.get("Location", seed.SERVER_LOCATION_ID)
        assert server.get_component_availability(component) == 100.0
    assert farm.sandbox.store.read(made["id"]) == path.read_bytes()
    # Rendered again, and fired twice.
    path.write_bytes(b"new" * 700)
    for _ in range(2):
        farm.enqueue(*what)
    assert sent(farm) == {made["id"]: 2}
    assert [row["size"] for row in farm.sandbox.ftrack.entities("FileComponent")] == [2100]


def test_a_thumbnail_belongs_to_no_version_and_wins_over_an_encoding(
    farm: Farm, official: Any
) -> None:
    movie, still = farm.make_file("sh010.mov", 5000), farm.make_file("sheet.jpg", 3000)
    of_version = ("--version-id", VERSION)
    # Enqueued first, because an encoding that comes later sets a picture of its own.
    thumbnail = (still, *of_version, "--thumbnail", "--task-id", seed.SHOT_ID, "--wait")
    [upload] = farm.enqueue(*thumbnail)
    farm.enqueue(movie, *of_version, "--encode", "--wait")

    version, shot = official.get("AssetVersion", VERSION), official.get("Shot", seed.SHOT_ID)
    assert version["thumbnail_id"] == shot["thumbnail_id"] == upload["component_id"]
    component = official.get("FileComponent", upload["component_id"])
    assert (component["name"], component["file_type"]) == ("thumbnail", ".jpg")
    assert component["version_id"] is None
    assert {one["name"] for one in version["components"]} == {"sh010_mov", "ftrackreview-mp4"}
    posts = [call["actions"] for call in farm.sandbox.ftrack.calls("update")]
    assert all(actions == ["update"] * len(actions) for actions in posts)

    # The next one is of other files, and takes its place.
    other = farm.make_file("sheet2.png", 2000)
    [again] = farm.enqueue(other, *of_version, "--thumbnail", "--wait")
    assert again["component_id"] == upload["component_id"]
    component = farm.sandbox.ftrack.get("FileComponent", again["component_id"])
    assert component
    assert (component["file_type"], component["size"]) == (".png", 2000)
    assert farm.sandbox.store.read(again["component_id"]) == other.read_bytes()


def test_only_what_ftrack_has_encoded_stays(farm: Farm, official: Any) -> None:
    movie = farm.make_file("sh010.mov", 5000)
    what = (movie, "--version-id", VERSION, "--encode-only", "--wait")

    for _ in range(2):
        farm.enqueue(*what)

    [call] = farm.sandbox.ftrack.calls("encode_media")
    [asked] = [one for one in call["operations"] if one["action"] == "encode_media"]
    assert asked["keep_original"] is False
    left = official.query(f"select name from Component where version_id is {VERSION}")
    assert [one["name"] for one in left] == ["ftrackreview-mp4"]
    assert len(farm.sandbox.store.puts()) == 1


def test_a_sequence_that_exists_is_completed_and_pruned(farm: Farm, official: Any) -> None:
    version = official.get("AssetVersion", VERSION)
    made = official.create("SequenceComponent", {"name": "exr", "version": version, "padding": 4})
    official.commit()
    folder = render(farm, 4)
    path = f"{folder}/beauty.%04d.exr"
    what = (path, "--component-id", made["id"], "--metadata", "colour=ACEScg", "--wait")

    farm.enqueue(*what)
    with official_client(farm.sandbox) as session:
        check_readable(session, made["id"], folder, 4)
        sequence = session.get("SequenceComponent", made["id"])
        assert (sequence["name"], sequence["version_id"]) == ("exr", VERSION)
        assert (sequence["file_type"], sequence["size"]) == (".exr", 4 * 2000)
        assert sequence["metadata"]["colour"] == "ACEScg"
    assert farm.enqueue(*what)[0]["state"] == "located"
    assert set(sent(farm).values()) == {1}

    # Two of the frames are no longer part of it.
    for number in (1003, 1004):
        (folder / f"beauty.{number}.exr").unlink()
    farm.enqueue(*what)
    assert len(farm.sandbox.ftrack.entities("FileComponent")) == 4
    farm.enqueue(*what, "--prune")
    with official_client(farm.sandbox) as session:
        check_readable(session, made["id"], folder, 2)
        assert session.get("SequenceComponent", made["id"])["size"] == 2 * 2000

    # A frame may be named by its own id.
    frame = farm.make_file("beauty.1001.exr", 5000, folder.name)
    members = farm.sandbox.ftrack.entities("FileComponent")
    [first] = [one["id"] for one in members if one["name"] == "1001"]
    farm.enqueue(frame, "--component-id", first, "--wait")
    with official_client(farm.sandbox) as session:
        check_readable(session, made["id"], folder, 2)
        assert session.get("SequenceComponent", made["id"])["size"] == 5000 + 2000

    done = farm.cli("enqueue", frame, *what[1:])
    assert f"component {made['id']} is a sequence in ftrack, not a file" in done.stderr
