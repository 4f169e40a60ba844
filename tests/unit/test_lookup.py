"""The files of a component: their names on this node, and what is not accepted from ftrack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tasks.transfer import lookup
from tasks.transfer.errors import FatalError, UnexpectedAnswerError
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.lookup import (
    Asked,
    ComponentFile,
    all_rows,
    find_files,
    patterns_of,
    rows_of_each,
)
from tasks.transfer.models import SERVER_LOCATION_ID
from tasks.transfer.targets import derived_id
from tests.unit.odd_server import OddServer, http

Rows = list[dict[str, object]]

FILE_ID = "0f000000-0000-4000-8000-000000000000"
OTHER_ID = "0f000000-0000-4000-8000-000000000001"
SEQUENCE_ID = "5e000000-0000-4000-8000-000000000000"

FILE: dict[str, object] = {"id": FILE_ID, "name": "plate", "file_type": ".exr"}
SEQUENCE: dict[str, object] = {"id": SEQUENCE_ID, "name": "main", "file_type": ".exr", "padding": 4}


@pytest.fixture
def client(odd: OddServer) -> Iterator[FtrackClient]:
    client = FtrackClient(odd.url, "farm", "a-key")
    with client.session:
        yield client


def frame_id(number: str) -> str:
    return derived_id("frame", SEQUENCE_ID, number)


def frame(number: str, **more: object) -> dict[str, object]:
    return {
        "id": frame_id(number),
        "name": number,
        "file_type": ".exr",
        "container_id": SEQUENCE_ID,
    } | more


def located(*ids: str) -> list[dict[str, object]]:
    return [{"component_id": component_id} for component_id in ids]


def reply(
    odd: OddServer,
    files: Rows,
    sequences: Rows,
    *more: Rows,
    pattern: dict[str, object] | None = None,
) -> None:
    """Answer each call with rows: files, sequences and patterns; frames if any; locations."""
    calls = [[files, sequences, [pattern] if pattern else []], *([rows] for rows in more)]
    bodies = [json.dumps([{"data": rows} for rows in call]).encode() for call in calls]
    odd.answers = [http(body=body) for body in bodies]


def asked(odd: OddServer) -> list[str]:
    bodies: list[Any] = [json.loads(request.body) for request in odd.requests]
    return [operation["expression"] for body in bodies for operation in body]


def test_a_file_has_the_name_and_type_of_its_component(
    client: FtrackClient, odd: OddServer
) -> None:
    reply(odd, [FILE], [], located(FILE_ID))

    assert find_files(client, [FILE_ID]) == [ComponentFile(FILE_ID, "plate.exr")]
    assert all(f'"{name}"' in asked(odd)[3] for name in (FILE_ID, SERVER_LOCATION_ID))


@pytest.mark.parametrize(("file_type", "name"), [("", "plate"), ("mov", "plate.mov")])
def test_a_file_type_may_be_missing_or_without_its_dot(
    file_type: str, name: str, client: FtrackClient, odd: OddServer
) -> None:
    reply(odd, [FILE | {"file_type": file_type}], [], located(FILE_ID))

    assert find_files(client, [FILE_ID]) == [ComponentFile(FILE_ID, name)]


@pytest.mark.parametrize(
    ("padding", "number", "name"),
    [
        (4, "101", "main.0101.exr"),
        (4, "10001", "main.10001.exr"),
        (0, "7", "main.7.exr"),
        (None, "7", "main.7.exr"),
        (4, "left", "main.left.exr"),
        (4, "1a", "main.1a.exr"),
    ],
)
def test_a_frame_is_named_by_its_padded_number(
    padding: int | None, number: str, name: str, client: FtrackClient, odd: OddServer
) -> None:
    reply(odd, [], [SEQUENCE | {"padding": padding}], [frame(number)], located(frame_id(number)))

    assert find_files(client, [SEQUENCE_ID]) == [ComponentFile(frame_id(number), name)]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("f_%04d_left.exr", "f_0007_left.exr"),
        ("100%%d.%d.exr", "100%d.0007.exr"),
        ("%04d.exr", "0007.exr"),
        # Of a file that somebody has replaced, and what is no pattern.
        ("f_%04d_left.jpg", "main.0007.exr"),
        ("f.exr", "main.0007.exr"),
        ("%s%04d.exr", "main.0007.exr"),
        ("%04d%04d.exr", "main.0007.exr"),
        ("../%04d.exr", "main.0007.exr"),
        (".%04d.exr", "main.0007.exr"),
    ],
)
def test_a_frame_has_the_name_of_its_sequences_pattern(
    pattern: str, name: str, client: FtrackClient, odd: OddServer
) -> None:
    row: dict[str, object] = {"parent_id": SEQUENCE_ID, "value": pattern}
    reply(odd, [], [SEQUENCE], [frame("7")], located(frame_id("7")), pattern=row)

    assert find_files(client, [SEQUENCE_ID]) == [ComponentFile(frame_id("7"), name)]


def test_a_file_has_the_name_of_its_pattern(client: FtrackClient, odd: OddServer) -> None:
    row: dict[str, object] = {"parent_id": FILE_ID, "value": "100%d.exr"}
    reply(odd, [FILE], [], located(FILE_ID), pattern=row)

    assert find_files(client, [FILE_ID]) == [ComponentFile(FILE_ID, "100%d.exr")]


def test_files_are_in_the_order_of_the_ids_and_then_of_names(
    client: FtrackClient, odd: OddServer
) -> None:
    frames = [frame("2"), frame("1")]
    reply(odd, [FILE], [SEQUENCE], frames, located(FILE_ID, frame_id("1"), frame_id("2")))

    names = [file.name for file in find_files(client, [SEQUENCE_ID, FILE_ID])]

    assert names == ["main.0001.exr", "main.0002.exr", "plate.exr"]


def test_two_files_of_one_name_are_refused_by_a_line(client: FtrackClient, odd: OddServer) -> None:
    """Of a folder's files of one name, the last one would be there, and nobody would know."""
    other = FILE | {"id": OTHER_ID}
    reply(odd, [FILE, other], [], located(FILE_ID, OTHER_ID))

    with pytest.raises(FatalError) as refused:
        find_files(client, [FILE_ID, OTHER_ID])

    assert str(refused.value) == (
        f"components {FILE_ID} and {OTHER_ID} would both be named plate.exr; fetch them into "
        "different folders, or rename one of them in ftrack"
    )


