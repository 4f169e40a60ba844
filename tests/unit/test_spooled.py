"""What the files of a spool become: bodies for the inbox, and lines that are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tasks.config.hook_settings import REDIS_URL, HookSettings
from tasks.intake import bodies
from tasks.intake.bodies import make_bodies
from tasks.intake.build import Options, build_requests
from tasks.intake.envelope import EntryRefusedError, Envelope, open_entry, sign
from tasks.intake.errors import BadInputError
from tasks.intake.flush import NotNowError
from tasks.intake.from_wire import from_wire
from tasks.intake.manifest import Entry
from tasks.intake.request import UploadRequest
from tasks.intake.salvage import sort_out
from tasks.intake.spooled import reader
from tasks.intake.wire import to_wire
from tasks.transfer.targets import Target

VERSION = "9f1d2c3b-0000-4000-8000-000000000001"
COMPONENT = "2c5e0000-0000-4000-8000-000000000002"
SETTINGS = HookSettings(REDIS_URL, ("/mnt/prod",))
BUILD = reader(SETTINGS, "node7")


def line(name: str, **more: Any) -> str:
    return json.dumps({"path": f"/mnt/prod/{name}", "version_id": VERSION, **more})


def opened(body: bytes) -> Envelope:
    return open_entry(sign(body, ()), ())


def request(number: int, path: str = "/mnt/prod/a.exr") -> UploadRequest:
    return UploadRequest(path, Target(COMPONENT), number, 1)


def test_bodies_have_a_bounded_number_of_requests() -> None:
    made = make_bodies([request(number) for number in range(1201)], 5.0, "node7")
    assert [len(opened(body).requests) for body in made] == [500, 500, 201]
    sizes = [values["size"] for body in made for values in opened(body).requests]
    assert sizes == list(range(1201))


def test_bodies_have_a_bounded_size() -> None:
    path = f"/mnt/prod/{'x' * 4000}"
    made = make_bodies([request(number, path) for number in range(100)], 5.0, "node7")
    assert len(made) == 2
    assert max(map(len, made)) < bodies.BYTES_AT_ONCE + bodies.ENVELOPE_BYTES


def test_bodies_have_a_bounded_number_of_files() -> None:
    entries = [
        Entry(f"/mnt/prod/{n}/f.%04d.exr [1-4000]", version_id=VERSION, name=f"{n}")
        for n in range(5)
    ]
    made = make_bodies(build_requests(entries, SETTINGS, Options(stat=False)), 5.0, "node7")
    assert [len(opened(body).requests) for body in made] == [2, 2, 1]


def test_a_request_that_no_worker_would_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_BYTES", 1200)
    with pytest.raises(BadInputError, match=r"^/mnt/prod/x.* split it into several publishes$"):
        make_bodies([request(1, f"/mnt/prod/{'x' * 200}")], 5.0, "node7")


def test_a_body_is_sent_as_it_is() -> None:
    [body] = make_bodies([request(1), request(2)], 5.0, "node7")
    assert BUILD("/spool/1.json", body, 9.0) == ([body], 2, ())


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"requests": 1}', b"1", b"\xff"])
def test_a_body_that_is_damaged_is_refused(content: bytes) -> None:
    with pytest.raises((ValueError, BadInputError, EntryRefusedError)):
        BUILD("/spool/1.json", content, 9.0)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_manifest_counts_from_when_it_was_written(encoding: str) -> None:
    text = f"{line('ü.exr')}\r\n\r\n{line('b.exr')}\r\n"
    made, count, refused = BUILD("/spool/manifests/1.jsonl", text.encode(encoding), 9.0)
    envelope = opened(made[0])
    assert (count, refused, envelope.asked_at) == (2, [], 9.0)
    paths = [from_wire(values).path for values in envelope.requests]
    assert paths == ["/mnt/prod/ü.exr", "/mnt/prod/b.exr"]


def test_a_manifest_of_bad_lines_alone_is_refused_with_each_reason() -> None:
    with pytest.raises(
        BadInputError, match=r"^manifest line 1: not valid JSON.*; manifest line 2:"
    ):
        BUILD("/spool/manifests/1.jsonl", b'{\n{"path": "/mnt/prod/a"}\n', 9.0)


def test_a_manifest_is_left_where_no_roots_are_set() -> None:
    here = reader(HookSettings(REDIS_URL), "node7")
    with pytest.raises(NotNowError, match="FARMHAUL_STORAGE_ROOTS is not set here"):
        here("/spool/manifests/1.jsonl", line("a.exr").encode(), 9.0)


def test_bad_lines_do_not_hold_up_the_good_ones() -> None:
    lines = [
        line("a.exr"),
        "{",
        "",
        line("b.exr", encode="maybe"),
        json.dumps({"path": "/etc/shadow", "version_id": VERSION}),
        line("c.exr"),
        line("sub/a.exr"),  # the same component as line 1
    ]
    requests, refused = sort_out(lines, SETTINGS)
    assert [one.path for one in requests] == ["/mnt/prod/a.exr", "/mnt/prod/c.exr"]
    assert [text for text, _ in refused] == [lines[1], lines[3], lines[4], lines[6]]
    for number, (_, reason) in zip([2, 4, 5, 7], refused, strict=True):
        assert reason.startswith(f"manifest line {number}: ")
    assert "would get two files" in refused[3][1]


def test_a_publish_is_sent_as_a_whole_or_not_at_all() -> None:
    lines = [
        line("a.exr", publish="main"),
        line("b.exr", publish="main", encode="maybe"),
        line("c.exr", publish="other"),
    ]
    outside = json.dumps({"path": "/etc/b.exr", "version_id": VERSION, "publish": "main"})
    for bad in (lines[1], outside):
        requests, refused = sort_out([lines[0], bad, lines[2]], SETTINGS)
        assert [to_wire(one)["publish"] for one in requests] == ["other"]
        assert [text for text, _ in refused] == [lines[0], bad]
        assert "another line of publish 'main' is refused" in refused[0][1]
    assert len(sort_out([lines[0], lines[2]], SETTINGS)[0]) == 2


def test_settings_that_allow_nothing_are_not_a_fault_of_the_lines() -> None:
    with pytest.raises(BadInputError, match="FARMHAUL_STORAGE_ROOTS is not set"):
        sort_out([line("a.exr")], HookSettings(REDIS_URL))
