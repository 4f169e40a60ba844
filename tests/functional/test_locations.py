"""A second location on disk: ftrack's own client finds the path, on Linux and on Windows."""

from __future__ import annotations

import json
import ntpath
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.intake.exit_codes import FAILED
from tests.farm import Farm
from tests.helpers.checking import check, states
from tests.sandbox import seed
from tests.sandbox.official import official_client

VERSION = seed.VERSION_ID
SERVER = seed.SERVER_LOCATION_ID
UNMANAGED = "cb268ecc-8809-11e3-a7e2-20c9d081909b"
#: The same in each test, because workers remember it.
DISK = "5b3e2c1a-0000-4000-8000-0000000000d1"


@pytest.fixture
def storage(farm: Farm) -> Path:
    """The central storage of a studio, as ftrack's own wizard sets it up, with all files in it."""
    farm.sandbox.ftrack.create("Location", id=DISK, name="studio.disk", label="studio.disk")
    set_up(farm, "P:\\prod")
    return farm.sandbox.storage


def set_up(farm: Farm, windows: str) -> None:
    """Set the central storage up with this mount point on Windows."""
    # A studio may well write a slash at the end.
    mounts = {"linux": f"{farm.sandbox.storage}/", "windows": windows, "osx": "/Volumes/prod"}
    data = {
        "location_name": "studio.disk",
        "location_id": DISK,
        "accessor": {"mount_points": mounts},
    }
    value = json.dumps({"scenario": "ftrack.centralized-storage", "data": data})
    key = {"name": "storage_scenario", "group": "STORAGE"}
    if farm.sandbox.ftrack.entities("Setting"):
        what = {"entity_type": "Setting", "entity_key": [*key.values()]}
        farm.sandbox.ftrack.api({"action": "update", **what, "entity_data": {"value": value}})
    else:
        farm.sandbox.ftrack.create("Setting", **key, value=value)


def on_linux(farm: Farm, location: str, component_id: str) -> dict[str, str]:
    """Return the path of a component and of each of its frames, as the official client finds it."""
    with official_client(farm.sandbox) as session:
        place = session.query(f'Location where name is "{location}"').one()
        component = session.get("Component", component_id)
        members = component.get("members") or []
        return {one["name"]: place.get_filesystem_path(one) for one in (component, *members)}


def on_windows(farm: Farm, location: str, component_id: str) -> dict[str, str]:
    """Return the same as the official client finds it on Windows, with its paths and its mount."""
    import ftrack_api._centralized_storage_scenario
    import ftrack_api.accessor.disk

    with pytest.MonkeyPatch.context() as patch:
        windows = SimpleNamespace(platform="win32")
        patch.setattr(ftrack_api._centralized_storage_scenario, "sys", windows)
        patch.setattr(ftrack_api.accessor.disk, "os", SimpleNamespace(path=ntpath))
        return on_linux(farm, location, component_id)


def render(farm: Farm, *numbers: int) -> Path:
    """Write a sequence, and return its folder."""
    name = farm.make_file(f"beauty.{numbers[0]:04d}.exr", 2000).parent.name
    for number in numbers:
        path = farm.make_file(f"beauty.{number:04d}.exr", 2000, name)
    return path.parent


def located_in(farm: Farm, component_id: str) -> dict[str, str]:
    """Return the resource identifier of a component in each location."""
    found = farm.sandbox.ftrack.locations(component_id)
    return {one["location_id"]: one["resource_identifier"] for one in found}


def refusal(farm: Farm, *arguments: str | Path) -> str:
    """Enqueue what fails, and return why."""
    done = farm.cli("enqueue", *arguments, "--wait")
    assert done.returncode == FAILED, done.stdout
    return done.stderr


def as_windows(path: Path, storage: Path, mount: str = "P:\\prod") -> str:
    return ntpath.join(mount, *path.relative_to(storage).parts)


def test_clients_find_the_path_on_linux_and_on_windows(farm: Farm, storage: Path) -> None:
    folder = render(farm, 1001, 1002)
    movie = farm.make_file("beauty.mov", 5000, folder.name)
    shared = {"version_id": VERSION, "publish": "beauty", "also_in": "studio.disk"}
    rows = [
        {"path": f"{folder}/beauty.%04d.exr", "name": "exr"},
        {"path": str(movie), "name": "movie"},
    ]

    farm.enqueue_manifest([{**row, **shared} for row in rows], "--wait")

    [sequence] = farm.sandbox.ftrack.entities("SequenceComponent")
    names = {"exr": "%04d", "1001": "1001", "1002": "1002"}
    files = {name: folder / f"beauty.{frame}.exr" for name, frame in names.items()}
    expected = {name: str(path) for name, path in files.items()}
    assert on_linux(farm, "studio.disk", sequence["id"]) == expected
    for mount in ("P:\\", "\\\\server\\prod\\shows", "P:\\prod"):
        set_up(farm, mount)
        expected = {name: as_windows(path, storage, mount) for name, path in files.items()}
        assert on_windows(farm, "studio.disk", sequence["id"]) == expected
    [component] = (
        one for one in farm.sandbox.ftrack.entities("FileComponent") if one["name"] == "movie"
    )
    assert on_windows(farm, "studio.disk", component["id"])["movie"] == as_windows(movie, storage)
    # All of it became visible at once.
    [post] = (
        call
        for call in farm.sandbox.ftrack.calls("create")
        if any(one.get("entity_type") == "ComponentLocation" for one in call["operations"])
    )
    places = [
        one["entity_data"]["location_id"]
        for one in post["operations"]
        if one.get("entity_type") == "ComponentLocation"
    ]
    assert sorted(places) == sorted([SERVER, DISK] * 4)