def test_two_frames_of_one_number_are_refused(client: FtrackClient, odd: OddServer) -> None:
    numbers = ("7", "07")
    ids = map(frame_id, numbers)
    reply(odd, [], [SEQUENCE], [frame(number) for number in numbers], located(*ids))

    with pytest.raises(FatalError, match=r"would both be named main\.0007\.exr"):
        find_files(client, [SEQUENCE_ID])


def test_an_id_that_ftrack_does_not_know_is_named(client: FtrackClient, odd: OddServer) -> None:
    reply(odd, [FILE], [])

    with pytest.raises(FatalError, match="no file or sequence unknown"):
        find_files(client, [FILE_ID, "unknown"])


def test_a_sequence_without_frames_is_refused(client: FtrackClient, odd: OddServer) -> None:
    reply(odd, [], [SEQUENCE], [])

    with pytest.raises(FatalError, match=f"sequence {SEQUENCE_ID} has no frames"):
        find_files(client, [SEQUENCE_ID])


def test_a_file_that_is_not_in_the_store_is_named(client: FtrackClient, odd: OddServer) -> None:
    reply(odd, [FILE], [], [])

    with pytest.raises(FatalError, match=rf"component {FILE_ID} is not in ftrack\.server"):
        find_files(client, [FILE_ID])


def test_frames_that_are_not_in_the_store_are_counted(client: FtrackClient, odd: OddServer) -> None:
    frames = [frame("1"), frame("2"), frame("3")]
    reply(odd, [FILE], [SEQUENCE], frames, located(FILE_ID, frame_id("1")))

    with pytest.raises(
        FatalError, match=rf"sequence {SEQUENCE_ID} \(2, the first is main\.0002\.exr\)"
    ):
        find_files(client, [SEQUENCE_ID, FILE_ID])


@pytest.mark.parametrize(
    "name",
    ["", ".profile", "a/b", "a\\b", "a\nb", "a\0b", "a\x7fb", "a\u2028b", "\ud800", "é" * 126],
    ids=["empty", "hidden", "slash", "backslash", "line", "nul", "del", "ls", "surrogate", "long"],
)
def test_a_name_that_is_not_a_file_name_is_refused(
    name: str, client: FtrackClient, odd: OddServer
) -> None:
    file_type = ".exr" if name else ""
    reply(odd, [FILE | {"name": name, "file_type": file_type}], [], located(FILE_ID))

    [file] = find_files(client, [FILE_ID])

    assert file.name == ""
    assert file.fault.startswith(
        f"component {FILE_ID} has a name that cannot be a file name here ("
    )
    file.fault.encode()


