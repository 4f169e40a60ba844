"""What ftrack's own Python client finds of a publish, and what its users do with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import requests

from tests.farm import Farm
from tests.helpers.checking import check
from tests.sandbox import seed
from tests.sandbox.official import official_client

UNDER = ("--version-id", seed.VERSION_ID)
SERVER = seed.SERVER_LOCATION_ID


def frames(farm: Farm, name: str, count: int) -> Path:
    """Write *count* frames, each of another size, and return their pattern."""
    folder = farm.make_file(name % 1001, 2000).parent
    for number in range(1002, 1001 + count):
        farm.make_file(name % number, 1000 + number, folder.name)
    return folder / name


def download(location: Any, component: Any) -> bytes:
    """Read a component as tools do: by the accessor of its location."""
    data = location.accessor.open(location.get_resource_identifier(component), "rb")
    try:
        read: bytes = data.read()
        return read
    finally:
        data.close()


def fetched(url: str) -> bytes:
    """Read what a URL leads to, as a browser does."""
    answer = requests.get(url, timeout=20)
    answer.raise_for_status()
    return answer.content


def check_members(server: Any, sequence: Any, pattern: Path, count: int) -> None:
    """Check that each frame is there once, and has the bytes that are on disk."""
    numbers = [str(number) for number in range(1001, 1001 + count)]
    assert sorted(member["name"] for member in sequence["members"]) == numbers
    for member in sequence["members"]:
        on_disk = Path(str(pattern) % int(member["name"]))
        assert download(server, member) == on_disk.read_bytes()
        assert member["size"] == on_disk.stat().st_size
        assert member["file_type"] == on_disk.suffix * (on_disk.suffix == ".exr")


def test_a_publish_is_all_that_tools_ask_for(farm: Farm) -> None:
    pattern = frames(farm, "beauty.%04d.exr", 3)
    files = {
        name: farm.make_file(f"b.{kind}", 3000, pattern.parent.name)
        for name, kind in (("movie", "mov"), ("ftrackreview-mp4", "mp4"), ("thumbnail", "jpg"))
    }
    shared = {"context": "demo/sh010", "asset": "beauty", "asset_type": "render"}
    shared |= {"task": seed.TASK_ID, "comment": "first light", "status": "Pending review"}
    also_in, size = {"also_in": "ftrack.unmanaged"}, {"fps": "24", "resolution": "1280x720"}
    rows: list[dict[str, Any]] = [
        {"path": str(pattern), "name": "exr", **also_in, "metadata": {"colour": "ACEScg"}},
        {"path": str(files["movie"]), "name": "movie", "encode": True, **also_in},
        {"path": str(files["ftrackreview-mp4"]), "reviewable": True, **size}
        | {"frame_range": "1001-1003"},
        {"path": str(files["thumbnail"]), "thumbnail": True},
    ]

    farm.enqueue_manifest([{**row, **shared, "publish": "p"} for row in rows], "--wait")

    with official_client(farm.sandbox) as session:
        version = session.query(
            'AssetVersion where asset.name is "beauty" and asset.parent.name is "sh010"'
        ).one()
        assert (version["version"], version["comment"]) == (1, "first light")
        assert (version["status"]["name"], version["task"]["name"]) == (
            "Pending review",
            "lighting",
        )
        assert version["is_latest_version"]
        assert version["asset"]["latest_version"] == version
        assert version["user"]["username"] == seed.API_USER
        assert [one["name"] for one in version["link"]] == ["demo", "sh010", "beauty v1"]
        # But for what ftrack has made of the movie.
        job = session.query("select status, data from Job where type is encode").one()
        about = json.loads(job["data"])
        encoded = {one["component_id"] for one in about["output"]}
        found = [one for one in version["components"] if one["id"] not in encoded]
        components = {one["name"]: one for one in found}
        assert sorted(components) == ["exr", "ftrackreview-mp4", "movie"]
        server = session.get("Location", SERVER)
        disk = session.query('Location where name is "ftrack.unmanaged"').one()

        sequence = components["exr"]
        assert (sequence["padding"], sequence["metadata"]["colour"]) == (4, "ACEScg")
        assert sequence["size"] == sum(one.stat().st_size for one in pattern.parent.glob("*.exr"))
        check_members(server, sequence, pattern, 3)
        assert disk.get_filesystem_path(sequence) == str(pattern)
        assert disk.get_filesystem_path(components["movie"]) == str(files["movie"])
        for name in ("movie", "ftrackreview-mp4"):
            content = files[name].read_bytes()
            assert download(server, components[name]) == content
            assert fetched(server.get_url(components[name])) == content
            [place] = [
                one
                for one in components[name]["component_locations"]
                if one["location_id"] == SERVER
            ]
            assert fetched(place["url"]["value"]) == content
        assert json.loads(components["ftrackreview-mp4"]["metadata"]["ftr_meta"]) == {
            "frameIn": 0, "frameOut": 3, "frameRate": 24, "width": 1280, "height": 720
        }  # fmt: skip

        thumbnail = version["thumbnail"]
        assert (thumbnail["name"], thumbnail["version_id"]) == ("thumbnail", None)
        content = files["thumbnail"].read_bytes()
        assert fetched(version["thumbnail_url"]["value"]) == content
        assert fetched(server.get_thumbnail_url(thumbnail, 300)) == content
        assert about["source_component_id"] == components["movie"]["id"]


def test_frames_that_another_program_exchanged_are_there_once(farm: Farm) -> None:
    pattern = frames(farm, "beauty.%04d.exr", 4)
    what = (pattern, *UNDER, "--name", "exr", "--wait")
    [upload] = farm.enqueue(*what)
    # As ayon-ftrack does, with component_overwrite (integrate_ftrack_api.py).
    with official_client(farm.sandbox) as session:
        server = session.get("Location", SERVER)
        origin = session.query('Location where name is "ftrack.origin"').one()
        sequence = session.get("SequenceComponent", upload["component_id"])
        for component in (*sequence["members"], sequence):
            server.remove_component(component, recursive=False)
        for member in list(sequence["members"]):
            session.delete(member)
        session.commit()
        sequence["members"] = []
        for number in range(1001, 1005):
            path = str(pattern) % number
            fields = {"name": str(number), "container": sequence, "file_type": ".exr"}
            member = session.create("FileComponent", {**fields, "size": Path(path).stat().st_size})
            origin.add_component(member, path, recursive=False)
            sequence["members"].append(member)
        server.add_component(sequence, origin, recursive=True)
        session.commit()
    farm.make_file("beauty.1002.exr", 1500, pattern.parent.name)

    done = farm.cli("enqueue", *what)
    assert "another program" in done.stderr
    farm.enqueue(*what, "--replace")

    with official_client(farm.sandbox) as session:
        server = session.get("Location", SERVER)
        check_members(server, session.query('Component where name is "exr"').one(), pattern, 4)


def test_frames_without_an_extension_have_no_file_type(farm: Farm, tmp_path: Path) -> None:
    pattern = frames(farm, "sim.%04d", 3)
    [upload] = farm.enqueue(f"{pattern} [1001-1003]", *UNDER, "--wait")

    with official_client(farm.sandbox) as session:
        sequence = session.get("SequenceComponent", upload["component_id"])
        assert (sequence["name"], sequence["file_type"] or "") == ("sim", "")
        check_members(session.get("Location", SERVER), sequence, pattern, 3)
    done = farm.cli("fetch", upload["component_id"], "--to", tmp_path)
    assert done.returncode == 0, done.stderr
    found = {path.name: path.read_bytes() for path in tmp_path.rglob("sim.*")}
    assert found == {path.name: path.read_bytes() for path in pattern.parent.iterdir()}


def test_what_another_program_has_made_is_completed(farm: Farm) -> None:
    pattern = frames(farm, "plate.%04d.exr", 3)
    movie = farm.make_file("plate.mov", 3001, pattern.parent.name)
    with official_client(farm.sandbox) as session:
        version = session.get("AssetVersion", seed.VERSION_ID)
        made = [
            session.create(kind, {"name": name, "version": version, **more})["id"]
            for kind, name, more in (
                ("SequenceComponent", "exr", {"padding": 4}),
                ("FileComponent", "movie", {}),
            )
        ]
        session.commit()

    for path, component_id in zip((pattern, movie), made, strict=True):
        farm.enqueue(path, "--component-id", component_id, "--wait")

    with official_client(farm.sandbox) as session:
        server = session.get("Location", SERVER)
        sequence, file = (session.get("Component", component_id) for component_id in made)
        assert file["size"] == 3001
        check_members(server, sequence, pattern, 3)
        assert made[0] in server.get_url(sequence)
        server.remove_component(sequence)
        assert server.get_component_availability(sequence) == 0
    assert [one["component_id"] for one in farm.sandbox.ftrack.entities("ComponentLocation")] == [
        made[1]
    ]


def test_a_sequence_that_lost_its_own_location_gets_it_again(farm: Farm) -> None:
    pattern = frames(farm, "beauty.%04d.exr", 3)
    what = (pattern, *UNDER, "--name", "exr")
    [upload] = farm.enqueue(*what, "--wait")
    with official_client(farm.sandbox) as session:
        server = session.get("Location", SERVER)
        sequence = session.get("SequenceComponent", upload["component_id"])
        server.remove_component(sequence, recursive=False)
    puts = len(farm.sandbox.store.puts())
    lines = check(farm, *what, code=1)
    assert [line["state"] for line in lines].count("missing in ftrack") == 1

    farm.enqueue(*what, "--wait")

    assert {line["state"] for line in check(farm, *what)} == {"same"}
    assert len(farm.sandbox.store.puts()) == puts
    with official_client(farm.sandbox) as session:
        sequence = session.get("SequenceComponent", upload["component_id"])
        assert sequence.get_availability()[SERVER] == 100


def test_a_picture_that_is_attached_to_a_note_comes_from_the_farm(farm: Farm) -> None:
    sheet, movie = farm.make_file("sheet.jpg", 3000), farm.make_file("take.mov", 4000)
    made: list[str] = []
    with official_client(farm.sandbox) as session:
        author = session.query(f'User where username is "{seed.API_USER}"').one()
        version = session.get("AssetVersion", seed.VERSION_ID)
        note = version.create_note("frames 1013-1020 flicker", author)
        for name, file_type in (("sheet", ".jpg"), ("take", ".mov")):
            fields = {"name": name, "file_type": file_type}
            component = session.create("FileComponent", fields)
            attached = {"note_id": note["id"], "component_id": component["id"]}
            session.create("NoteComponent", attached)
            made.append(component["id"])
        session.commit()

    for path, component_id in zip((sheet, movie), made, strict=True):
        farm.enqueue(path, "--component-id", component_id, "--wait")

    with official_client(farm.sandbox) as session:
        version = session.get("AssetVersion", seed.VERSION_ID)
        [note] = version["notes"]
        assert (note["content"], note["author"]["username"]) == (
            "frames 1013-1020 flicker",
            seed.API_USER,
        )
        found = {one["component"]["name"]: one for one in note["note_components"]}
        for path, name in ((sheet, "sheet"), (movie, "take")):
            assert fetched(found[name]["url"]["value"]) == path.read_bytes()
            component = found[name]["component"]
            assert (component["size"], component["version_id"]) == (path.stat().st_size, None)
        assert fetched(found["sheet"]["thumbnail_url"]["value"]) == sheet.read_bytes()
        # No component of the version, as ftrack's own programs attach it.
        assert [*version["components"]] == []
        session.delete(note)
        session.commit()
    assert farm.sandbox.ftrack.entities("NoteComponent") == []