def test_the_unmanaged_location_has_the_whole_path(farm: Farm) -> None:
    folder = render(farm, 7, 8)
    what = (f"{folder}/beauty.%04d.exr", "--version-id", VERSION, "--name", "exr")

    [upload] = farm.enqueue(*what, "--also-in", UNMANAGED.upper(), "--wait")

    found = on_linux(farm, "ftrack.unmanaged", upload["component_id"])
    names = {"exr": "%04d", "0007": "0007", "0008": "0008"}
    assert found == {name: f"{folder}/beauty.{frame}.exr" for name, frame in names.items()}


def test_a_located_file_gets_its_path_without_a_byte(farm: Farm, storage: Path) -> None:
    folder = render(farm, 1001, 1002)
    movie = farm.make_file("beauty.mov", 5000, folder.name)
    what = (f"{folder}/beauty.%04d.exr", movie, "--version-id", VERSION, "--wait")
    uploads = farm.enqueue(*what)
    puts = len(farm.sandbox.store.puts())

    assert farm.enqueue(*what, "--also-in", "studio.disk") == uploads

    assert len(farm.sandbox.store.puts()) == puts
    for path, upload in zip((folder / "beauty.%04d.exr", movie), uploads, strict=True):
        relative = str(path.relative_to(storage))
        component_id = upload["component_id"]
        assert located_in(farm, component_id) == {SERVER: component_id, DISK: relative}
    assert len(on_linux(farm, "studio.disk", uploads[0]["component_id"])) == 3


def test_a_file_that_has_moved_gets_its_new_path(farm: Farm, storage: Path) -> None:
    what = ("--version-id", VERSION, "--name", "main", "--also-in", "studio.disk", "--wait")
    paths = [farm.make_file("main.exr", 3000 + number) for number in range(2)]
    farm.enqueue(paths[0], *what)
    [upload] = farm.enqueue(paths[1], *what, "--replace")

    found = located_in(farm, upload["component_id"])

    assert found == {SERVER: upload["component_id"], DISK: str(paths[1].relative_to(storage))}


def test_a_file_can_be_registered_by_its_path_alone(farm: Farm, storage: Path) -> None:
    folder = render(farm, 1001, 1002)
    cache = farm.make_file("sim.vdb", 5000, folder.name)
    what = (f"{folder}/beauty.%04d.exr", cache, "--version-id", VERSION, "--wait")

    uploads = farm.enqueue(*what, "--only-in", "studio.disk")

    assert [upload["state"] for upload in uploads] == ["located", "located"]
    assert farm.sandbox.store.puts() == []
    assert farm.sandbox.ftrack.count_calls("get_upload_metadata") == 0
    for upload, path in zip(uploads, (folder / "beauty.%04d.exr", cache), strict=True):
        relative = str(path.relative_to(storage))
        assert located_in(farm, upload["component_id"]) == {DISK: relative}
        component = farm.sandbox.ftrack.get("Component", upload["component_id"])
        assert component
        assert component["size"] >= 4000
    assert len(on_linux(farm, "studio.disk", uploads[0]["component_id"])) == 3

    assert [line["state"] for line in check(farm, "--version-id", VERSION)] == ["same"] * 3
    by_path = (cache, "--version-id", VERSION, "--only-in", "studio.disk")
    check(farm, *by_path)
    cache.write_bytes(b"other")
    assert states(check(farm, *by_path, code=1)) == {"sim.vdb": "size differs"}

    # Somebody wants it in ftrack after all.
    [upload] = farm.enqueue(cache, "--version-id", VERSION, "--wait")
    assert SERVER in located_in(farm, upload["component_id"])
    why = refusal(farm, cache, "--version-id", VERSION, "--only-in", "studio.disk")
    assert "is in ftrack.server already, and with --only-in nothing is uploaded" in why
    again = (cache, "--version-id", VERSION, "--only-in", "studio.disk", "--replace", "--wait")
    farm.enqueue(*again)
    assert located_in(farm, upload["component_id"]) == {DISK: str(cache.relative_to(storage))}


def test_an_unusable_location_is_refused_before_anything_is_sent(farm: Farm) -> None:
    farm.sandbox.ftrack.create("Location", name="studio.tape", label="studio.tape")
    reasons = {
        "studio.dsk": "location studio.dsk does not exist in ftrack; correct --also-in",
        "ftrack.server": "location ftrack.server is where files are uploaded to",
        "studio.tape": "location studio.tape has no folder that is known here; set FARMHAUL_LOC",
    }
    rows = [
        {"path": str(farm.make_file("main.exr", 3000)), "version_id": VERSION, "name": location}
        for location in reasons
    ]
    manifest = "\n".join(json.dumps({**row, "also_in": row["name"]}) for row in rows)

    done = farm.cli("enqueue", "--manifest", "-", "--wait", stdin=manifest)

    assert done.returncode == FAILED
    for why in reasons.values():
        assert why in done.stderr
    assert farm.sandbox.store.puts() == []
