"""Whoever answers in ftrack's place or the store's, with values that nobody would think of."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.config.remedies import MAX_LINE, explained
from tasks.config.settings import FtrackSettings
from tasks.stage import events
from tasks.stage.resolved import resolved
from tasks.transfer.errors import (
    FatalError,
    ServiceUnavailableError,
    TargetRefusedError,
    UnexpectedAnswerError,
)
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.get import get_file
from tasks.transfer.inventory import take_inventory
from tasks.transfer.lookup import ComponentFile, find_files
from tasks.transfer.models import Transfer
from tasks.transfer.put import store_session
from tasks.transfer.targets import NewVersion, OfVersion, Target, derived_id
from tasks.transfer.versions import MOST_KNOWN, Versions
from tests.unit.odd_server import OddServer, http

ID, OTHER = derived_id("component"), derived_id("another")
VERSION = derived_id("version")
PLACE = {"id": VERSION, "version": 1, "asset": {"name": "a", "parent": {"id": ID}}}
ATTRIBUTE = {"id": ID, "key": "looks", "config": "{}", "type": {"name": "enumerator"}}
HUGE = "9" * 5000


@pytest.fixture
def odd() -> Any:
    with OddServer() as server:
        yield server


def rows(*found: object) -> dict[str, Any]:
    return {"data": list(found)}


def answer(*results: object) -> bytes:
    return http(body=json.dumps(results).encode())


@pytest.fixture
def ftrack(odd: OddServer) -> Iterator[FtrackClient]:
    client = FtrackClient(odd.url, "farm", "a-key-of-the-test")
    with client.session:
        yield client


def clients_of(ftrack: FtrackClient) -> Any:
    settings = SimpleNamespace(also_in="")
    return SimpleNamespace(ftrack=ftrack, versions=Versions(ftrack), settings=settings)


@pytest.mark.parametrize(
    ("place", "attribute"),
    [
        (PLACE | {"version": "x"}, ATTRIBUTE),
        (PLACE | {"version": float("inf")}, ATTRIBUTE),
        (PLACE | {"asset": "x"}, ATTRIBUTE),
        (PLACE | {"asset": {"parent": [1]}}, ATTRIBUTE),
        (PLACE, ATTRIBUTE | {"type": "x"}),
    ],
    ids=["version", "infinity", "asset", "parent", "type"],
)
def test_an_odd_value_of_ftracks_fails_its_own_upload_alone(
    place: dict[str, Any], attribute: dict[str, Any], odd: OddServer, ftrack: FtrackClient
) -> None:
    """Otherwise the task ends, and with it all uploads of its batch."""
    odd.answers = [answer(rows(place), rows(attribute))]
    data = OfVersion(attributes=(("looks", "a"),))
    bad = Transfer("bad", Target.under_version(VERSION, "bad", of_version=data), "/mnt/bad.exr")
    good = Transfer("good", Target.under_version(VERSION, "good"), "/mnt/good.exr")

    ready, refused = resolved(clients_of(ftrack), [bad, good])

    assert ready == [good]
    assert isinstance(refused["bad"], UnexpectedAnswerError)


def test_an_error_with_a_huge_text_of_ftracks_is_short(
    odd: OddServer, ftrack: FtrackClient
) -> None:
    odd.answers = [
        *(answer(rows({"id": ID})) for _ in range(2)),
        answer(rows({"id": ID, "name": "z" * 1_000_000, "short": ""})),
    ]
    with pytest.raises(TargetRefusedError) as caught:
        Versions(ftrack).find(NewVersion("demo/sh010", "a", "Render"))
    assert len(explained(caught.value)) < MAX_LINE + 100
    assert explained(caught.value).endswith("then: farmhaul retry ID")


def test_ways_to_write_one_context_fill_no_memory(odd: OddServer, ftrack: FtrackClient) -> None:
    odd.answers = [answer(rows({"id": ID, "name": "Render"}))]
    versions = Versions(ftrack)
    versions._known = {NewVersion(str(n), "", "Render"): (0.0, None) for n in range(MOST_KNOWN)}  # type: ignore[misc]
    versions.find(NewVersion("demo", "a", "Render"))
    assert len(versions._known) == 1


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("200 OK", {"Content-Length": HUGE}),
        ("200 OK", {"Content-Length": "9" * 400}),
        ("206 Partial Content", {"Content-Range": f"bytes 0-0/{HUGE}"}),
        ("206 Partial Content", {"Content-Range": f"bytes {HUGE}-{HUGE}/7"}),
    ],
    ids=["huge", "no float", "range", "start"],
)
def test_a_size_that_no_file_has_is_an_answer_like_any_odd_one(
    status: str, headers: dict[str, str], odd: OddServer, tmp_path: Path
) -> None:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
    odd.answers = [("\r\n".join(lines) + "\r\n\r\nx").encode()]
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with store_session(1) as session, pytest.raises(UnexpectedAnswerError):
            get_file(ComponentFile(ID, "f.exr"), folder, lambda _: f"{odd.url}/key", session)
    finally:
        os.close(folder)
    assert not (tmp_path / "f.exr").exists()


def test_a_chunk_of_a_negative_size_is_an_outage(odd: OddServer, ftrack: FtrackClient) -> None:
    odd.answers = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc"]
    with pytest.raises(ServiceUnavailableError):
        find_files(ftrack, [ID])


def test_a_part_that_somebody_removes_fails_its_own_fetch(odd: OddServer, tmp_path: Path) -> None:
    def remove_and_answer(connection: socket.socket) -> None:
        for part in tmp_path.glob(".*.part"):
            part.unlink()
        connection.sendall(http(body=b"abc"))

    odd.answers = [remove_and_answer]
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with store_session(1) as session, pytest.raises(FatalError, match="cannot be written"):
            get_file(ComponentFile(ID, "f.exr"), folder, lambda _: f"{odd.url}/key", session)
    finally:
        os.close(folder)


def test_files_of_others_than_were_asked_for_are_not_fetched(
    odd: OddServer, ftrack: FtrackClient
) -> None:
    others = rows({"id": OTHER, "name": "precious", "file_type": ".exr"})
    own = rows({"id": ID, "name": "f", "file_type": ".exr"}, *others["data"])
    located = rows({"component_id": ID}, {"component_id": OTHER})
    odd.answers = [answer(own, others, rows()), answer(located)]
    assert find_files(ftrack, [ID]) == [ComponentFile(ID, "f.exr")]

    odd.answers = [answer(others, others, rows())]
    with pytest.raises(FatalError, match="ftrack has no file or sequence"):
        find_files(ftrack, [ID])


def test_an_odd_sequence_of_ftracks_ends_no_check(odd: OddServer, ftrack: FtrackClient) -> None:
    sequence = {"id": ID, "name": "s", "__entity_type__": "SequenceComponent"}
    frames = [{"id": derived_id(name), "name": name, "container_id": ID} for name in (HUGE, "7")]
    padding, place = {"id": OTHER, "padding": 4}, {"component_id": ID, "location_id": OTHER}
    places = rows({"id": VERSION, **place, "resource_identifier": "x" * 1_000_000})
    odd.answers = [*map(answer, (rows(sequence), rows(padding), rows(*frames), places))]

    found = take_inventory(ftrack, [ID], []).known[ID]

    assert [*found.frames] == [7]
    assert len(found.identifiers[0]) < 10_000


def test_an_event_hub_leads_to_no_other_address(odd: OddServer) -> None:
    with OddServer() as inside:
        location = f"ws://127.0.0.1:{inside.port}/latest/meta-data"
        odd.answers = [
            http(body=b"a-session:60:60:websocket"),
            http("302 Found", headers={"Location": location}),
        ]
        with pytest.raises(events.HubError, match="does not switch"):
            events._Hub(FtrackSettings(odd.url, "farm", "a-key"))
        assert len(odd.requests) == 2
        assert inside.requests == []
