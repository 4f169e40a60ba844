"""What a user typed or a manifest holds: all of it is checked before any of it is queued."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.config.settings import Settings
from tasks.intake.build import BadInputError, Entry, Intake, read_manifest
from tasks.intake.manifest import MANIFEST_KEYS
from tasks.intake.request import UploadRequest
from tasks.transfer.models import Target

COMPONENT = "5d2c9f6e-1b1e-4b4a-9d0c-3f1f8c6c7a10"
VERSION = "9f1d4c1e-7a3b-4a55-8a5e-0c9b6a1f2e3d"


def intake_of(*roots: object, **options: Any) -> Intake:
    path_map = options.pop("path_map", ())
    settings = Settings("", storage_roots=tuple(map(str, roots)), path_map=path_map)
    return Intake(settings, **options)


@pytest.fixture
def intake(root: Path) -> Intake:
    return intake_of(root)


@pytest.fixture
def file(root: Path) -> Path:
    path = root / "main.0101.exr"
    path.write_bytes(b"pixels")
    return path


def complaint(intake: Intake, *entries: Entry) -> str:
    """The one line that a user gets to see."""
    with pytest.raises(BadInputError) as raised:
        intake.requests(entries)
    line = str(raised.value)
    assert len(line.splitlines()) == 1
    assert len(line) < 1000
    line.encode()
    return line


# Good input


def test_a_file_for_a_component_becomes_a_request(intake: Intake, file: Path) -> None:
    status = file.stat()

    assert intake.requests([Entry(str(file), COMPONENT.upper())]) == [
        UploadRequest(str(file), Target(COMPONENT), status.st_size, status.st_mtime_ns)
    ]


def test_a_file_for_a_version_becomes_a_component_named_after_it(
    intake: Intake, file: Path
) -> None:
    [request] = intake.requests(
        [Entry(str(file), version_id=VERSION.upper(), thumbnail=True, encode=True)]
    )
    assert isinstance(request, UploadRequest)

    assert request.target == Target.under_version(VERSION, "main.0101", thumbnail=True, encode=True)


def test_a_component_is_named_as_the_user_says(intake: Intake, file: Path) -> None:
    [request] = intake.requests([Entry(str(file), version_id=VERSION, name="beauty")])
    assert isinstance(request, UploadRequest)

    assert request.target.name == "beauty"


def test_a_file_that_is_named_twice_for_its_component_is_no_fault(
    intake: Intake, file: Path
) -> None:
    first, second = intake.requests([Entry(str(file), COMPONENT), Entry(str(file), COMPONENT)])

    assert first == second


def test_a_relative_path_is_one_below_the_current_folder(
    intake: Intake, file: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)

    assert intake.requests([Entry("x/../main.0101.exr", COMPONENT)])[0].path == str(file)


def test_a_symlink_below_the_roots_keeps_its_name(intake: Intake, file: Path, root: Path) -> None:
    (root / "latest.exr").symlink_to(file)

    assert intake.requests([Entry(f"{root}/latest.exr", COMPONENT)])[0].path.endswith("latest.exr")


@pytest.mark.parametrize("name", ["a b.exr", 'a"b.exr', "ünï.exr", "%41.exr", "🎬.exr", "x" * 250])
def test_a_file_of_any_name_is_taken(name: str, intake: Intake, root: Path) -> None:
    (root / name).write_bytes(b"pixels")

    assert intake.requests([Entry(str(root / name), COMPONENT)])[0].path == str(root / name)


def test_an_empty_file_is_taken_when_that_is_allowed(root: Path) -> None:
    (root / "empty").touch()

    [request] = intake_of(root, allow_empty=True).requests([Entry(f"{root}/empty", COMPONENT)])
    assert isinstance(request, UploadRequest)

    assert request.size_bytes == 0
    assert request.allow_empty


def test_without_a_look_a_file_need_not_be_there(root: Path) -> None:
    [request] = intake_of(root, stat=False).requests([Entry(f"{root}/later.exr", COMPONENT)])
    assert isinstance(request, UploadRequest)

    assert (request.size_bytes, request.mtime_ns) == (None, None)


def test_a_node_local_file_belongs_to_this_host(root: Path, file: Path) -> None:
    [request] = intake_of(root, node_local=True).requests([Entry(str(file), COMPONENT)])
    assert isinstance(request, UploadRequest)

    assert request.host == socket.gethostname()


# Bad input


def test_without_roots_nothing_may_be_queued(file: Path) -> None:
    said = complaint(intake_of(), Entry(str(file), COMPONENT))

    assert said.startswith("FARMHAUL_STORAGE_ROOTS is not set, so nothing may be uploaded; set it")


def make_fifo(root: Path) -> str:
    os.mkfifo(root / "pipe")
    return str(root / "pipe")


def make_socket(root: Path) -> str:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
    return str(root / "socket")


def make_empty(root: Path) -> str:
    (root / "empty.exr").touch()
    return str(root / "empty.exr")


def make_link_out(root: Path) -> str:
    (root.parent / "secret").write_bytes(b"secret")
    (root / "link").symlink_to(root.parent / "secret")
    return str(root / "link")


def make_path_through_a_file(root: Path) -> str:
    (root / "file").touch()
    return str(root / "file" / "main.exr")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: f"{root}/missing.exr", "no such file here; is the name right?"),
        (make_path_through_a_file, "can not be looked at here: Not a directory; mend that, or"),
        (lambda root: f"{root}/{'x' * 300}", "File name too long; mend that"),
        (str, "is a directory; name the files in it"),
        (make_fifo, "is a FIFO; only regular files can be uploaded"),
        (make_socket, "is a socket; only regular files can be uploaded"),
        (make_empty, "--allow-empty"),
        (lambda root: f"{root}/../other.exr", "FARMHAUL_STORAGE_ROOTS"),
        (make_link_out, "/secret, which is outside"),
        (lambda _: "/dev/null", "/dev/null is outside"),
        (lambda _: "", "the path is empty; write the name of a file"),
        (lambda root: f"{root}/a\nb.exr", r"a\nb.exr' can not be written down everywhere"),
        (lambda root: f"{root}/a\0b.exr", r"a\x00b.exr' can not be written down everywhere"),
        (lambda root: f"{root}/a\udcffb", r"a\udcffb' can not be written down everywhere"),
        (lambda root: f"{root}/a\u2028b", r"a\u2028b' can not be written down everywhere"),
        (lambda root: f"{root}/" + "x/" * 5000, "it is too long, or holds"),
    ],
)
@pytest.mark.parametrize("where", ["", "manifest line 7: "])
def test_a_path_that_can_not_be_uploaded_is_told_with_the_reason_and_a_way_out(
    make: Any, said: str, where: str, intake: Intake, root: Path
) -> None:
    path = make(root)

    line = complaint(intake, Entry(path, COMPONENT, where=where))

    assert line.startswith(where)
    assert said in line
    if path.isprintable() and len(path) < 500:
        assert os.path.abspath(path) in line or not path


def test_a_device_below_a_root_is_refused() -> None:
    assert "is a device; only regular files" in complaint(
        intake_of("/dev"), Entry("/dev/null", COMPONENT)
    )


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({}, "has no target; give a component id (a component that exists) or a version id"),
        (
            {"component_id": COMPONENT, "version_id": VERSION},
            "has both a component and a version; give one of them",
        ),
        ({"component_id": "main"}, "component id 'main' is not a UUID; copy it from ftrack"),
        ({"component_id": ""}, "component id '' is not a UUID"),
        ({"component_id": COMPONENT + "\n"}, r"\n' is not a UUID"),
        ({"component_id": "{" + COMPONENT + "}"}, "is not a UUID"),
        ({"version_id": "x" * 100_000}, "xxx'… is not a UUID"),
        ({"version_id": VERSION, "name": " "}, "the name of a component can not be empty"),
        ({"version_id": VERSION, "name": "a\0b"}, r"the name 'a\x00b' can not be written down"),
        ({"version_id": VERSION, "name": "\ud800"}, r"the name '\ud800' can not be written down"),
        ({"component_id": COMPONENT, "name": "x"}, "name of"),
        ({"component_id": COMPONENT, "thumbnail": True}, "go with a version id"),
        ({"version_id": VERSION, "frame_range": "1-2", "fps": "24"}, "frame_range and fps of "),
        ({"component_id": COMPONENT, "resolution": "1x1"}, "for a review; say reviewable too"),
        ({"version_id": VERSION, "reviewable": True, "name": "cut"}, "leave out the name 'cut'"),
        (
            {"component_id": COMPONENT, "name": "x", "thumbnail": True, "encode": True},
            "name and thumbnail and encode of",
        ),
        ({"component_id": COMPONENT, "priority": "now"}, "priority 'now' is none of urgent, "),
    ],
)
def test_a_request_that_makes_no_sense_is_told_with_a_way_out(
    entry: dict[str, Any], said: str, intake: Intake, file: Path
) -> None:
    line = complaint(intake, Entry(str(file), **entry, where="manifest line 3: "))

    assert line.startswith("manifest line 3: ")
    assert said in line


def test_two_files_for_one_component_are_told_with_both_places(
    intake: Intake, file: Path, root: Path
) -> None:
    other = root / "other.exr"
    other.write_bytes(b"pixels")

    line = complaint(
        intake,
        Entry(str(file), COMPONENT, where="manifest line 1: "),
        Entry(str(other), COMPONENT.upper(), where="manifest line 2: "),
    )

    assert line == (
        f"manifest line 2: component {COMPONENT} is to have both {file} (manifest line 1) and "
        f"{other}; a component has one file: give each file its own component"
    )


def test_two_files_that_would_have_one_name_under_a_version_are_told(
    intake: Intake, file: Path, root: Path
) -> None:
    (root / "sub").mkdir()
    other = root / "sub" / file.name
    other.write_bytes(b"pixels")

    line = complaint(
        intake, Entry(str(file), version_id=VERSION), Entry(str(other), version_id=VERSION)
    )

    assert f"both {file} and {other};" in line


def test_the_first_fault_of_many_entries_is_told_and_nothing_is_taken(
    intake: Intake, file: Path
) -> None:
    line = complaint(
        intake,
        Entry(str(file), COMPONENT, where="manifest line 1: "),
        Entry(str(file), "nonsense", where="manifest line 2: "),
        Entry("", COMPONENT, where="manifest line 3: "),
    )

    assert line.startswith("manifest line 2: ")


# The manifest


def line_of(**values: object) -> str:
    return json.dumps(values)


def manifest_complaint(*lines: str) -> str:
    with pytest.raises(BadInputError) as raised:
        read_manifest(lines)
    line = str(raised.value)
    assert len(line.splitlines()) == 1
    assert len(line) < 1000
    return line


def test_a_line_of_a_manifest_may_take_a_sequence_with_holes(intake: Intake, root: Path) -> None:
    for number in (1, 3):
        (root / f"f.{number}.exr").write_bytes(b"pixels")
    line = line_of(path=f"{root}/f.%d.exr", version_id=VERSION)
    assert "1 of 3 frames are missing: 2" in complaint(intake, *read_manifest([line]))

    line = line_of(path=f"{root}/f.%d.exr", version_id=VERSION, allow_missing=True)
    [request] = intake.requests(read_manifest([line]))
    assert request.path == f"{root}/f.%d.exr [1, 3]"


def test_a_manifest_is_read_line_by_line() -> None:
    lines = [
        line_of(path="/a", component_id=COMPONENT),
        "\n",
        line_of(path="/b", version_id=VERSION, name="n", thumbnail=True, encode=False),
        line_of(path="/c", component_id=COMPONENT, name=None, priority="low"),
    ]

    entries = read_manifest(lines, priority="urgent")

    assert entries == [
        Entry("/a", COMPONENT, priority="urgent"),
        Entry("/b", version_id=VERSION, name="n", thumbnail=True, priority="urgent"),
        Entry("/c", COMPONENT, priority="low"),
    ]
    assert [entry.where for entry in entries] == [
        f"manifest line {number}: " for number in (1, 3, 4)
    ]


def test_a_manifest_without_lines_is_told() -> None:
    said = "the manifest holds no uploads; write one JSON object a line"

    assert manifest_complaint() == said
    assert manifest_complaint("\n", "  \t\n") == said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "not JSON (Expecting value); write one object a line"),
        ('{"path": "/a"', "not JSON (Expecting ',' delimiter)"),
        ("[" * 100_000, "not JSON (RecursionError)"),
        ("1" * 10_000, "not JSON (ValueError)"),
        ("[]", 'not a JSON object; write {"path": …, "component_id": …}'),
        ("null", "not a JSON object"),
        ('"/a"', "not a JSON object"),
        ("{}", 'has no path; write {"path": …'),
        (line_of(path=None), "has no path"),
        (line_of(path=5), "path must be a string"),
        (line_of(path=["/a"]), "path must be a string"),
        (line_of(path="/a", name=True), "name must be a string"),
        (line_of(path="/a", encode=1), "encode must be true or false"),
        (line_of(path="/a", thumbnail="yes"), "thumbnail must be true or false"),
        (line_of(path="/a", componentid="x"), "'componentid' is none of path, component_id"),
        (json.dumps({"path": "/a", "k" * 100_000: 1}), "k'… is none of path"),
        (json.dumps({"path": "/a", "a\nb": 1}), r"'a\nb' is none of path"),
    ],
)
def test_a_malformed_line_is_told_with_its_number(line: str, said: str) -> None:
    good = line_of(path="/a", component_id=COMPONENT)

    complained = manifest_complaint(good, "", line)

    assert complained.startswith("manifest line 3: ")
    assert said in complained


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from([*MANIFEST_KEYS, "other"]), VALUES, max_size=7)
LIKELY = st.fixed_dictionaries(
    {"path": st.text(max_size=40) | st.just("/mnt/a.exr")},
    optional={
        "component_id": st.just(COMPONENT) | st.text(max_size=40),
        "version_id": st.just(VERSION) | st.none(),
        "name": st.text(st.characters(exclude_categories=[]), max_size=20),
        "thumbnail": st.booleans(),
        "encode": st.booleans(),
        "priority": st.sampled_from(["urgent", "low", "now"]),
    },
)
LINES = st.text(max_size=80) | OBJECTS.map(json.dumps) | LIKELY.map(json.dumps)


@settings(max_examples=60, deadline=None)
@given(st.lists(LINES, max_size=4))
def test_no_manifest_raises_anything_but_bad_input_on_one_line(lines: list[str]) -> None:
    try:
        entries = read_manifest(lines)
        intake_of("/mnt", stat=False).requests(entries)
    except BadInputError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 most inputs are refused, some fit
        str(error).encode()


@pytest.mark.parametrize("depth", [10, 900, 970, 985, 990, 1000, 10_000])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_no_depth_raises_anything_but_bad_input(depth: int, brackets: str) -> None:
    opening = "[" if brackets == "[]" else '{"path":'

    assert manifest_complaint(opening * depth + "0" + brackets[1] * depth)


def test_a_huge_line_is_read_or_told_briefly(intake: Intake) -> None:
    huge = "x" * 5_000_000

    [entry] = read_manifest([line_of(path=f"/{huge}", component_id=COMPONENT)])

    assert "x'… can not be written down everywhere" in complaint(intake, entry)
    assert manifest_complaint(huge) == (
        "manifest line 1: not JSON (Expecting value); write one object a line"
    )


# Publishes


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ({"version_id": COMPONENT}, "gets a second version here"),
        ({"priority": "low"}, "gets a second priority here"),
        ({"thumbnail": True}, "gets a second thumbnail here"),
        ({"publish": " "}, "the publish has an empty name"),
        ({"metadata": {"": "x"}}, "the metadata has an empty key"),
    ],
)
def test_a_publish_is_of_one_version_and_priority_with_one_thumbnail(
    intake: Intake, file: Path, second: dict[str, Any], told: str
) -> None:
    first = {"version_id": VERSION, "publish": "main", "path": str(file), "name": "one"}
    lines = [first | {"thumbnail": True}, first | {"name": "other"} | second]
    entries = read_manifest([json.dumps(line) for line in lines])
    line = complaint(intake, *entries)
    assert line.startswith("manifest line 2: ")
    assert told in line


def test_a_folder_is_told_also_where_nothing_is_looked_at(root: Path) -> None:
    blind = intake_of(root, stat=False)
    assert "is a folder, and --no-stat looks at nothing" in complaint(
        blind, Entry(f"{root}/", version_id=VERSION)
    )
