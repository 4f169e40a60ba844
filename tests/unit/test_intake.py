"""Entries from options and manifests: all of them are checked before any is queued."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.config.settings import Settings
from tasks.intake.build import Options, build_requests
from tasks.intake.errors import BadInputError, printable, quoted
from tasks.intake.manifest import MANIFEST_KEYS, Entry, read_manifest
from tasks.intake.request import Request, UploadRequest
from tasks.transfer.targets import Target

COMPONENT = "5d2c9f6e-1b1e-4b4a-9d0c-3f1f8c6c7a10"
VERSION = "9f1d4c1e-7a3b-4a55-8a5e-0c9b6a1f2e3d"


Build = Callable[[Sequence[Entry]], list[Request]]


def build_with(*roots: object, **options: Any) -> Build:
    """``build_requests`` with some storage roots and options."""
    settings = Settings("", storage_roots=tuple(map(str, roots)))
    return lambda entries: build_requests(entries, settings, Options(**options))


@pytest.fixture
def build(root: Path) -> Build:
    return build_with(root)


@pytest.fixture
def file(root: Path) -> Path:
    path = root / "main.0101.exr"
    path.write_bytes(b"pixels")
    return path


def complaint(build: Build, *entries: Entry) -> str:
    """Return the one line that the user sees."""
    with pytest.raises(BadInputError) as raised:
        build(entries)
    line = str(raised.value)
    assert len(line.splitlines()) == 1
    assert len(line) < 1000
    line.encode()
    return line


# Good input


def test_a_file_for_a_component_becomes_a_request(build: Build, file: Path) -> None:
    status = file.stat()

    assert build([Entry(str(file), COMPONENT.upper())]) == [
        UploadRequest(str(file), Target(COMPONENT), status.st_size, status.st_mtime_ns)
    ]


def test_a_file_for_a_version_becomes_a_component_named_after_it(build: Build, file: Path) -> None:
    [request] = build([Entry(str(file), version_id=VERSION.upper(), encode=True)])
    assert isinstance(request, UploadRequest)

    assert request.target == Target.under_version(VERSION, "main.0101", encode=True)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".png", ".gif"])
def test_a_picture_that_browsers_show_may_be_a_thumbnail(
    suffix: str, build: Build, root: Path
) -> None:
    (root / f"still{suffix}").write_bytes(b"pixels")

    [request] = build([Entry(f"{root}/still{suffix}", version_id=VERSION, thumbnail=True)])

    assert isinstance(request, UploadRequest)
    assert request.target.thumbnail


@pytest.mark.parametrize("suffix", [".exr", ".dpx", ".mov", ".nk", ".tif", ".jpg.gz", ""])
def test_a_thumbnail_that_shows_nothing_is_refused(suffix: str, build: Build, root: Path) -> None:
    (root / f"still{suffix}").write_bytes(b"pixels")

    line = complaint(build, Entry(f"{root}/still{suffix}", version_id=VERSION, thumbnail=True))

    assert "would show nothing as a thumbnail, which must be one of .gif, .jpeg, .jpg, .png" in line


def test_a_component_gets_the_name_that_the_user_gives(build: Build, file: Path) -> None:
    [request] = build([Entry(str(file), version_id=VERSION, name="beauty")])
    assert isinstance(request, UploadRequest)

    assert request.target.name == "beauty"


def test_a_file_may_be_named_twice_for_its_component(build: Build, file: Path) -> None:
    first, second = build([Entry(str(file), COMPONENT), Entry(str(file), COMPONENT)])

    assert first == second


def test_a_relative_path_starts_at_the_current_folder(
    build: Build, file: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)

    assert build([Entry("x/../main.0101.exr", COMPONENT)])[0].path == str(file)


def test_a_symlink_below_the_roots_keeps_its_name(build: Build, file: Path, root: Path) -> None:
    (root / "latest.exr").symlink_to(file)

    assert build([Entry(f"{root}/latest.exr", COMPONENT)])[0].path.endswith("latest.exr")


@pytest.mark.parametrize("name", ["a b.exr", 'a"b.exr', "ünï.exr", "%41.exr", "🎬.exr", "x" * 250])
def test_a_file_of_any_name_is_accepted(name: str, build: Build, root: Path) -> None:
    (root / name).write_bytes(b"pixels")

    assert build([Entry(str(root / name), COMPONENT)])[0].path == str(root / name)


def test_an_empty_file_is_accepted_with_allow_empty(root: Path) -> None:
    (root / "empty").touch()

    [request] = build_with(root, allow_empty=True)([Entry(f"{root}/empty", COMPONENT)])
    assert isinstance(request, UploadRequest)

    assert request.size_bytes == 0
    assert request.allow_empty


def test_without_a_look_a_file_need_not_exist(root: Path) -> None:
    [request] = build_with(root, stat=False)([Entry(f"{root}/later.exr", COMPONENT)])
    assert isinstance(request, UploadRequest)

    assert (request.size_bytes, request.mtime_ns) == (None, None)


def test_a_node_local_file_belongs_to_this_host(root: Path, file: Path) -> None:
    [request] = build_with(root, node_local=True)([Entry(str(file), COMPONENT)])
    assert isinstance(request, UploadRequest)

    assert request.host == socket.gethostname()


# Bad input


def test_without_roots_nothing_is_queued(file: Path) -> None:
    said = complaint(build_with(), Entry(str(file), COMPONENT))

    assert said.startswith("FARMHAUL_STORAGE_ROOTS is not set, ")


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
        (lambda root: f"{root}/missing.exr", "missing.exr: no such file"),
        (make_path_through_a_file, "here: Not a directory; "),
        (lambda root: f"{root}/{'x' * 300}", "here: File name too long; "),
        (str, "is a directory; name the files in it"),
        (make_fifo, "is a FIFO; only regular files can be uploaded"),
        (make_socket, "is a socket; only regular files can be uploaded"),
        (make_empty, "--allow-empty"),
        (lambda root: f"{root}/../other.exr", "FARMHAUL_STORAGE_ROOTS"),
        (make_link_out, "/secret, which is outside"),
        (lambda _: "/dev/null", "/dev/null is outside"),
        (lambda _: "", "the path is empty"),
        (lambda root: f"{root}/a\nb.exr", r"a\nb.exr' contains characters"),
        (lambda root: f"{root}/a\0b.exr", r"a\x00b.exr' contains characters"),
        (lambda root: f"{root}/a\udcffb", r"a\udcffb' contains characters"),
        (lambda root: f"{root}/a\u2028b", r"a\u2028b' contains characters"),
        (lambda root: f"{root}/" + "x/" * 5000, "is longer than 4096 characters"),
    ],
)
@pytest.mark.parametrize("where", ["", "manifest line 7: "])
def test_a_path_that_cannot_be_uploaded_is_refused(
    make: Any, said: str, where: str, build: Build, root: Path
) -> None:
    path = make(root)

    line = complaint(build, Entry(path, COMPONENT, where=where))

    assert line.startswith(where)
    assert said in line
    if path.isprintable() and len(path) < 500:
        assert os.path.abspath(path) in line or not path


def test_a_device_below_a_root_is_refused() -> None:
    assert "is a device; only regular files" in complaint(
        build_with("/dev"), Entry("/dev/null", COMPONENT)
    )


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({}, "has no target; give component_id (a component that exists) or version_id "),
        (
            {"component_id": COMPONENT, "version_id": VERSION},
            "has both component_id and version_id; ",
        ),
        ({"component_id": "main"}, "component_id 'main' is not a UUID; "),
        ({"component_id": ""}, "component_id '' is not a UUID"),
        ({"component_id": COMPONENT + "\n"}, r"\n' is not a UUID"),
        ({"component_id": "{" + COMPONENT + "}"}, "is not a UUID"),
        ({"version_id": "x" * 100_000}, "xxx'… is not a UUID"),
        ({"version_id": VERSION, "name": " "}, "main.0101.exr has an empty name; set name"),
        ({"version_id": VERSION, "name": "a\0b"}, r"the name 'a\x00b' contains characters"),
        ({"version_id": VERSION, "name": "\ud800"}, r"the name '\ud800' contains characters"),
        (
            {"version_id": VERSION, "metadata": {"colour": "x", "farmhaul_pattern": "x"}},
            "metadata has the key 'farmhaul_pattern', but farmhaul itself writes",
        ),
        ({"version_id": VERSION, "metadata": {"farmhaul_encoded": ""}}, "; use another key"),
        # What JSON makes of "P:\new.exr".
        (
            {"path": "P:\new.exr", "component_id": COMPONENT},
            r"; in JSON, write / or \\ for each \ of",
        ),
        ({"component_id": COMPONENT, "name": "x"}, "name needs version_id; it cannot be used"),
        ({"component_id": COMPONENT, "thumbnail": True}, "thumbnail needs version_id; "),
        (
            {"version_id": VERSION, "frame_range": "1-2", "fps": "24"},
            "frame_range and fps need reviewable",
        ),
        ({"component_id": COMPONENT, "resolution": "1x1"}, "resolution needs reviewable"),
        (
            {"component_id": COMPONENT, "name": "x", "thumbnail": True, "encode": True},
            "name, thumbnail and encode need version_id; they cannot be used with component_id",
        ),
        (
            {"component_id": COMPONENT, "priority": "now"},
            "priority 'now' is not one of urgent, normal, low",
        ),
    ],
)
def test_an_entry_that_is_not_valid_is_refused_by_its_keys(
    entry: dict[str, Any], said: str, build: Build, file: Path
) -> None:
    line = complaint(build, Entry(**{"path": str(file), **entry}, where="manifest line 3: "))

    assert line.startswith("manifest line 3: ")
    assert said in line


def test_two_files_for_one_component_are_refused_by_both_lines(
    build: Build, file: Path, root: Path
) -> None:
    other = root / "other.exr"
    other.write_bytes(b"pixels")

    line = complaint(
        build,
        Entry(str(file), COMPONENT, where="manifest line 1: "),
        Entry(str(other), COMPONENT.upper(), where="manifest line 2: "),
    )

    assert line == (
        f"manifest line 2: component {COMPONENT} would get two files: {file} (manifest line 1) and "
        f"{other}; enqueue each file with its own component_id"
    )


def test_two_files_with_one_name_under_a_version_are_refused(
    build: Build, file: Path, root: Path
) -> None:
    (root / "sub").mkdir()
    other = root / "sub" / file.name
    other.write_bytes(b"pixels")

    line = complaint(
        build, Entry(str(file), version_id=VERSION), Entry(str(other), version_id=VERSION)
    )

    assert f"component 'main.0101' of version {VERSION} " in line
    assert f": {file} and {other}; enqueue each file with its own --name" in line


def test_the_first_bad_entry_of_many_is_reported(build: Build, file: Path) -> None:
    line = complaint(
        build,
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


def test_a_line_of_a_manifest_may_allow_missing_frames(build: Build, root: Path) -> None:
    for number in (1, 3):
        (root / f"f.{number}.exr").write_bytes(b"pixels")
    line = line_of(path=f"{root}/f.%d.exr", version_id=VERSION)
    assert "1 of 3 frames are missing: 2" in complaint(build, *read_manifest([line]))

    line = line_of(path=f"{root}/f.%d.exr", version_id=VERSION, allow_missing=True)
    [request] = build(read_manifest([line]))
    assert request.path == f"{root}/f.%d.exr [1, 3]"


def test_a_manifest_is_read_line_by_line() -> None:
    lines = [
        line_of(path="/a", component_id=COMPONENT),
        "\n",
        line_of(path="/b", version_id=VERSION, name="n", thumbnail=True, encode=False),
        line_of(path="/c", component_id=COMPONENT, name=None, priority="low"),
    ]

    entries = read_manifest(lines, priority="urgent")

    assert [entry._replace(where="") for entry in entries] == [
        Entry("/a", COMPONENT, priority="urgent"),
        Entry("/b", version_id=VERSION, name="n", thumbnail=True, priority="urgent"),
        Entry("/c", COMPONENT, priority="low"),
    ]
    assert [entry.where for entry in entries] == [
        f"manifest line {number}: " for number in (1, 3, 4)
    ]


def test_a_manifest_without_lines_is_refused() -> None:
    for lines in ((), ("\n", "  \t\n")):
        assert "manifest contains no uploads" in manifest_complaint(*lines)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "not valid JSON (Expecting value); "),
        ('{"path": "/a"', "not valid JSON (Expecting ',' delimiter)"),
        (
            r'{"path": "P:\prod\a.exr"}',
            r"(Invalid \escape); in JSON, write / or \\ for each \ of a",
        ),
        ("[" * 100_000, "not valid JSON (nested too deeply)"),
        ("1" * 10_000, "not valid JSON (a number is too long)"),
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
        (
            line_of(path="/a", componentid="x"),
            "'componentid' is not a key of a manifest; the keys are path, component_id, ",
        ),
        (json.dumps({"path": "/a", "k" * 100_000: 1}), "k'… is not a key"),
        (json.dumps({"path": "/a", "a\nb": 1}), r"'a\nb' is not a key"),
    ],
)
def test_a_malformed_line_is_refused_by_its_number(line: str, said: str) -> None:
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
def test_any_manifest_is_read_or_refused_on_one_line(lines: list[str]) -> None:
    try:
        entries = read_manifest(lines)
        build_with("/mnt", stat=False)(entries)
    except BadInputError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 most inputs are refused, some fit
        str(error).encode()


@pytest.mark.parametrize("depth", [10, 900, 970, 985, 990, 1000, 10_000])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_a_line_of_any_depth_is_refused_as_bad_input(depth: int, brackets: str) -> None:
    opening = "[" if brackets == "[]" else '{"path":'

    assert manifest_complaint(opening * depth + "0" + brackets[1] * depth)


def test_a_huge_line_is_read_or_refused_briefly(build: Build) -> None:
    huge = "x" * 5_000_000

    [entry] = read_manifest([line_of(path=f"/{huge}", component_id=COMPONENT)])

    assert "x'… is longer than 4096 characters" in complaint(build, entry)
    assert manifest_complaint(huge).startswith("manifest line 1: not valid JSON ")


def test_a_text_may_have_4096_characters(build: Build) -> None:
    Entry("/" + "x" * 4095, COMPONENT).check_texts()

    assert "longer than 4096" in complaint(build, Entry("/" + "x" * 4096, COMPONENT))


def test_a_message_quotes_100_characters_and_prints_300() -> None:
    assert (quoted("x" * 100), quoted("x" * 101)) == (f"'{'x' * 100}'", f"'{'x' * 100}'…")
    assert printable("x" * 300) == "x" * 300
    assert printable("a" * 150 + "-" + "b" * 150) == "a" * 150 + "…" + "b" * 150


# Publishes


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ({"version_id": COMPONENT}, "publish 'main' would get a second version"),
        ({"priority": "low"}, "would get a second priority"),
        ({"thumbnail": True}, "would get a second thumbnail"),
        ({"publish": " "}, "publish is empty"),
        ({"metadata": {"": "x"}}, "metadata has an empty key"),
    ],
)
def test_a_publish_has_one_version_priority_and_thumbnail(
    build: Build, root: Path, second: dict[str, Any], told: str
) -> None:
    (root / "still.jpg").write_bytes(b"pixels")
    first = {"version_id": VERSION, "publish": "main", "path": f"{root}/still.jpg", "name": "one"}
    lines = [first | {"thumbnail": True}, first | {"name": "other"} | second]
    entries = read_manifest([json.dumps(line) for line in lines])
    line = complaint(build, *entries)
    assert line.startswith("manifest line 2: ")
    assert told in line


@pytest.mark.parametrize("path", ["/", "/tmp", "/etc/f.%04d.exr", "/etc/####.conf [1-2]"])
@pytest.mark.parametrize("look", [True, False])
def test_a_folder_outside_the_roots_is_not_read(
    path: str, look: bool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(folder: object) -> NoReturn:
        raise AssertionError(f"{folder} was read")

    monkeypatch.setattr(os, "scandir", read)
    entry = Entry(path, version_id=VERSION)

    assert "outside the storage roots" in complaint(build_with(root, stat=look), entry)


def test_a_link_to_a_file_below_the_roots_may_look_like_a_pattern(
    build: Build, file: Path, root: Path
) -> None:
    link = root.parent / "f.####.exr"
    link.symlink_to(file)

    assert build([Entry(str(link), version_id=VERSION)])[0].path == str(link)


def test_with_no_stat_no_server_of_windows_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows waits longer for a server that is away than a hook may take."""

    def away(path: object) -> NoReturn:
        raise AssertionError(f"{path} was looked at")

    monkeypatch.setattr("tasks.intake.build.real_path", away)
    monkeypatch.setattr(os.path, "isdir", away)
    blind = build_with("/mnt", stat=False)

    [file, sequence] = blind(
        [
            Entry("\\\\nas\\vol\\a.exr", COMPONENT),
            Entry("P:\\f.%04d.exr [1-3]", version_id=VERSION),
        ]
    )

    assert (file.path, sequence.path) == ("\\\\nas/vol/a.exr", "P:/f.%04d.exr [1-3]")


def test_a_folder_is_refused_without_a_look_at_the_disk(root: Path) -> None:
    blind = build_with(root, stat=False)
    assert "is a folder, and --no-stat " in complaint(blind, Entry(f"{root}/", version_id=VERSION))


def test_a_folder_of_windows_is_refused_without_a_look_at_the_disk() -> None:
    settings = Settings("", storage_roots=("/mnt",), path_map=(("P:\\", "/mnt"),))
    with pytest.raises(BadInputError, match="is a folder, and --no-stat "):
        build_requests([Entry("P:\\v003\\", version_id=VERSION)], settings, Options(stat=False))
