"""What both HTTP conversations have in common: outages, Retry-After, and names without secrets."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from tasks.transfer.http import (
    HTTP_ERRORS,
    MAX_CHARS,
    PlainSession,
    is_outage,
    one_line,
    retry_after_s,
    status_of,
    without_secrets,
)
from tests.helpers.http_errors import errors_of_http_libraries
from tests.unit.odd_server import OddServer, http

SECRET = "https://store/bucket/key?X-Amz-Signature=s3cr3t"


def answer_with(retry_after: str) -> requests.Response:
    answer = requests.Response()
    answer.headers["Retry-After"] = retry_after
    return answer


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507, 599])
def test_a_status_that_says_later_is_an_outage(status: int) -> None:
    assert is_outage(status)


@pytest.mark.parametrize("status", [200, 201, 204, 301, 307, 400, 401, 403, 404, 409, 413, 422])
def test_a_status_that_says_no_is_none(status: int) -> None:
    assert not is_outage(status)


def test_retry_after_is_read_as_seconds() -> None:
    assert retry_after_s(answer_with(" 120 ")) == 120


def test_retry_after_is_read_as_a_date() -> None:
    moment = datetime.now(UTC) + timedelta(seconds=90)

    seconds = retry_after_s(answer_with(format_datetime(moment, usegmt=True)))

    assert seconds is not None
    assert 80 < seconds <= 90


def test_retry_after_as_a_date_without_a_zone_is_taken_as_utc() -> None:
    moment = datetime.now(UTC) + timedelta(seconds=90)

    seconds = retry_after_s(answer_with(moment.strftime("%a, %d %b %Y %H:%M:%S")))

    assert seconds is not None
    assert 80 < seconds <= 90


def test_a_date_that_has_passed_asks_for_no_pause() -> None:
    assert retry_after_s(answer_with("Wed, 21 Oct 2015 07:28:00 GMT")) == 0


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "-5",
        "1.5",
        "Wed, 21 Oct 99999999999999999999 07:28:00 GMT",
        "Wed, 21 Oct 2015 07:28:00 +99999999999999",
    ],
)
def test_a_retry_after_that_can_not_be_read_is_none(value: str) -> None:
    assert retry_after_s(answer_with(value)) is None


def test_an_answer_without_retry_after_asks_for_no_pause() -> None:
    assert retry_after_s(requests.Response()) is None


@given(st.text(st.characters(max_codepoint=255), max_size=60))
def test_no_retry_after_breaks_the_reader(value: str) -> None:
    seconds = retry_after_s(answer_with(value))

    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    "cls", errors_of_http_libraries(), ids=lambda cls: f"{cls.__module__}.{cls.__name__}"
)
def test_every_library_error_is_caught_and_named_without_its_text(
    cls: type[Exception],
) -> None:
    # Made without its own __init__, which differs from class to class.
    error = cls.__new__(cls)
    error.args = (SECRET, SECRET)

    assert issubclass(cls, HTTP_ERRORS)
    assert without_secrets(error) == cls.__name__


def test_the_cause_that_the_system_gave_is_named() -> None:
    refused = ConnectionRefusedError(111, "Connection refused")
    retried = urllib3.exceptions.MaxRetryError(
        urllib3.HTTPConnectionPool("store"), SECRET, urllib3.exceptions.ProtocolError("x", refused)
    )
    assert retried.reason is not None
    retried.reason.__cause__ = refused

    assert without_secrets(requests.ConnectionError(retried)) == (
        "ConnectionError, Connection refused"
    )


def test_a_cause_without_words_of_the_system_is_named_by_its_class() -> None:
    error = requests.ConnectionError(urllib3.exceptions.ProtocolError(SECRET))

    assert without_secrets(error) == "ConnectionError, ProtocolError"


def test_an_error_of_tls_tells_why() -> None:
    error = requests.exceptions.SSLError(ssl.SSLError(1, "certificate verify failed"))

    assert without_secrets(error) == "SSLError, certificate verify failed"


def test_the_second_argument_of_an_error_is_no_text_of_the_system() -> None:
    assert without_secrets(requests.ConnectionError(5, SECRET)) == "ConnectionError"


def test_errors_that_name_each_other_as_cause_are_named_all_the_same() -> None:
    first, second = ValueError(SECRET), KeyError(SECRET)
    first.__cause__, second.__cause__ = second, first

    assert without_secrets(first) == "ValueError, KeyError"


def test_an_unknown_host_is_told_as_such() -> None:
    error = requests.ConnectionError(socket.gaierror(-2, "Name or service not known"))

    assert without_secrets(error) == "ConnectionError, Name or service not known"


@given(st.text(max_size=5000))
def test_foreign_text_becomes_one_bounded_printable_line(
    text: str,
) -> None:
    line = one_line(text)

    assert len(line) <= MAX_CHARS
    assert line.isprintable()
    assert line.encode().decode() == line


def test_words_that_need_no_change_are_left_alone() -> None:
    assert one_line("Entity “ünï” is gone 🎬") == "Entity “ünï” is gone 🎬"


def test_a_presigned_url_that_a_service_quotes_loses_its_query() -> None:
    said = one_line(f'Could not connect to "{SECRET}", or to /key?X-Goog-Signature=s3cr3t: gone?')

    assert said == 'Could not connect to "https://store/bucket/key***", or to /key*** gone?'


def test_an_answer_without_a_reason_is_named_by_its_number() -> None:
    answer = requests.Response()
    answer.status_code = 503

    assert status_of(answer) == "503"


def test_a_plain_session_keeps_no_cookies(odd: OddServer) -> None:
    odd.answers = [http(headers={"Set-Cookie": "node=7; Path=/"})]
    with PlainSession() as session:
        session.get(odd.url, timeout=5)
        session.get(odd.url, timeout=5)

    assert b"Cookie" not in dict(odd.requests[1].headers)


def test_a_plain_session_looks_at_no_location(odd: OddServer) -> None:
    odd.answers = [http("302 Found", headers={"Location": "//[\xff"})]
    with PlainSession() as session:
        answer = session.get(odd.url, timeout=5)

    assert answer.status_code == 302
    assert len(odd.requests) == 1
