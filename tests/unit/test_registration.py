"""The operations that register stored files: what is created, updated, and left alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tasks.transfer import publish_posts
from tasks.transfer.checks import location_id_of
from tasks.transfer.existing import (
    Existing,
    existing_operations,
    frames_operations,
    parse_existing,
)
from tasks.transfer.ftrack import encoded
from tasks.transfer.models import SERVER_LOCATION_ID, FileIdentity, Transfer
from tasks.transfer.names import PATTERN
from tasks.transfer.publish_posts import publish_operations
from tasks.transfer.registration import (
    ENCODED,
    job_ids,
    locate_operations,
)
from tasks.transfer.targets import Container, Publish, Target, derived_id

VERSION = "9f1d4c1e-7a3b-4a55-8a5e-0c9b6a1f2e3d"
TARGET = Target.under_version(VERSION, "main")
ID = TARGET.component_id
SEQUENCE = Target.under_version(VERSION, "exr")
CONTAINER = Container(SEQUENCE, ".exr", 4)


def stored(target: Target, path: str = "/a/main.mov", size_bytes: int = 6) -> Transfer:
    identity = FileIdentity(size_bytes, 1, 1, 1)
    return Transfer(f"u-{path}", target, path, identity=identity, checksum="md5", stored=True)


def frames(count: int, size_bytes: int = 10) -> list[Transfer]:
    return [
        stored(Target.frame(SEQUENCE, str(number)), f"/a/exr.{number}.exr", size_bytes)
        for number in range(1, count + 1)
    ]


def summary(operations: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["action"], each.get("entity_type", "")) for each in operations]


CREATE_LOCATION = {
    "action": "create",
    "entity_type": "ComponentLocation",
    "entity_data": {
        "id": derived_id("location", ID, SERVER_LOCATION_ID),
        "component_id": ID,
        "location_id": SERVER_LOCATION_ID,
        "resource_identifier": ID,
    },
}


def test_a_new_component_is_created_with_its_location() -> None:
    [component, location] = locate_operations(stored(TARGET))

    assert component == {
        "action": "create",
        "entity_type": "FileComponent",
        "entity_data": {
            "id": ID,
            "name": "main",
            "version_id": VERSION,
            "file_type": ".mov",
            "size": 6,
        },
    }
    assert location == CREATE_LOCATION


def test_a_component_named_by_its_id_gets_size_type_and_location() -> None:
    [size, *location] = locate_operations(stored(Target(ID)))

    assert size["entity_key"] == [ID]
    changed = {"size": 6, "file_type": ".mov"}
    assert (size["action"], size["entity_data"]) == ("update", changed)
    assert location == [CREATE_LOCATION]
    assert locate_operations(stored(Target(ID)), Existing(located=frozenset({ID}))) == [size]


def test_a_component_that_exists_gets_its_new_size() -> None:
    existing = Existing(components=frozenset({ID}), located=frozenset({ID}))

    assert locate_operations(stored(TARGET), existing) == [
        {
            "action": "update",
            "entity_type": "FileComponent",
            "entity_key": [ID],
            # An interrupted publish may have left it without its version.
            "entity_data": {"size": 6, "version_id": VERSION},
        }
    ]


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (None, [("create", "Metadata"), ("encode_media", "")]),
        ("another", [("update", "Metadata"), ("encode_media", "")]),
        ("md5", []),
    ],
    ids=["new", "of other bytes", "of these bytes"],
)
def test_the_bytes_of_a_component_are_encoded_once(
    known: str | None, expected: list[tuple[str, str]]
) -> None:
    metadata = {} if known is None else {(ID, ENCODED): known}
    transfer = stored(TARGET._replace(encode=True))

    operations = locate_operations(transfer, Existing(metadata=metadata))[2:]

    assert summary(operations) == expected
    if expected:
        assert operations[0]["entity_data"]["value"] == "md5"
        assert operations[1] == {
            "action": "encode_media",
            "component_id": ID,
            "version_id": VERSION,
            "keep_original": True,
        }


def test_metadata_is_created_or_updated() -> None:
    target = TARGET._replace(metadata=(("new", "1"), ("old", "2")))
    existing = Existing(metadata={(ID, "old"): "0"})

    create, update = locate_operations(stored(target), existing)[2:]

    assert create["entity_data"] == {
        "parent_id": ID,
        "parent_type": "FileComponent",
        "key": "new",
        "value": "1",
    }
    assert (update["entity_key"], update["entity_data"]) == ([ID, "old"], {"value": "2"})


def test_the_pattern_of_a_sequence_that_is_replaced_goes() -> None:
    target = SEQUENCE._replace(replace=True)
    known = Existing(
        components=frozenset({target.component_id}),
        metadata={(target.component_id, PATTERN): "f_%04d_left.exr"},
    )

    [post] = publish_operations(Publish((Container(target, ".exr", 4),)), [], known)

    gone = [one["entity_key"] for one in post if one["action"] == "delete"]
    assert gone == [[target.component_id, PATTERN]]


def test_a_thumbnail_alone_belongs_to_no_version() -> None:
    target = Target.under_version(VERSION, "thumbnail", thumbnail=True)
    named = Target.under_version(VERSION, "thumbnail")

    component, _ = locate_operations(stored(target))

    assert component["entity_data"]["name"] == "thumbnail"
    assert component["entity_data"]["version_id"] is None
    assert target.component_id == target.own_id != named.component_id


@pytest.mark.parametrize(
    ("target", "queries"),
    [
        (TARGET, 2),
        (TARGET._replace(encode=True), 3),
        (TARGET._replace(metadata=(("key", "value"),)), 3),
    ],
    ids=["plain", "encode", "metadata"],
)
def test_metadata_is_looked_up_only_where_it_will_be_set(target: Target, queries: int) -> None:
    operations = existing_operations([stored(target), stored(SEQUENCE)])

    assert len(operations) == queries
    assert all(ID in each["expression"] for each in operations)
    assert all(SEQUENCE.component_id in each["expression"] for each in operations[:2])
    assert all(SEQUENCE.component_id not in each["expression"] for each in operations[2:])


def test_what_exists_is_read_from_the_rows() -> None:
    a_id, s_id = derived_id("a"), derived_id("s")
    components = [
        {"id": a_id, "system_type": "file", "size": 7},
        {"id": s_id, "system_type": "sequence"},
    ]
    locations = [
        {
            "id": location_id_of(a_id),
            "component_id": a_id,
            "location_id": SERVER_LOCATION_ID,
            "resource_identifier": a_id,
        },
        {
            "id": s_id,
            "component_id": s_id,
            "location_id": SERVER_LOCATION_ID,
            "resource_identifier": "of-another-tool",
        },
        {"id": a_id, "component_id": a_id, "location_id": s_id, "resource_identifier": "f.exr"},
    ]
    metadata = [{"parent_id": a_id, "key": "k", "value": "v"}]
    results = [{"data": rows} for rows in (components, locations, metadata)]

    found = parse_existing(results)

    assert found == Existing(
        components=frozenset({a_id, s_id}),
        sequences=frozenset({s_id}),
        located=frozenset({a_id}),
        ours=frozenset({a_id}),
        sizes={a_id: 7, s_id: 0},
        metadata={(a_id, "k"): "v"},
        locations={
            (a_id, SERVER_LOCATION_ID): (location_id_of(a_id), a_id),
            (s_id, SERVER_LOCATION_ID): (s_id, "of-another-tool"),
            (a_id, s_id): (a_id, "f.exr"),
        },
    )
    assert parse_existing(results[:2]) == replace(found, metadata={})


def test_what_two_queries_found_is_joined() -> None:
    def found(letter: str) -> Existing:
        components, sequences, located, ours = (frozenset(kind + letter) for kind in "cslo")
        metadata = {(letter, "k"): letter}
        places = {(letter, "l"): (letter, letter)}
        return Existing(
            components, sequences, located, ours, {letter: 1}, metadata, locations=places
        )

    assert found("a").with_more(found("b")) == Existing(
        components=frozenset("cab"),
        sequences=frozenset("sab"),
        located=frozenset("lab"),
        ours=frozenset("oab"),
        sizes={"a": 1, "b": 1},
        metadata={("a", "k"): "a", ("b", "k"): "b"},
        locations={("a", "l"): ("a", "a"), ("b", "l"): ("b", "b")},
    )


def test_only_jobs_with_an_id_are_returned() -> None:
    ids = (derived_id("j1"), derived_id("j2"))
    odd: list[dict[str, object]] = [{}, {"job_id": 5}, {"job_id": 'j" or 1'}]

    assert job_ids([{"job_id": ids[0]}, *odd, {"job_id": ids[1]}]) == ids


def test_frames_are_queried_by_page() -> None:
    sequence, page = frames_operations("s", 40, 20)

    assert sequence["expression"] == 'select padding from SequenceComponent where id is "s"'
    assert 'container_id is "s" order by id offset 40 limit 20' in page["expression"]


@pytest.mark.parametrize("count", [1, 3])
def test_a_short_sequence_is_registered_in_one_post(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_posts, "FRAMES_A_POST", 3)

    [post] = publish_operations(Publish((CONTAINER,)), frames(count), Existing())

    assert post[0]["entity_data"] == {
        "id": SEQUENCE.component_id,
        "name": "exr",
        "version_id": VERSION,
        "file_type": ".exr",
        "size": 10 * count,
        "padding": 4,
    }
    kinds = [kind for _, kind in summary(post)]
    assert kinds.count("FileComponent") == count
    assert kinds.count("ComponentLocation") == count + 1
    assert post[1]["entity_data"]["container_id"] == SEQUENCE.component_id
    assert "version_id" not in post[1]["entity_data"]


def test_a_long_sequence_belongs_to_its_version_with_the_last_post(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publish_posts, "FRAMES_A_POST", 3)

    posts = publish_operations(Publish((CONTAINER,)), frames(7), Existing())

    made = [
        each["entity_data"]["name"]
        for post in posts
        for each in post
        if each.get("entity_type") == "FileComponent"
    ]
    assert made == [str(number) for number in range(1, 8)]
    counts = [[kind for _, kind in summary(post)].count("FileComponent") for post in posts]
    assert counts == [3, 3, 1, 0]
    assert posts[0][0]["entity_data"]["version_id"] is None
    assert posts[-1][0] == {
        "action": "update",
        "entity_type": "SequenceComponent",
        "entity_key": [SEQUENCE.component_id],
        "entity_data": {"size": 70, "version_id": VERSION},
    }
    assert summary(posts[-1][1:]) == [("create", "ComponentLocation")]


def test_one_frame_too_many_for_a_post_makes_it_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish_posts, "FRAMES_A_POST", 3)

    posts = publish_operations(Publish((CONTAINER,)), frames(4), Existing())

    assert [len(post) for post in posts] == [1 + 2 * 3, 2 * 1, 2]


def test_a_sequence_has_the_size_of_old_and_new_frames() -> None:
    [old, new] = frames(2)
    sizes = {SEQUENCE.component_id: {old.component_id: 1, "another": 5}}
    existing = Existing(components=frozenset({SEQUENCE.component_id}), frames=sizes)

    [post] = publish_operations(Publish((CONTAINER,)), [old, new], existing)

    assert post[0]["entity_data"] == {"size": 5 + 10 + 10, "version_id": VERSION}


def test_the_single_files_of_a_publish_are_located_in_the_last_post(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publish_posts, "FRAMES_A_POST", 1)
    files = [*frames(2), stored(TARGET)]

    posts = publish_operations(Publish((CONTAINER,)), files, Existing())

    with_file = [number for number, post in enumerate(posts) if CREATE_LOCATION in post]
    assert with_file == [len(posts) - 1]
    assert publish_operations(Publish(), [stored(TARGET)], Existing()) == [
        locate_operations(stored(TARGET))
    ]


def loose(count: int) -> list[Transfer]:
    return [
        stored(Target.under_version(VERSION, f"file {number}"), f"/a/{number}.mov")
        for number in range(count)
    ]


def test_a_publish_of_2000_files_is_made_by_posts_that_a_proxy_takes() -> None:
    files = [*frames(200), *loose(2000)]

    posts = publish_operations(Publish((CONTAINER,)), files, Existing())

    assert len(posts) > 1
    assert max(len(encoded(post)) for post in posts) <= 900_000
    # Nothing belongs to the version before the last POST, and all does after it.
    assert not any(VERSION in encoded(post).decode() for post in posts[:-1])
    assert encoded(posts[-1]).decode().count(VERSION) == 2001
    located = [each for post in posts for each in post if "resource_identifier" in str(each)]
    assert len(located) == 2201


def test_an_interrupted_publish_of_2000_files_gets_its_version() -> None:
    files = loose(2000)
    made = frozenset(file.component_id for file in files[:600])

    posts = publish_operations(Publish(), files, Existing(components=made, located=made))

    assert max(len(encoded(post)) for post in posts) <= 900_000
    assert encoded(posts[-1]).decode().count(VERSION) == 2000
    assert len([1 for post in posts for each in post if each["action"] == "create"]) == 2 * 1400


def test_a_publish_of_5000_files_is_made_by_posts_that_a_proxy_takes() -> None:
    posts = publish_operations(Publish(), loose(5_000), Existing())

    assert max(len(encoded(post)) for post in posts) <= 900_000
