"""Requests as plain values: what comes back is what was sent, and nothing odd comes in."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.config.settings import Settings
from tasks.intake.build import Options, build_requests
from tasks.intake.fields import MAX_METADATA, MAX_PATHS
from tasks.intake.from_wire import from_wire
from tasks.intake.manifest import OWN_KEYS, Entry
from tasks.intake.marks import MARKING
from tasks.intake.notation import Frames
from tasks.intake.ranges import MAX_FRAMES
from tasks.intake.request import PublishRequest, Request, UploadRequest
from tasks.intake.wire import to_wire
from tasks.transfer.names import is_unfit
from tasks.transfer.targets import Container, OfVersion, Publish, Target

VERSION = "9d1ad1a2-5b1c-4a0e-9a55-0a1b2c3d4e5f"
COMPONENT = "3a7f0ed1-24c9-4c53-9c6c-7d9d1a8f1f11"
TASK = "51b2f3a0-0000-4000-8000-00000000000a"
MAX_BYTES = 16 << 20

UPLOAD = {"path": "/mnt/a.exr", "component_id": COMPONENT}
NAMED = {"path": "/mnt/a.exr", "version_id": VERSION, "name": "main"}
SEQUENCE: dict[str, Any] = {
    "version_id": VERSION,
    "name": "main",
    "head": "/mnt/f.",
    "tail": ".exr",
    "padding": 4,
    "frames": ["1001-1003", "1005"],
    "sizes": [1, 2, 3, 4],
    "mtimes_ns": [10, 20, 30, -40],
}
PUBLISH: dict[str, Any] = {
    "publish": "v003",
    "version_id": VERSION,
    "components": [
        {key: value for key, value in SEQUENCE.items() if key != "version_id"},
        {"path": "/mnt/a.mov", "name": "movie", "encode": True, "size": 5, "mtime_ns": 6},
    ],
}


def built(*entries: Entry, **options: Any) -> Request:
    farm = Settings("redis://h/0", storage_roots=("/mnt",))
    [request] = build_requests(entries, farm, Options(stat=False, **options))
    return request


def over_the_wire(request: Request) -> Request:
    return from_wire(json.loads(json.dumps(to_wire(request))))


def looked_at(request: Request, identities: list[tuple[int, int]]) -> Request:
    """Return the request as if its files had been looked at."""

    def with_identity(file: UploadRequest, number: int) -> UploadRequest:
        return UploadRequest(
            file.path,
            file.target,
            *identities[number % len(identities)],
            file.priority,
            file.host,
            file.allow_empty,
            is_member=file.is_member,
        )

    if isinstance(request, UploadRequest):
        return with_identity(request, 0)
    files = tuple(with_identity(file, number) for number, file in enumerate(request.files))
    return PublishRequest(request.path, request.component_id, request.publish, files)


# There and back

#: Without what begins a variable, which is refused.
fit = st.characters(exclude_categories=["C", "Zl", "Zp"], exclude_characters="/\\$%")
words = st.text(fit, min_size=1, max_size=20).filter(str.strip)
#: A mark in a folder is refused, too, and "<0>" is one.
folders = st.lists(
    words.filter(lambda word: word not in {".", ".."} and MARKING.isdisjoint(word)), max_size=3
).map(lambda parts: "/".join(["/mnt", *parts]))
#: A name that begins with a dot is refused, because fetch could not write it.
heads = st.from_regex(r"[a-zé1 ]{1,6}[._]", fullmatch=True)
tails = st.from_regex(r"[a-z_1]{0,3}(\.[a-z1]{1,4}){0,2}", fullmatch=True)
numbers = st.sets(st.integers(0, 2_000), min_size=1, max_size=12).map(sorted)
#: Keys of farmhaul's own are refused.
keys = words.filter(lambda key: not key.startswith(OWN_KEYS))
metadata = st.dictionaries(keys, st.text(fit | st.sampled_from("\t\n"), max_size=20), max_size=3)
identities = st.lists(
    st.tuples(st.integers(0, 2**63), st.integers(-(2**63), 2**64)), min_size=1, max_size=5
)


def is_name(word: str) -> bool:
    return not set(word) & {*MARKING, "]"} and word[0] != "." and bool(word.strip("._- "))


@st.composite
def sequences(draw: st.DrawFn, /, **options: Any) -> Entry:
    padding = draw(st.sampled_from(["%01d", "%04d", "%08d"]))
    frames = ", ".join(map(str, draw(numbers)))
    path = f"{draw(folders)}/{draw(heads)}{padding}{draw(tails)} [{frames}]"
    return Entry(path, version_id=VERSION, metadata=draw(metadata), **options)


@st.composite
def files(draw: st.DrawFn, /, **options: Any) -> Entry:
    name = draw(words.filter(is_name))
    path = f"{draw(folders)}/{name}.exr"
    if not options and draw(st.booleans()):
        return Entry(path, component_id=COMPONENT)
    return Entry(
        path,
        version_id=VERSION,
        metadata=draw(metadata),
        encode=draw(st.booleans()),
        **options,
    )


@st.composite
def requests(draw: st.DrawFn) -> Request:
    entries = [draw(files() | sequences())]
    if draw(st.booleans()):
        entries = [
            draw((files if draw(st.booleans()) else sequences)(publish="v3", name=f"n{number}"))
            for number in range(draw(st.integers(1, 4)))
        ]
    request = built(*entries, node_local=draw(st.booleans()), allow_empty=draw(st.booleans()))
    return looked_at(request, draw(identities)) if draw(st.booleans()) else request


@settings(max_examples=150, deadline=None)
@given(requests())
def test_a_request_comes_back_as_it_was_sent(request_sent: Request) -> None:
    request = over_the_wire(request_sent)

    assert request == request_sent
    assert request.upload_id == request_sent.upload_id
    assert request.to_record() == request_sent.to_record()


@pytest.mark.parametrize(
    "entry",
    [
        Entry("/mnt/a.exr", component_id=COMPONENT.upper(), priority="urgent"),
        Entry("/mnt/a.jpg", version_id=VERSION, thumbnail=True, task_id=TASK),
        Entry("/mnt/a.jpg", version_id=VERSION, thumbnail=True, also_in="disk"),
        Entry("/mnt/a.exr", component_id=COMPONENT, only_in="ftrack.unmanaged"),
        Entry("/mnt/f.%04d.exr [1-3]", version_id=VERSION, also_in="ä b"),
        Entry("/mnt/f.%04d.exr [1-3]", version_id=VERSION, publish="v3", only_in="disk"),
        Entry("/mnt/a.exr", version_id=VERSION, attributes={"pass": "a b"}, lists=["dailies"]),
        Entry("/mnt/f.%04d.exr [1-3]", version_id=VERSION, version_metadata={"a": "b\n"}),
        Entry("/mnt/a.jpg", version_id=VERSION, publish="v3", review_sessions=[TASK, "c"]),
        Entry("P:\\shots\\a.exr", component_id=COMPONENT),
        Entry("\\\\server\\share\\a.exr", component_id=COMPONENT),
        Entry("\\\\server\\share\\a.%04d.exr [1-3]", version_id=VERSION),
        Entry("/mnt/f.%04d.exr [1001]", version_id=VERSION),
        Entry("/mnt/a1.1001#.exr", version_id=VERSION),
        Entry("/mnt/1.%d.1.exr [1, 11]", version_id=VERSION),
        Entry("/mnt/1%01d1.exr [1, 11]", version_id=VERSION),
        Entry("/mnt/1.%d [1, 11]", version_id=VERSION),
        Entry("/mnt/f.%d. [1, 11]", version_id=VERSION),
        Entry("/mnt/1/%d [1]", version_id=VERSION),
    ],
)
def test_a_request_of_every_form_comes_back(entry: Entry) -> None:
    request = built(entry)

    assert over_the_wire(request) == request


def test_a_single_frame_of_a_publish_comes_back() -> None:
    request = built(Entry("/mnt/1.%d.1.exr [1]", version_id=VERSION, publish="v3"))

    assert over_the_wire(request) == request


def test_ids_are_not_sent() -> None:
    request = built(Entry("/mnt/f.%04d.exr [1-9]", version_id=VERSION))
    assert isinstance(request, PublishRequest)

    sent = json.dumps(to_wire(request))

    assert VERSION in sent
    assert request.component_id not in sent
    assert request.upload_id not in sent


@pytest.mark.slow
def test_a_hundred_thousand_frames_fit_into_an_entry() -> None:
    entry = Entry(f"/mnt/f.%018d.exr [1-{MAX_FRAMES * 2}x2]", version_id=VERSION)
    request = looked_at(built(entry), [(5 * 10**12, 1_795_531_206_123_456_789)])

    sent = json.dumps(to_wire(request), separators=(",", ":"))

    assert len(sent) < MAX_BYTES // 2
    assert from_wire(json.loads(sent)) == request


@pytest.mark.parametrize(
    ("path", "metadata", "said"),
    [
        ("/mnt/" + "a" * 4_100, {}, "path is longer"),
        ("/mnt/a\udcff", {}, "path has characters"),
        ("/mnt/a", {"key": "x" * MAX_METADATA}, "metadata is longer than"),
    ],
    ids=["long", "surrogate", "metadata"],
)
def test_a_hook_does_not_send_what_workers_would_refuse(
    path: str, metadata: dict[str, str], said: str
) -> None:
    target = Target.under_version(VERSION, "main", metadata=tuple(metadata.items()))

    with pytest.raises(ValueError, match=said):
        to_wire(UploadRequest(path, target))


def test_a_hook_does_not_send_too_many_lists() -> None:
    data = OfVersion(lists=tuple(f"{number:0>4000}" for number in range(20)))
    target = Target.under_version(VERSION, "main", of_version=data)

    with pytest.raises(ValueError, match="lists are longer than"):
        to_wire(UploadRequest("/mnt/a.exr", target))


def test_a_publish_of_too_many_files_is_not_sent() -> None:
    half = f"[1-{MAX_FRAMES // 2 + 1}]"
    request = built(
        *(Entry(f"/mnt/{n}.%d.exr {half}", version_id=VERSION, publish="v3") for n in "ab")
    )

    with pytest.raises(ValueError, match="more than 100000 files"):
        to_wire(request)


def test_frames_whose_names_have_no_pattern_are_not_sent() -> None:
    container = Target.under_version(VERSION, "main")
    members = tuple(
        UploadRequest(path, Target.frame(container, number), is_member=True)
        for number, path in (("1001", "/mnt/f.1001.exr"), ("1002", "/mnt/g.1002.exr"))
    )
    publish = Publish((Container(container, ".exr", 4),))

    with pytest.raises(ValueError, match="no pattern"):
        to_wire(PublishRequest("/mnt/f", container.component_id, publish, members))


# What anybody may have written


def without(values: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != key}


def component(**more: Any) -> dict[str, Any]:
    return {**PUBLISH, "components": [{**PUBLISH["components"][1], **more}]}


#: Values, and what is said about them.
ODD: list[tuple[Any, str]] = [
    (None, "not a JSON object"),
    ([UPLOAD], "not a JSON object"),
    ("{}", "not a JSON object"),
    ({}, "version_id is missing"),
    ({**UPLOAD, "upload_id": COMPONENT}, "'upload_id' is unknown"),
    ({**UPLOAD, "x" * 10_000: 1}, "'x{20}' is unknown"),
    ({**UPLOAD, "name": "main"}, "'name' is unknown"),
    ({**NAMED, "component_id": COMPONENT}, "unknown"),
    (without(UPLOAD, "path"), "path is missing"),
    ({**UPLOAD, "path": None}, "path is missing"),
    ({**UPLOAD, "path": 5}, "path is not a text"),
    ({**UPLOAD, "path": ["/mnt/a"]}, "path is not a text"),
    ({**UPLOAD, "path": "a.exr"}, "not an absolute path"),
    ({**UPLOAD, "path": ""}, "not an absolute path"),
    ({**UPLOAD, "path": "C:a.exr"}, "not an absolute path"),
    ({**UPLOAD, "path": "/mnt/"}, "path is a folder"),
    ({**UPLOAD, "path": "/mnt/a\0"}, "path has characters"),
    ({**UPLOAD, "path": "/mnt/a\x1b[2J"}, "path has characters"),
    ({**UPLOAD, "path": "/mnt/a\udcff"}, "path has characters"),
    ({**UPLOAD, "path": "/" + "a" * 10_000_000}, "path is longer"),
    ({**UPLOAD, "component_id": "x"}, "component_id is not a UUID"),
    ({**UPLOAD, "component_id": 'x" or id like "%'}, "component_id is not a UUID"),
    ({**UPLOAD, "component_id": COMPONENT + "\n"}, "component_id is not a UUID"),
    ({**UPLOAD, "component_id": 7}, "component_id is not a text"),
    ({**UPLOAD, "priority": "highest"}, "priority is not one of"),
    ({**UPLOAD, "priority": ["urgent"]}, "priority is not a text"),
    ({**UPLOAD, "host": "a b"}, "host is not the name"),
    ({**UPLOAD, "host": " "}, "host is not the name"),
    ({**UPLOAD, "host": "h" * 256}, "host is not the name"),
    ({**UPLOAD, "host": "a\x06b"}, "host has characters"),
    ({**UPLOAD, "host": "a\x1fb"}, "host is not the name"),
    ({**UPLOAD, "allow_empty": 1}, "allow_empty is not true or false"),
    ({**UPLOAD, "allow_empty": "yes"}, "allow_empty is not true or false"),
    ({**UPLOAD, "size": 1}, "mtime_ns is missing"),
    ({**UPLOAD, "mtime_ns": 1}, "size is missing"),
    ({**UPLOAD, "size": True, "mtime_ns": 1}, "size is not a whole number"),
    ({**UPLOAD, "size": 1.5, "mtime_ns": 1}, "size is not a whole number"),
    ({**UPLOAD, "size": -1, "mtime_ns": 1}, "size is not a whole number"),
    ({**UPLOAD, "size": 10**4000, "mtime_ns": 1}, "size is not a whole number"),
    ({**UPLOAD, "size": 1, "mtime_ns": -(10**30)}, "mtime_ns is not a whole number"),
    ({**UPLOAD, "size": 1, "mtime_ns": float("nan")}, "mtime_ns is not a whole number"),
    ({**NAMED, "version_id": "v"}, "version_id is not a UUID"),
    (without(NAMED, "name"), "name is missing"),
    ({**NAMED, "name": " "}, "name is empty"),
    ({**NAMED, "name": "a\nb"}, "name has characters"),
    ({**NAMED, "thumbnail": 1}, "thumbnail is not true or false"),
    ({**NAMED, "task_id": TASK}, "task_id needs thumbnail"),
    ({**UPLOAD, "also_in": ""}, "also_in is empty"),
    ({**UPLOAD, "only_in": "a\nb"}, "only_in has characters"),
    ({**NAMED, "also_in": ["disk"]}, "also_in is not a text"),
    ({**NAMED, "also_in": "a", "only_in": "a"}, "do not go together"),
    ({**NAMED, "only_in": "a", "encode": True}, "does not go with the other options"),
    ({**NAMED, "location": ["a", "b", "/"]}, "'location' is unknown"),
    ({**NAMED, "thumbnail": True, "task_id": "t"}, "task_id is not a UUID"),
    ({**NAMED, "metadata": [["a", "b"]]}, "not a JSON object"),
    ({**NAMED, "metadata": {"a": 1}}, "metadata has something"),
    ({**NAMED, "metadata": {1: "a"}}, "metadata has something"),
    ({**NAMED, "metadata": {"": "a"}}, "a key of metadata is empty"),
    ({**NAMED, "metadata": {"a": "\0"}}, "metadata has characters"),
    ({**NAMED, "metadata": {str(n): "x" * 4_000 for n in range(20)}}, "metadata is longer"),
    ({**NAMED, "metadata": {"a": "x" * 5_000}}, "metadata is longer than 4096"),
    ({**SEQUENCE, "thumbnail": True}, "'thumbnail' is unknown"),
    ({**SEQUENCE, "path": "/mnt/x"}, "'path' is unknown"),
    ({**SEQUENCE, "head": "f."}, "head is not an absolute path"),
    (without(SEQUENCE, "tail"), "tail is missing"),
    ({**SEQUENCE, "tail": "/x"}, "tail has a folder"),
    ({**SEQUENCE, "padding": "4"}, "padding is not a whole number"),
    ({**SEQUENCE, "padding": True}, "padding is not a whole number"),
    ({**SEQUENCE, "padding": 10**6}, "padding is not a whole number"),
    ({**SEQUENCE, "padding": -1}, "padding is not a whole number"),
    ({**SEQUENCE, "frames": "1-4"}, "frames is not a list"),
    ({**SEQUENCE, "frames": []}, "has no frames"),
    ({**SEQUENCE, "frames": [1, 2, 3, 4]}, "not a range"),
    ({**SEQUENCE, "frames": [["1-4"]]}, "not a range"),
    ({**SEQUENCE, "frames": ["-4"]}, "not a range"),
    ({**SEQUENCE, "frames": ["1-"]}, "not a range"),
    ({**SEQUENCE, "frames": ["1-2-3"]}, "not a range"),
    ({**SEQUENCE, "frames": ["1_0"]}, "not a range"),
    ({**SEQUENCE, "frames": ["\u0661-\u0664"]}, "not a range"),
    ({**SEQUENCE, "frames": ["9" * 5_000]}, "not a range"),
    ({**SEQUENCE, "frames": ["4-1"]}, "not in ascending order"),
    ({**SEQUENCE, "frames": ["3-4", "1-2"]}, "not in ascending order"),
    ({**SEQUENCE, "frames": ["1-2", "2-3"]}, "not in ascending order"),
    ({**SEQUENCE, "frames": ["1-10000000"]}, "more than 100000 files"),
    ({**SEQUENCE, "frames": ["1-999999999999999999"]}, "more than 100000 files"),
    ({**SEQUENCE, "frames": ["1-100000", "100001"]}, "more than 100000 files"),
    ({**SEQUENCE, "frames": ["1-5"]}, "5 frames have 4 sizes and 4 mtimes"),
    ({**SEQUENCE, "sizes": [1, 2, 3]}, "4 frames have 3 sizes and 4 mtimes"),
    ({**SEQUENCE, "mtimes_ns": [1] * 5}, "4 frames have 4 sizes and 5 mtimes"),
    (without(SEQUENCE, "sizes"), "sizes is missing"),
    (without(SEQUENCE, "mtimes_ns"), "mtimes_ns is missing"),
    ({**SEQUENCE, "sizes": [1, 2, 3, True]}, "size is not a whole number"),
    ({**SEQUENCE, "sizes": [1, 2, 3, None]}, "size is not a whole number"),
    ({**SEQUENCE, "sizes": {"0": 1}}, "sizes is not a list"),
    ({**NAMED, "of_version": []}, "of_version is not an object"),
    ({**NAMED, "of_version": {"lists": ['a" or "']}}, "something that is not a name"),
    ({**NAMED, "of_version": {"reviews": [5]}}, "something that is not a text"),
    ({**NAMED, "of_version": {"lists": ["l" * 4000] * 1000}}, "lists are longer than 65536"),
    ({**NAMED, "metadata": {"key": "x" * MAX_METADATA}}, "metadata is longer than"),
    (
        {**NAMED, "of_version": {"metadata": {"key": "x" * MAX_METADATA}}},
        "metadata is longer than",
    ),
    ({**NAMED, "of_version": {"attributes": {"a'": "b"}}}, "something that is not a name"),
    ({**NAMED, "of_version": {"metadata": {"a": 5}}}, "not a text"),
    ({**NAMED, "of_version": {"notes": []}}, "'notes' is unknown"),
    (without(PUBLISH, "publish"), "publish is missing"),
    ({**PUBLISH, "publish": ""}, "publish is empty"),
    ({**PUBLISH, "publish": None}, "publish is missing"),
    ({**PUBLISH, "components": {}}, "components is not a list"),
    ({**PUBLISH, "components": []}, "has no components"),
    ({**PUBLISH, "components": ["/mnt/a"]}, "not a JSON object"),
    ({**PUBLISH, "components": PUBLISH["components"] * 2}, "the same name"),
    (without(PUBLISH, "version_id"), "version_id is missing"),
    (component(version_id=VERSION), "'version_id' is unknown"),
    (component(component_id=COMPONENT), "'component_id' is unknown"),
    (component(priority="urgent"), "'priority' is unknown"),
    (component(components=[]), "'components' is unknown"),
    (
        {
            **PUBLISH,
            "components": [{"path": "/mnt/a", "name": name, "thumbnail": True} for name in "ab"],
        },
        "a second thumbnail",
    ),
]


@pytest.mark.parametrize(("values", "said"), ODD, ids=map(str, range(len(ODD))))
def test_values_of_no_request_are_refused(values: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        from_wire(values)

    assert len(str(raised.value)) < 120
    assert str(raised.value).isprintable()


def many_sequences() -> dict[str, Any]:
    rows = [
        {"name": str(n), "head": "/m/", "tail": "", "padding": 0, "frames": ["1-100000"]}
        for n in range(100_000)
    ]
    return {**PUBLISH, "components": rows}


def long_paths() -> dict[str, Any]:
    names = {"head": "/" + "a" * 4_000, "frames": ["1-100000"]}
    return {**without(without(SEQUENCE, "sizes"), "mtimes_ns"), **names}


def many_long_paths() -> dict[str, Any]:
    rows = [{"path": "/" + "a" * 4_000, "name": str(n)} for n in range(100_000)]
    return {**PUBLISH, "components": rows}


def nested() -> Any:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    return {**UPLOAD, "path": value}


@pytest.mark.parametrize("make", [many_sequences, long_paths, many_long_paths, nested])
def test_values_that_ask_for_too_much_are_refused_without_being_built(
    make: Callable[[], dict[str, Any]],
) -> None:
    values = make()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()

    with pytest.raises(ValueError, match=r"more than|not a text"):
        from_wire(values)

    assert time.process_time() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 3 * MAX_PATHS >> 10


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([VERSION, "/mnt/a", "main", "1-3", "urgent"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*SEQUENCE, *PUBLISH, *NAMED, "x"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([UPLOAD, NAMED, SEQUENCE, PUBLISH]),
    st.dictionaries(st.sampled_from([*SEQUENCE, *PUBLISH, *NAMED, "x"]), anything, max_size=2),
)
def test_anything_else_is_a_request_or_a_value_error(
    base: dict[str, Any], changed: dict[str, Any]
) -> None:
    with suppress(ValueError):
        request = from_wire({**base, **changed})
        assert over_the_wire(request) == request
        assert not is_unfit(request.path)


@pytest.mark.parametrize(
    ("tail", "file_type"),
    [("", ""), (".", ""), (".exr", ".exr"), (".a.exr", ".exr"), ("_left.exr", ".exr"), ("x", "")],
)
def test_the_extension_of_frames_is_that_of_their_names(tail: str, file_type: str) -> None:
    assert Frames("/mnt/v1.", tail, 4, (1,)).file_type == file_type
