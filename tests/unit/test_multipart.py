"""Large files in parts: no gap, no part twice, and no byte of another version of the file."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.transfer import multipart
from tasks.transfer.errors import (
    DigestMismatchError,
    FileChangedError,
    LeaseLostError,
    MultipartGoneError,
    RequestRefusedError,
    UnexpectedAnswerError,
    UrlRefusedError,
)
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.models import LARGE_BYTES, MIB, Multipart, Transfer, part_size_bytes
from tasks.transfer.multipart import RUN_BYTES, Part, complete, plan_parts, plan_runs, put_part
from tasks.transfer.put import BLOCK_BYTES, store_session
from tasks.transfer.registration import locate_operations
from tasks.transfer.signing import sign
from tasks.transfer.targets import Target
from tests.sandbox import Sandbox, seed
from tests.unit.conftest import Frame, digest_of
from tests.unit.odd_server import OK, OddServer, http

GIB = 1024 * MIB
FORBIDDEN = http("403 Forbidden", b"<Code>SignatureDoesNotMatch</Code>")


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with store_session(connections=2) as session:
        yield session


@settings(max_examples=60, deadline=None)
@given(st.integers(LARGE_BYTES + 1, 1280 * 10**9))
def test_parts_cover_a_file_without_gaps_within_the_limits_of_s3(
    size_bytes: int,
) -> None:
    parts = plan_parts(size_bytes)

    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert len(parts) <= 10_000
    offset = 0
    for part in parts:
        assert part.offset == offset
        offset += part.size_bytes
    assert offset == size_bytes
    assert all(part.size_bytes == part_size_bytes(size_bytes) >= 5 * MIB for part in parts[:-1])
    assert 0 < parts[-1].size_bytes <= part_size_bytes(size_bytes)


@settings(max_examples=60, deadline=None)
@given(st.integers(LARGE_BYTES + 1, 64 * GIB))
def test_runs_hold_all_parts_once_and_are_bounded(size_bytes: int) -> None:
    runs = plan_runs(size_bytes)

    assert [part for run in runs for part in run] == plan_parts(size_bytes)
    assert all(0 < sum(part.size_bytes for part in run) <= RUN_BYTES for run in runs)


def test_a_part_is_sent_with_the_md5_of_its_own_bytes(
    frame: Frame, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    content = os.urandom(3 * BLOCK_BYTES)
    piece = content[1000 : 1000 + BLOCK_BYTES + 5]
    odd.answers = [http(headers={"ETag": f'"{hashlib.md5(piece).hexdigest()}"'})]

    etag = put_part(
        frame(content), Part(2, 1000, len(piece)), f"{odd.url}/part", session, roots=roots
    )

    [request] = odd.requests
    assert request.body == piece
    assert request.header(b"Content-MD5") == digest_of(piece).encode()
    assert etag == hashlib.md5(piece).hexdigest()


def test_a_store_that_tells_no_etag_gets_the_md5_for_one(
    frame: Frame, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    etag = put_part(frame(b"pixels"), Part(1, 0, 3), f"{odd.url}/part", session, roots=roots)

    assert etag == hashlib.md5(b"pix").hexdigest()


def test_a_part_goes_without_an_md5_that_the_store_refuses(
    frame: Frame, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    odd.answers = [FORBIDDEN, OK]

    put_part(frame(b"pixels"), Part(1, 0, 6), f"{odd.url}/part", session, roots=roots)

    first, second = odd.requests
    assert b"Content-MD5" in dict(first.headers)
    assert b"Content-MD5" not in dict(second.headers)
    assert second.body == b"pixels"


def test_a_part_that_is_refused_without_the_md5_too_needs_a_new_url(
    frame: Frame, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    odd.answers = [FORBIDDEN]

    with pytest.raises(UrlRefusedError):
        put_part(frame(b"pixels"), Part(1, 0, 6), f"{odd.url}/part", session, roots=roots)

    assert len(odd.requests) == 2


def test_a_part_of_other_bytes_is_a_mismatch(
    frame: Frame, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    odd.answers = [http(headers={"ETag": f'"{"0" * 32}"'})]

    with pytest.raises(DigestMismatchError):
        put_part(frame(b"pixels"), Part(1, 0, 6), f"{odd.url}/part", session, roots=roots)


def test_a_file_that_changes_before_or_during_a_part_is_noticed(
    frame: Frame, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    transfer = frame(bytes(4 * BLOCK_BYTES))

    def touch(sent_bytes: int) -> None:
        if sent_bytes == BLOCK_BYTES:
            os.utime(transfer.path, ns=(1, 1))

    part = Part(1, 0, 2 * BLOCK_BYTES)
    for on_progress in (touch, lambda _: None):
        with pytest.raises(FileChangedError, match="mtime"):
            put_part(
                transfer, part, f"{odd.url}/part", session, roots=roots, on_progress=on_progress
            )

    assert len(odd.requests) == 1


def test_a_part_stops_when_it_is_no_longer_ours(
    frame: Frame, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    def on_progress(_sent_bytes: int) -> None:
        raise LeaseLostError("an upload")

    with pytest.raises(LeaseLostError):
        put_part(
            frame(b"pixels"),
            Part(1, 0, 6),
            f"{odd.url}/part",
            session,
            roots=roots,
            on_progress=on_progress,
        )

    assert odd.requests == []


# Together with ftrack and a real store


@pytest.fixture
def ftrack(sandbox: Sandbox) -> Iterator[FtrackClient]:
    client = FtrackClient(sandbox.ftrack_url, seed.API_USER, seed.API_KEY)
    with client.session:
        yield client


@pytest.fixture
def content() -> bytes:
    return os.urandom(5 * MIB + 7)


@pytest.fixture
def large(
    frame: Frame,
    ftrack: FtrackClient,
    sandbox: Sandbox,
    content: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> Transfer:
    """A file of two parts, the second of 7 bytes, that ftrack has opened an upload for."""
    monkeypatch.setattr("tasks.transfer.models.LARGE_BYTES", 4 * MIB)
    for module in ("models", "multipart"):
        monkeypatch.setattr(f"tasks.transfer.{module}.part_size_bytes", lambda _: 5 * MIB)
    target = Target(sandbox.ftrack.add_component("main.mov", size=len(content)))
    transfer = frame(content, "main.mov", target=target)
    signed = sign(ftrack, [transfer])[transfer.upload_id]
    assert isinstance(signed, Transfer)
    assert signed.multipart is not None
    return signed


def send_parts(
    transfer: Transfer, session: requests.Session, roots: tuple[str, ...]
) -> dict[int, str]:
    opened = transfer.multipart
    assert opened is not None
    return {
        part.number: put_part(transfer, part, opened.urls[part.number], session, roots=roots)
        for part in multipart.plan_parts(transfer.size_bytes)
    }


def test_parts_are_joined_and_the_file_is_located_in_one_call(  # noqa: PLR0917 fixtures and cases
    large: Transfer,
    content: bytes,
    ftrack: FtrackClient,
    sandbox: Sandbox,
    session: requests.Session,
    roots: tuple[str, ...],
) -> None:
    etags = send_parts(large, session, roots)
    before = sandbox.ftrack.count_calls()

    complete(large, etags, ftrack, locate_operations(large))

    assert sandbox.ftrack.count_calls() - before == 1
    assert sandbox.store.read(large.component_id) == content
    assert len(sandbox.ftrack.locations(large.component_id)) == 1


def test_parts_can_be_joined_before_the_file_is_located(
    large: Transfer,
    ftrack: FtrackClient,
    sandbox: Sandbox,
    session: requests.Session,
    roots: tuple[str, ...],
) -> None:
    complete(large, send_parts(large, session, roots), ftrack)

    assert sandbox.store.exists(large.component_id)
    assert sandbox.ftrack.locations(large.component_id) == []


def test_parts_that_were_joined_already_are_gone(
    large: Transfer, ftrack: FtrackClient, session: requests.Session, roots: tuple[str, ...]
) -> None:
    etags = send_parts(large, session, roots)
    complete(large, etags, ftrack)

    with pytest.raises(MultipartGoneError, match="NoSuchUpload"):
        complete(large, etags, ftrack)


def test_parts_that_the_store_does_not_know_can_not_be_joined(
    large: Transfer, ftrack: FtrackClient, session: requests.Session, roots: tuple[str, ...]
) -> None:
    etags = {**send_parts(large, session, roots), 2: "0" * 32}

    with pytest.raises(MultipartGoneError):
        complete(large, etags, ftrack)


@pytest.mark.parametrize(
    ("exception", "content", "expected"),
    [
        ("IntegrityError", "duplicate key", UnexpectedAnswerError),
        ("PermissionError", "not yours", RequestRefusedError),
        ("ServerSaid", "InvalidPart: 3", MultipartGoneError),
    ],
)
def test_a_refusal_to_join_is_told_by_what_ftrack_says(
    exception: str, content: str, expected: type[Exception], odd: OddServer, frame: Frame
) -> None:
    body = f'{{"exception": "{exception}", "content": "{content}"}}'
    odd.answers = [http(body=body.encode())]
    client = FtrackClient(odd.url, "farm", "a-key")
    transfer = replace(frame(), multipart=Multipart("u1", {}))

    with client.session, pytest.raises(expected, match=content):
        complete(transfer, {1: "a"}, client, locate_operations(transfer))


def test_the_urls_of_parts_are_in_no_repr() -> None:
    assert "s3cr3t" not in repr(Multipart("u1", {1: "https://store/?sig=s3cr3t"}))


def test_the_join_of_parts_may_take_longer_than_other_calls(
    odd: OddServer, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.transfer.ftrack.TIMEOUT_S", (5.0, 0.2))
    monkeypatch.setattr(multipart, "JOIN_TIMEOUT_S", 10.0)

    def answer(connection: socket.socket) -> None:
        time.sleep(0.6)
        connection.sendall(http(body=b"[{}]"))

    odd.answers = [answer]
    client = FtrackClient(odd.url, "farm", "a-key")
    transfer = replace(frame(), multipart=Multipart("u1", {}))

    with client.session:
        assert complete(transfer, {1: "a"}, client) == ()
