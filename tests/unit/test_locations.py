"""Locations on disk: how workers find them in ftrack, and what they call a file."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tasks.config.settings import Settings
from tasks.intake.build import Options, build_requests
from tasks.intake.errors import BadInputError
from tasks.intake.manifest import Entry
from tasks.intake.request import target_from
from tasks.stage.context import Clients
from tasks.stage.locations import located_publish, with_locations
from tasks.stage.outcomes import proves_service_up
from tasks.stage.retry_policy import own_fault
from tasks.transfer.errors import ServiceUnavailableError, TargetRefusedError
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.locations import (
    KNOWN_S,
    UNMANAGED_ID,
    Locations,
    pattern_path,
    resource_identifier,
)
from tasks.transfer.models import Transfer
from tasks.transfer.operations import Operation
from tasks.transfer.targets import Container, Location, Publish, Target
from tests.unit.conftest import new_id
from workers.doctor.ftrack import _also_in

DISK, TWIN, OTHER_TWIN = new_id(), new_id(), new_id()
ROWS = [
    {"id": DISK, "name": "disk"},
    {"id": UNMANAGED_ID, "name": "ftrack.unmanaged"},
    {"id": TWIN, "name": "twin"},
    {"id": OTHER_TWIN, "name": "twin"},
]


class Ftrack:
    """A server with these locations; it counts the calls."""

    def __init__(self, scenario: Any = None) -> None:
        self.scenario = scenario
        self.calls: list[str] = []

    def call(self, operations: Sequence[Operation]) -> list[Any]:
        self.calls.append(operations[0]["expression"])
        rows = [row for row in ROWS if any(f'"{text}"' in self.calls[-1] for text in row.values())]
        return [{"data": rows}, {"storage_scenario": self.scenario}]


def locations(ftrack: Ftrack, **folders: str) -> Locations:
    return Locations(cast("FtrackClient", ftrack), [*folders.items()])


def test_what_one_node_does_not_know_is_no_verdict() -> None:
    """Another node may have FARMHAUL_LOCATIONS, and ftrack was perhaps not asked."""
    [unknown_here] = locations(Ftrack()).find(["disk"]).values()
    [nowhere] = locations(Ftrack()).find(["dsk"]).values()
    with pytest.raises(TargetRefusedError) as elsewhere:
        resource_identifier(Location(DISK, "disk", "/mnt"), "/net/a.exr")

    for error in (unknown_here, elsewhere.value):
        assert isinstance(error, TargetRefusedError)
        assert own_fault(error) == "locations"
        assert not proves_service_up(error)
    # The API user of another node may see what this one's does not, or its server may have it.
    assert isinstance(nowhere, TargetRefusedError)
    assert own_fault(nowhere) == "ftrack"
    assert proves_service_up(nowhere)


def test_a_location_is_asked_for_once_in_a_while() -> None:
    ftrack, now = Ftrack(), [0.0]
    found = Locations(cast("FtrackClient", ftrack), [("disk", "/mnt")], lambda: now[0])
    for now[0] in (0.0, KNOWN_S - 1):
        assert found.find(["disk"]) == {"disk": Location(DISK, "disk", "/mnt")}
    assert len(ftrack.calls) == 1
    now[0] = KNOWN_S + 1
    found.find(["disk"])
    assert len(ftrack.calls) == 2


def test_what_was_not_found_is_asked_for_again() -> None:
    ftrack = Ftrack()
    found = locations(ftrack)
    for _ in range(2):
        assert "does not exist in ftrack" in str(found.find(["dsk"])["dsk"])
    assert len(ftrack.calls) == 2


def test_a_name_that_would_end_a_query_is_not_asked_for() -> None:
    ftrack = Ftrack()
    name = '" or name like "%'
    assert "does not exist in ftrack" in str(locations(ftrack).find([name])[name])
    assert ftrack.calls == []


def test_a_name_of_several_locations_is_refused() -> None:
    found = locations(Ftrack(), twin="/mnt").find(["twin", TWIN.upper()])
    assert "is the name of 2 locations in ftrack; give an id" in str(found["twin"])
    assert found[TWIN.upper()] == Location(TWIN, "twin", "/mnt")


def test_a_setting_wins_over_the_mount_point_that_ftrack_knows() -> None:
    data = {"location_id": DISK, "accessor": {"mount_points": {"linux": "/net/", "osx": "/net/"}}}
    ftrack = Ftrack({"data": data})
    assert locations(ftrack).find(["disk"])["disk"] == Location(DISK, "disk", "/net")
    assert locations(ftrack, disk="/mnt").find(["disk"])["disk"] == Location(DISK, "disk", "/mnt")


@pytest.mark.parametrize(
    "scenario", [None, "x", {}, {"data": {"accessor": 1}}, {"data": {"accessor": {}}}]
)
def test_a_scenario_that_cannot_be_read_is_none(scenario: Any) -> None:
    assert "has no folder that is known" in str(locations(Ftrack(scenario)).find(["disk"])["disk"])


def test_a_resource_identifier_begins_below_the_folder() -> None:
    path = "/mnt/prod/sh010/f.exr"
    assert resource_identifier(Location(UNMANAGED_ID, "ftrack.unmanaged"), path) == path
    for folder in ("/mnt/prod", "/mnt/prod/"):
        assert resource_identifier(Location(DISK, "disk", folder), path) == "sh010/f.exr"
    assert resource_identifier(Location(DISK, "disk", "/"), path) == "mnt/prod/sh010/f.exr"
    with pytest.raises(TargetRefusedError, match="disk begins at /mnt/pro, and /mnt/prod/"):
        resource_identifier(Location(DISK, "disk", "/mnt/pro"), path)


@pytest.mark.parametrize(
    ("pattern", "path", "number", "expected"),
    [
        ("/a/f.%d.exr", "/b/f.0101.exr", "0101", "/b/f.%04d.exr"),
        ("/a/v0101.%d.0101", "/b/v0101.0101.0101", "0101", "/b/v0101.%04d.0101"),
        ("/a/%d.exr", "/b/0101.exr", "0101", "/b/%04d.exr"),
        ("/a/0101.%d.exr", "/b/0101.0101.exr", "0101", "/b/0101.%04d.exr"),
        ("", "/b/f.0101.exr", "0101", "/b/f.%04d.exr"),
        ("/a/f%d.exr", "/b/f0101.exr", "0101", "/b/f%04d.exr"),
        ("/a/11%d.exr", "/b/11111111.exr", "111111", "/b/11%04d.exr"),
    ],
)
def test_the_path_of_a_sequence_has_a_mark_in_the_place_of_the_number(
    pattern: str, path: str, number: str, expected: str
) -> None:
    container = Container(Target(new_id()), ".exr", 4, pattern)
    assert pattern_path(container, path, number) == expected


def test_a_sequence_without_padding_has_a_plain_mark() -> None:
    container = Container(Target(new_id()), ".exr", 0, "/a/f.%d.exr")
    assert pattern_path(container, "/a/f.7.exr", "7") == "/a/f.%d.exr"


# Which location each file of a batch gets


class Away(Ftrack):
    """A server that does not answer."""

    def call(self, operations: Sequence[Operation]) -> list[Any]:
        raise ServiceUnavailableError("ftrack", "HTTP 503")


@pytest.mark.parametrize(
    ("root", "level"),
    [("/mnt", "ok"), ("/mnt/prod", "ok"), ("/mnt/prod/sq010", "ok"), ("/mnt/pro", "fault")],
)
def test_doctor_compares_a_location_with_the_storage_roots(root: str, level: str) -> None:
    settings = SimpleNamespace(
        also_in="disk", locations=[("disk", "/mnt/prod")], storage_roots=[root]
    )

    [found] = _also_in(cast("Settings", settings), cast("FtrackClient", Ftrack()))

    assert (found.level, found.what) == (level, "also-in")


def clients(ftrack: Ftrack, also_in: str = "") -> Clients:
    found = locations(ftrack, disk="/mnt")
    settings = SimpleNamespace(also_in=also_in)
    return cast("Clients", SimpleNamespace(settings=settings, locations=found))


def file_in(folder: str, **options: Any) -> Transfer:
    target = Target.under_version(new_id(), "main", **options)
    return Transfer(new_id(), target, f"{folder}/a.exr")


def test_a_studio_registers_every_path_that_people_see() -> None:
    file = file_in("/mnt")
    thumbnail = Transfer(
        new_id(), Target.under_version(new_id(), "thumbnail", thumbnail=True), "/mnt/a.jpg"
    )
    encoded = file_in("/mnt", encode=True, encode_only=True)
    other = file_in("/mnt", also_in="ftrack.unmanaged")

    placed, refused = with_locations(clients(Ftrack(), "disk"), [file, thumbnail, encoded, other])

    found = [one.target.location for one in placed]
    unmanaged = Location(UNMANAGED_ID, "ftrack.unmanaged")
    assert found == [Location(DISK, "disk", "/mnt"), None, None, unmanaged]
    assert refused == {}


def test_without_a_location_ftrack_is_not_asked() -> None:
    file = file_in("/mnt")
    assert with_locations(clients(Away()), [file]) == ([file], {})


def test_a_file_that_cannot_have_its_location_holds_up_no_other() -> None:
    files = [file_in("/net", also_in="disk"), file_in("/mnt", also_in="dsk"), file_in("/net")]

    placed, refused = with_locations(clients(Ftrack()), files)

    assert placed == files[2:]
    errors = [str(refused[file.upload_id]) for file in files[:2]]
    assert errors[0].startswith("location disk begins at /mnt, and /net/a.exr is not in it")
    assert errors[1].startswith("location dsk does not exist")


def test_if_ftrack_is_away_only_those_wait_that_need_it() -> None:
    files = [file_in("/mnt", also_in="disk"), file_in("/mnt")]
    placed, refused = with_locations(clients(Away()), files)
    assert placed == files[1:]
    assert isinstance(refused[files[0].upload_id], ServiceUnavailableError)


def test_a_sequence_decides_for_frames_that_were_stored_before() -> None:
    sequence = Target.under_version(new_id(), "exr", also_in="disk")
    frame = Target.frame(sequence, "1001")._replace(also_in="")
    publish = Publish((Container(sequence, ".exr", 4),))
    last = Transfer(new_id(), Target(sequence.component_id), "/mnt/f", publish=publish)

    shown, [member] = located_publish(
        clients(Ftrack()), last, [Transfer(new_id(), frame, "/mnt/f.1001.exr")]
    )

    assert shown.publish
    for target in (member.target, shown.publish.containers[0].target):
        assert target.location == Location(DISK, "disk", "/mnt")
    with pytest.raises(TargetRefusedError, match="begins at /mnt"):
        located_publish(clients(Ftrack()), last, [Transfer(new_id(), frame, "/f.1001.exr")])


# What a hook takes

VERSION = new_id()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"also_in": " "}, "--also-in is empty"),
        ({"only_in": ""}, "--only-in is empty"),
        ({"only_in": "a", "also_in": "b"}, "--only-in cannot be used with --also-in"),
        ({"only_in": "a", "thumbnail": True}, "--only-in cannot be used with --thumbnail"),
        ({"only_in": "a", "encode": True}, "--only-in cannot be used with --encode"),
        ({"also_in": "a", "encode_only": True}, "--also-in cannot be used with --encode-only"),
        ({"also_in": "a\nb"}, "contains characters that cannot be stored"),
    ],
)
def test_a_location_that_does_not_go_with_the_rest_is_refused(
    options: dict[str, Any], said: str
) -> None:
    entry = Entry("/mnt/a.jpg", version_id=VERSION, **options)
    farm = Settings("redis://h/0", storage_roots=("/mnt",))
    with pytest.raises(BadInputError, match=said):
        build_requests([entry], farm, Options(stat=False))


def test_a_path_more_is_no_other_upload_but_a_path_alone_is() -> None:
    farm = Settings("redis://h/0", storage_roots=("/mnt",))
    entry = Entry("/mnt/f.%04d.exr [1-2]", version_id=VERSION)
    entries = [entry, entry._replace(also_in="a")]
    entries += [entry._replace(only_in=name) for name in ("a", "b")]

    plain, also, only, other = (
        build_requests([one], farm, Options(stat=False))[0].upload_id for one in entries
    )

    assert plain == also
    assert len({plain, only, other}) == 3


@pytest.mark.parametrize("odd", [{"location": ["a", "b", "/"]}, {"also_in": 5}, {"only_in": ["a"]}])
def test_a_record_names_its_location_and_no_folder(odd: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="its location is not a name"):
        target_from({"component_id": new_id(), **odd})