def test_a_name_may_have_as_many_bytes_as_linux_allows(
    client: FtrackClient, odd: OddServer
) -> None:
    name = "x" + "é" * 125
    reply(odd, [FILE | {"name": name}], [], located(FILE_ID))

    [file] = find_files(client, [FILE_ID])

    assert len(file.name.encode()) == 255


@pytest.mark.parametrize("count", [1, 2, 3])
def test_rows_are_read_page_by_page(
    count: int, client: FtrackClient, odd: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "PAGE_ROWS", 2)
    frames = [frame(str(number)) for number in range(1, count + 1)]
    ids = [str(row["id"]) for row in frames]
    pages = [frames[:2], frames[2:]] if count >= 2 else [frames]
    # Each full page of locations is followed by a query for the next one.
    located_pages = [located(*ids[:2])] + [[]] * (count >= 2) + [located(*ids[2:])] * (count > 2)
    reply(odd, [], [SEQUENCE], *pages, *located_pages)

    assert [file.component_id for file in find_files(client, [SEQUENCE_ID])] == ids
    assert "offset 0 limit 2" in asked(odd)[3]
    if count >= 2:
        assert "offset 2 limit 2" in asked(odd)[4]
    assert len(odd.requests) == 1 + len(pages) + len(located_pages)


def test_a_query_that_ftrack_refuses_is_final(client: FtrackClient, odd: OddServer) -> None:
    odd.answers = [http(body=b'{"exception": "PermissionError", "content": "not yours"}')]

    with pytest.raises(FatalError, match="PermissionError: not yours"):
        find_files(client, [FILE_ID])


def test_junk_in_place_of_texts_is_an_empty_text(client: FtrackClient, odd: OddServer) -> None:
    reply(odd, [FILE | {"name": 5}], [], located(FILE_ID))

    [file] = find_files(client, [FILE_ID])

    assert (file.name, file.fault != "") == ("", True)


@pytest.mark.parametrize("odd_id", ["./../victim/precious", 'x" or 1', "", 5, [], None])
def test_an_id_that_is_no_uuid_becomes_no_path_and_no_query(
    odd_id: object, client: FtrackClient, odd: OddServer
) -> None:
    for files, sequences, *more in (
        ([FILE | {"id": odd_id}], [], located(FILE_ID)),
        ([], [SEQUENCE], [frame("1", id=odd_id)], located(FILE_ID)),
        ([], [SEQUENCE], [frame("1", container_id=odd_id)], located(FILE_ID)),
    ):
        reply(odd, files, sequences, *more)
        with pytest.raises((UnexpectedAnswerError, FatalError)):
            find_files(client, [FILE_ID] if files else [SEQUENCE_ID])
    assert not any("precious" in query or "or 1" in query for query in asked(odd))


def test_a_padding_that_would_fill_the_memory_does_not_count(
    client: FtrackClient, odd: OddServer
) -> None:
    for padding in (10**12, -1, 1e300, True, "4", [4]):
        row = SEQUENCE | {"padding": padding}
        reply(odd, [], [row], [frame("7")], located(frame_id("7")))

        assert [file.name for file in find_files(client, [SEQUENCE_ID])] == ["main.7.exr"]


def test_a_query_whose_pages_do_not_end_is_given_up(
    client: FtrackClient, odd: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "PAGE_ROWS", 2)
    monkeypatch.setattr(lookup, "MAX_ROWS", 10)
    odd.answers = [http(body=json.dumps([{"data": [FILE, FILE]}]).encode())]

    with pytest.raises(UnexpectedAnswerError, match="more than 10 rows of FileComponent"):
        all_rows(client, "id", "FileComponent", "1")


def test_only_queries_that_have_more_pages_are_asked_again(
    client: FtrackClient, odd: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "PAGE_ROWS", 2)
    pages = [[[FILE], [SEQUENCE, SEQUENCE]], [[SEQUENCE]]]
    odd.answers = [
        http(body=json.dumps([{"data": rows} for rows in page]).encode()) for page in pages
    ]
    queries = [Asked("id", "FileComponent", "1"), Asked("id", "SequenceComponent", "2")]

    assert rows_of_each(client, queries) == [[FILE], [SEQUENCE] * 3]
    assert asked(odd) == [
        "select id from FileComponent where 1 order by id offset 0 limit 2",
        "select id from SequenceComponent where 2 order by id offset 0 limit 2",
        "select id from SequenceComponent where 2 order by id offset 2 limit 2",
    ]


def test_no_component_has_no_pattern_and_is_not_asked_for(
    client: FtrackClient, odd: OddServer
) -> None:
    assert patterns_of(client, []) == {}
    assert asked(odd) == []
