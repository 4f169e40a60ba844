"""put_file with URLs that ftrack signed, against a real S3 that enforces them."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from tasks.transfer.checksum import compute_checksum
from tasks.transfer.errors import (
    DigestMismatchError,
    ServiceUnavailableError,
    UploadError,
    UrlRefusedError,
)
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.models import SignedPut, Transfer
from tasks.transfer.put import put_file, store_session
from tasks.transfer.signing import sign
from tasks.transfer.targets import Target
from tests.sandbox import Sandbox, seed
from tests.unit.conftest import Frame, new_id


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with store_session(connections=2) as session:
        yield session


@pytest.fixture
def ftrack(sandbox: Sandbox) -> Iterator[FtrackClient]:
    client = FtrackClient(sandbox.ftrack_url, seed.API_USER, seed.API_KEY)
    with client.session:
        yield client


def signed(ftrack: FtrackClient, transfer: Transfer) -> Transfer:
    outcome = sign(ftrack, [transfer], check=False)[transfer.upload_id]
    assert isinstance(outcome, Transfer)
    return outcome


@pytest.mark.parametrize(
    "name",
    [
        "main.0101.exr",
        "two words.exr",
        'a "quoted" 100%41.exr',
        "ünï çödé.exr",
        "🎬 take.exr",
        "x" * 196 + ".exr",
    ],
)
def test_a_file_of_any_name_is_stored(  # noqa: PLR0917 fixtures and cases
    name: str,
    frame: Frame,
    ftrack: FtrackClient,
    session: requests.Session,
    sandbox: Sandbox,
    roots: tuple[str, ...],
) -> None:
    content = os.urandom(70_001)
    transfer = signed(ftrack, frame(content, name))

    put_file(transfer, session, roots)

    assert sandbox.store.read(transfer.component_id) == content
    [put] = sandbox.store.puts()
    assert not {"ftrack-api-key", "ftrack-user"} & {header.lower() for header in put["headers"]}


@pytest.mark.parametrize("size", [0, 1])
def test_a_file_of_hardly_any_size_is_stored(  # noqa: PLR0917 fixtures and cases
    size: int,
    frame: Frame,
    ftrack: FtrackClient,
    session: requests.Session,
    sandbox: Sandbox,
    roots: tuple[str, ...],
) -> None:
    transfer = signed(ftrack, frame(b"x" * size))

    put_file(transfer, session, roots)

    assert sandbox.store.read(transfer.component_id) == b"x" * size


def refusal(transfer: Transfer, session: requests.Session, roots: tuple[str, ...]) -> UploadError:
    with pytest.raises(UploadError) as raised:
        put_file(transfer, session, roots)
    assert "Signature" not in str(raised.value).replace("SignatureDoesNotMatch", "")
    return raised.value


def test_a_url_that_has_expired_is_refused_to_be_signed_again(
    frame: Frame,
    ftrack: FtrackClient,
    session: requests.Session,
    sandbox: Sandbox,
    roots: tuple[str, ...],
) -> None:
    sandbox.faults.add("ftrack", "url_lifetime_s", 0, times=1)
    expired = signed(ftrack, frame())

    error = refusal(expired, session, roots)

    assert isinstance(error, UrlRefusedError)
    assert "403 AccessDenied" in str(error)
    put_file(signed(ftrack, expired), session, roots)
    assert sandbox.store.read(expired.component_id) == b"pixels"


def test_a_header_that_is_not_as_it_was_signed_is_refused(
    frame: Frame, ftrack: FtrackClient, session: requests.Session, roots: tuple[str, ...]
) -> None:
    transfer = signed(ftrack, frame())
    assert transfer.signed is not None
    headers = {**transfer.signed.headers, "Content-Type": "text/html"}
    bent = replace(transfer, signed=SignedPut(transfer.signed.url, headers))

    error = refusal(bent, session, roots)

    assert isinstance(error, UrlRefusedError)
    assert "403 SignatureDoesNotMatch" in str(error)


def test_a_bit_that_flips_on_the_way_is_noticed_by_the_store(
    frame: Frame,
    ftrack: FtrackClient,
    session: requests.Session,
    sandbox: Sandbox,
    roots: tuple[str, ...],
) -> None:
    sandbox.faults.add("store", "bad_digest", times=1)
    transfer = signed(ftrack, frame(os.urandom(100_000)))

    error = refusal(transfer, session, roots)

    assert isinstance(error, DigestMismatchError)
    assert base64.b64decode(transfer.checksum or "").hex() in str(error)
    assert not sandbox.store.exists(transfer.component_id)


def test_the_store_refuses_other_bytes_under_the_same_stat(
    frame: Frame,
    ftrack: FtrackClient,
    session: requests.Session,
    sandbox: Sandbox,
    roots: tuple[str, ...],
) -> None:
    transfer = signed(ftrack, frame(b"pixels"))
    mtime_ns = transfer.known_identity.mtime_ns
    with Path(transfer.path).open("r+b") as file:
        file.write(b"PIXELS")
    os.utime(transfer.path, ns=(mtime_ns, mtime_ns))

    assert isinstance(refusal(transfer, session, roots), DigestMismatchError)
    assert not sandbox.store.exists(transfer.component_id)
    # Whether it is known or not is told by its stat alone: a second look finds nothing new.
    assert compute_checksum(transfer, roots) == transfer


def test_a_reset_midway_is_an_outage_and_the_same_url_serves_again(
    frame: Frame,
    ftrack: FtrackClient,
    session: requests.Session,
    sandbox: Sandbox,
    roots: tuple[str, ...],
) -> None:
    content = os.urandom(2_000_000)
    transfer = signed(ftrack, frame(content))
    sandbox.faults.add("store", "reset", after_bytes=500_000, times=1)

    assert isinstance(refusal(transfer, session, roots), ServiceUnavailableError)

    put_file(transfer, session, roots)
    assert sandbox.store.read(transfer.component_id) == content


def test_a_file_that_is_sent_twice_is_the_same_object(
    frame: Frame,
    ftrack: FtrackClient,
    session: requests.Session,
    sandbox: Sandbox,
    roots: tuple[str, ...],
) -> None:
    transfer = signed(ftrack, frame(target=Target(new_id())))

    put_file(transfer, session, roots)
    put_file(transfer, session, roots)

    assert sandbox.store.read(transfer.component_id) == b"pixels"
