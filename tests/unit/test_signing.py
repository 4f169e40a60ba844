"""The answer that signs a large file: all of its parts, or it is of no use."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.transfer.errors import UnexpectedAnswerError
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.models import LARGE_BYTES, FileIdentity, SignedPut, Transfer, part_count
from tasks.transfer.signing import UrlDates, has_bad_dates, sign
from tasks.transfer.targets import Target
from tests.unit.conftest import new_id
from tests.unit.odd_server import OddServer, http

SIZE = LARGE_BYTES + 1
COUNT = part_count(SIZE)


def signed(odd: OddServer, numbers: range, **changes: Any) -> object:
    """Return what becomes of a large file when ftrack signs these parts."""
    urls = [{"part_number": n, "signed_url": f"https://store/{n}"} for n in numbers]
    answer = {"upload_id": "a-multipart-upload", "urls": urls} | changes
    odd.answers = [http(body=json.dumps([answer]).encode())]
    identity = FileIdentity(SIZE, 1, 1, 1)
    transfer = Transfer(new_id(), Target(new_id()), "/mnt/movie.mov", identity=identity)
    client = FtrackClient(odd.url, "farm", "a-key")
    with client.session:
        return sign(client, [transfer], check=False)[transfer.upload_id]


def test_every_part_has_its_own_url(odd: OddServer) -> None:
    outcome = signed(odd, range(1, COUNT + 1))

    assert isinstance(outcome, Transfer)
    assert outcome.multipart is not None
    assert outcome.multipart.upload_id == "a-multipart-upload"
    assert outcome.multipart.urls == {n: f"https://store/{n}" for n in range(1, COUNT + 1)}


@pytest.mark.parametrize("numbers", [range(1, COUNT), range(1, COUNT + 2), range(COUNT), range(0)])
def test_a_part_too_few_or_too_many_is_refused(odd: OddServer, numbers: range) -> None:
    assert isinstance(signed(odd, numbers), UnexpectedAnswerError)


@pytest.mark.parametrize("upload_id", ["", None, 5])
def test_parts_without_a_multipart_upload_are_refused(odd: OddServer, upload_id: object) -> None:
    outcome = signed(odd, range(1, COUNT + 1), upload_id=upload_id)

    assert isinstance(outcome, UnexpectedAnswerError)


NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("query", "is_bad"),
    [
        ("X-Amz-Date=20261128T115000Z&X-Amz-Expires=599", True),
        ("X-Amz-Expires=601&X-Amz-Signature=1&X-Amz-Date=20261128T115000Z", False),
        ("X-Goog-Date=20261128T115000Z&X-Goog-Expires=1", True),
        ("X-Amz-Date=20261128T130000Z&X-Amz-Expires=1", False),
        ("X-Amz-Date=20261131T000000Z&X-Amz-Expires=1", False),
        ("X-Amz-Date=20261128T115000Z&X-Amz-Expires=604800", False),
        ("X-Amz-Date=20261128T115000Z&X-Amz-Expires=604801", True),
        ("X-Amz-Date=20261128T115000Z", False),
        ("Not-X-Amz-Date=20001128T115000Z&X-Amz-Expires=1", False),
        ("Expires=1&Signature=1", False),
    ],
)
def test_a_url_says_whether_its_dates_are_bad(
    query: str, is_bad: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", NOW.timestamp)

    assert has_bad_dates(SignedPut(f"https://store/key?{query}", {})) == is_bad


def test_dates_tell_nothing_once_an_expired_url_is_accepted() -> None:
    old = SignedPut("https://store/key?X-Amz-Date=20001128T115000Z&X-Amz-Expires=1", {})
    dates = UrlDates()
    dates.note_accepted(SignedPut("https://store/key", {}))
    assert dates.is_over(old)

    dates.note_accepted(old)

    assert not dates.is_over(old)
