"""put_file against a server that says what no sane one would."""

from __future__ import annotations

import base64
import fcntl
import logging
import os
import pickle
import socket
import struct
import termios
import threading
import time
import traceback
from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from tasks.transfer import put
from tasks.transfer.errors import (
    DigestMismatchError,
    FileChangedError,
    FileNotReadyError,
    FileRefusedError,
    InterceptedError,
    LeaseLostError,
    OwnSettingsError,
    RetryableError,
    ServiceUnavailableError,
    StoreRefusedError,
    UnexpectedAnswerError,
    UploadError,
    UrlRefusedError,
)
from tasks.transfer.models import Transfer
from tasks.transfer.multipart import Part, put_part
from tasks.transfer.put import BLOCK_BYTES, MAX_UNSENT_BYTES, FileBody, put_file, store_session
from tests.docker.certificate import make_certificate
from tests.helpers.http_errors import errors_of_http_libraries
from tests.helpers.raw_server import raw_server
from tests.helpers.tls_front import tls_front
from tests.unit.conftest import Frame, signed
from tests.unit.odd_server import OddServer, http

SIGNATURE = "X-Amz-Signature=s3cr3t"


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with store_session(connections=2) as session:
        yield session


@pytest.fixture
def transfer(frame: Frame, odd: OddServer) -> Transfer:
    """A small file, signed for the odd server."""
    return frame(b"pixels", url=f"{odd.url}/bucket/key?{SIGNATURE}")


@pytest.fixture
def large(frame: Frame, odd: OddServer) -> Transfer:
    """A file that fits into no socket's buffers."""
    return frame(os.urandom(12 * BLOCK_BYTES + 7), url=f"{odd.url}/bucket/key?{SIGNATURE}")


def xml(status: str, code: str, headers: dict[str, str] | None = None) -> bytes:
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message></Error>'
    return http(status, body.encode(), headers)


def error_of(transfer: Transfer, session: requests.Session, roots: tuple[str, ...]) -> UploadError:
    with pytest.raises(UploadError) as raised:
        put_file(transfer, session, roots)
    error = raised.value
    # Wherever an error may go, the signature must not go with it.
    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(error.args)
    assert "s3cr3t" not in shown
    assert b"s3cr3t" not in pickle.dumps(error)
    return error


# What is on the wire


@pytest.mark.parametrize("size", [0, 1, 6, BLOCK_BYTES - 1, BLOCK_BYTES, 5 * BLOCK_BYTES + 3])
def test_a_file_of_any_size_is_sent_with_its_length_and_not_chunked(
    size: int, frame: Frame, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    content = os.urandom(size)

    put_file(frame(content, url=f"{odd.url}/bucket/key"), session, roots)

    [request] = odd.requests
    assert request.line == b"PUT /bucket/key HTTP/1.1"
    assert request.body == content
    assert request.header(b"Content-Length") == str(size).encode()
    assert b"Transfer-Encoding" not in dict(request.headers)


@pytest.mark.parametrize("content", [b"", b"pixels"])
def test_exactly_the_signed_headers_are_sent_and_no_others(  # noqa: PLR0917 fixtures and cases
    content: bytes,
    frame: Frame,
    odd: OddServer,
    roots: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password anything\n")
    monkeypatch.setenv("NETRC", str(netrc))
    headers = {
        "Content-Type": "image/x-exr",
        "Content-MD5": "XrY7u+Ae7tCTyyK7j1rNww==",
        "Content-Disposition": 'attachment; filename="main.exr"',
        "x-amz-meta-Odd": "Kept As It Is",
    }
    transfer = frame(content, url=f"{odd.url}/bucket/key?{SIGNATURE}", headers=headers)

    with store_session(1) as session:
        put_file(transfer, session, roots)

    [request] = odd.requests
    expected = {name.encode(): value.encode() for name, value in headers.items()}
    expected[b"Host"] = odd.url.removeprefix("http://").encode()
    expected[b"Content-Length"] = str(len(content)).encode()
    assert dict(request.headers) == expected
    assert len(request.headers) == len(expected)


def test_a_user_agent_is_sent_when_it_was_signed(
    frame: Frame, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    headers = {"user-agent": "as signed", "ACCEPT-ENCODING": "identity"}

    put_file(frame(url=f"{odd.url}/key", headers=headers), session, roots)

    [request] = odd.requests
    assert request.header(b"user-agent") == b"as signed"
    assert request.header(b"ACCEPT-ENCODING") == b"identity"


@pytest.mark.parametrize("name", ["a b.exr", 'a"b.exr', "ünï.exr", "100%41.exr", "🎬.exr"])
def test_a_header_with_any_file_name_is_sent_in_utf_8(
    name: str, frame: Frame, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}

    put_file(frame(b"pixels", name, f"{odd.url}/key", headers), session, roots)

    [request] = odd.requests
    assert request.header(b"Content-Disposition") == f'attachment; filename="{name}"'.encode()


def test_the_stores_cookies_are_not_sent_back(
    transfer: Transfer, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    odd.answers = [http(headers={"Set-Cookie": "AWSALB=node7; Path=/"})]

    put_file(transfer, session, roots)
    put_file(transfer, session, roots)

    assert b"Cookie" not in dict(odd.requests[1].headers)


def test_files_share_a_connection_that_stays_open(
    frame: Frame, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    for number in range(4):
        put_file(frame(bytes([number]), url=f"{odd.url}/{number}"), session, roots)

    assert len(odd.requests) == 4
    assert odd.connections == 1


def test_connections_send_large_blocks_at_once(
    transfer: Transfer, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    put_file(transfer, session, roots)

    adapter = session.get_adapter(odd.url)
    assert isinstance(adapter, put.StoreAdapter)
    pools = adapter.poolmanager.pools
    [key] = pools.keys()
    pool = pools[key]
    connection = pool._get_conn()
    assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert connection.blocksize == BLOCK_BYTES
    pool._put_conn(connection)


# What the store may answer


def test_a_file_is_stored_when_the_store_says_200(
    transfer: Transfer, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    put_file(transfer, session, roots)

    assert odd.requests[0].body == b"pixels"


@pytest.mark.parametrize("status", ["201 Created", "202 Accepted", "204 No Content", "206 Partial"])
def test_no_other_2xx_is_success(
    status: str,
    transfer: Transfer,
    odd: OddServer,
    session: requests.Session,
    roots: tuple[str, ...],
) -> None:
    odd.answers = [http(status)]

    error = error_of(transfer, session, roots)

    assert isinstance(error, InterceptedError)
    assert f"({status}, not the store's own)" in str(error)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"", {}, InterceptedError),
        (b"<html>log in</html>", {}, InterceptedError),
        (b"<Code>TemporaryRedirect</Code>", {}, UnexpectedAnswerError),
        (b"", {"x-amz-bucket-region": "eu-west-1"}, UnexpectedAnswerError),
    ],
    ids=["portal", "page", "code", "region"],
)
def test_a_redirect_is_not_followed(  # noqa: PLR0917 fixtures and cases
    body: bytes,
    headers: dict[str, str],
    expected: type[UploadError],
    status: str,
    transfer: Transfer,
    odd: OddServer,
    session: requests.Session,
    roots: tuple[str, ...],
) -> None:
    odd.answers = [http(status, body, {"Location": f"{odd.url}/elsewhere", **headers})]

    assert type(error_of(transfer, session, roots)) is expected

    assert len(odd.requests) == 1


def test_an_early_hint_is_not_the_answer(
    transfer: Transfer, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    odd.answers = [hint + xml("503 Slow Down", "SlowDown"), hint + http()]

    assert isinstance(error_of(transfer, session, roots), ServiceUnavailableError)
    put_file(transfer, session, roots)


URL_REFUSALS = [
    ("403 Forbidden", "AccessDenied"),
    ("403 Forbidden", "SignatureDoesNotMatch"),
    ("403 Forbidden", "RequestTimeTooSkewed"),
    ("403 Forbidden", "NobodyKnows"),
    ("400 Bad Request", "ExpiredToken"),
    ("400 Bad Request", "InvalidAccessKeyId"),
    ("400 Bad Request", "TokenRefreshRequired"),
    ("400 Bad Request", "InvalidToken"),
]
OUTAGES = [
    ("500 Internal Server Error", "InternalError"),
    ("502 Bad Gateway", "BadGateway"),
    ("503 Service Unavailable", "SlowDown"),
    ("429 Too Many Requests", "TooMany"),
    ("408 Request Timeout", "Late"),
    ("400 Bad Request", "RequestTimeout"),
    ("400 Bad Request", "IncompleteBody"),
    ("400 Bad Request", "ThrottlingException"),
    ("400 Bad Request", "KMS.ThrottlingException"),
    ("409 Conflict", "OperationAborted"),
    ("404 Not Found", "NoSuchBucket"),
    ("403 Forbidden", "AllAccessDisabled"),
    ("403 Forbidden", "QuotaExceeded"),
]
REFUSALS = [
    ("404 Not Found", "NoSuchKey"),
    ("413 Too Large", "EntityTooLarge"),
    ("400 Bad Request", "InvalidRequest"),
    ("405 Not Allowed", "MethodNotAllowed"),
    ("409 Conflict", "BucketAlreadyExists"),
]
DIGESTS = [
    ("400 Bad Request", "BadDigest"),
    ("400 Bad Request", "InvalidDigest"),
    ("400 Bad Request", "XAmzContentSHA256Mismatch"),
]


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        *((*one, UrlRefusedError) for one in URL_REFUSALS),
        *((*one, ServiceUnavailableError) for one in OUTAGES),
        *((*one, StoreRefusedError) for one in REFUSALS),
        *((*one, DigestMismatchError) for one in DIGESTS),
    ],
)
def test_a_refusal_is_told_by_its_code_and_status(  # noqa: PLR0917 fixtures and cases
    status: str,
    code: str,
    expected: type[UploadError],
    transfer: Transfer,
    odd: OddServer,
    session: requests.Session,
    roots: tuple[str, ...],
) -> None:
    odd.answers = [xml(status, code)]

    error = error_of(transfer, session, roots)

    assert type(error) is expected
    if expected is DigestMismatchError:
        assert f"MD5 {md5_hex(transfer)}, in the store unknown" in str(error)
    else:
        assert f"{status[:3]} {code}" in str(error)


@pytest.mark.parametrize(
    ("answer", "expected", "said"),
    [
        (http("200 OK", b"<html>log in</html>"), InterceptedError, "200 OK with a page"),
        (
            http("200 OK", b"<html>log in</html>", {"ETag": '"5f7e-3a"'}),
            InterceptedError,
            "200 OK with a page",
        ),
        (http("403 Forbidden"), UrlRefusedError, "403 Forbidden"),
        (http("404 Not Found", b"<html>gone</html>"), InterceptedError, "404 Not Found"),
        (http("413 Too Large", b"<html>nginx</html>"), StoreRefusedError, "413 Too Large"),
        (http("400 Bad Request", b"{]"), InterceptedError, "400 Bad Request"),
        (http("400"), InterceptedError, "(400, not"),
        (http("503 Unavailable", b"<html>502</html>"), ServiceUnavailableError, "503 Unavailable"),
        (http("400 No", b"<Code>Not A Code!</Code>"), InterceptedError, "400 No"),
        (http("400 No", b"x" * 20_000 + b"<Code>BadDigest</Code>"), InterceptedError, "400 No"),
        (http("500 Boom", b"<a>" * 1_000_000), ServiceUnavailableError, "500 Boom"),
    ],
    ids=[
        "portal",
        "portal with an ETag",
        "empty",
        "html",
        "nginx",
        "junk",
        "no-reason",
        "proxy",
        "odd-code",
        "late-code",
        "huge",
    ],
)
def test_a_refusal_without_a_code_of_s3_is_told_by_its_status(  # noqa: PLR0917 fixtures and cases
    answer: bytes,
    expected: type[UploadError],
    said: str,
    transfer: Transfer,
    odd: OddServer,
    session: requests.Session,
    roots: tuple[str, ...],
) -> None:
    odd.answers = [answer]

    error = error_of(transfer, session, roots)

    assert type(error) is expected
    assert said in str(error)


def test_an_endless_reason_is_cut_short(
    transfer: Transfer, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    odd.answers = [http("404 " + "x\x1b[31m" * 1000)]

    error = error_of(transfer, session, roots)

    assert len(str(error)) < 300
    assert str(error).isprintable()


def test_the_pause_that_the_store_asks_for_is_handed_on(
    transfer: Transfer, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    odd.answers = [xml("503 Slow", "SlowDown", {"Retry-After": "17"})]

    error = error_of(transfer, session, roots)

    assert isinstance(error, ServiceUnavailableError)
    assert error.retry_after_s == 17


# Connections that break


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize(
    "answer",
    [
        None,
        reset,
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut short",
        b"not HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        http(body=b"no gzip", headers={"Content-Encoding": "gzip"}),
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n",
    ],
    ids=[
        *("closed", "reset", "short", "junk", "chunks", "gzip"),
        *("headers", "line"),
    ],
)
def test_a_broken_answer_is_an_outage(
    answer: bytes | None,
    transfer: Transfer,
    odd: OddServer,
    session: requests.Session,
    roots: tuple[str, ...],
) -> None:
    odd.answers = [answer]

    error = error_of(transfer, session, roots)

    assert isinstance(error, ServiceUnavailableError)
    assert error.service == "store"


def test_a_store_that_is_not_there_is_an_outage(
    frame: Frame, session: requests.Session, roots: tuple[str, ...]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    error = error_of(frame(url=f"http://127.0.0.1:{port}/?{SIGNATURE}"), session, roots)

    assert str(error).startswith("waiting for store: ConnectionError, Connection refused;")


def test_a_store_that_resets_in_the_middle_of_a_file_is_an_outage(
    large: Transfer, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    odd.hasty = True
    odd.answers = [reset]

    assert isinstance(error_of(large, session, roots), ServiceUnavailableError)


@pytest.fixture(params=["plain", "tls"])
def front(
    request: pytest.FixtureRequest, odd: OddServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The URL of the odd server, or that of TLS in front of it."""
    if request.param == "plain":
        yield odd.url
        return
    authority, server = tmp_path / "ca.pem", tmp_path / "server.pem"
    make_certificate(["127.0.0.1"], authority, server)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    with tls_front(odd.port, server) as port:
        yield f"https://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("status", "kind"),
    [("413 Content Too Large", StoreRefusedError), ("503 Slow Down", ServiceUnavailableError)],
)
def test_a_store_that_answers_early_and_reads_no_further_is_heard(  # noqa: PLR0917 fixtures
    status: str,
    kind: type[UploadError],
    front: str,
    frame: Frame,
    odd: OddServer,
    session: requests.Session,
    roots: tuple[str, ...],
) -> None:
    file = frame(os.urandom(40 * BLOCK_BYTES), url=f"{front}/bucket/key?{SIGNATURE}")
    odd.hasty, ended = True, threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(xml(status, "Because"))
        ended.wait(20)

    odd.answers = [answer]

    error = error_of(file, session, roots)
    ended.set()

    assert isinstance(error, kind)
    assert status[:3] in str(error)
    assert "Because" in str(error)


def test_a_connection_that_was_answered_early_is_not_used_again(
    large: Transfer, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    odd.hasty, ended = True, threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(http("503 Slow Down"))
        ended.wait(20)

    odd.answers = [answer, http()]
    assert isinstance(error_of(large, session, roots), ServiceUnavailableError)
    ended.set()

    error = error_of(large, session, roots)

    assert "before it had the whole file" in str(error)
    assert odd.connections == 2


@pytest.mark.parametrize("hasty", [False, True], ids=["without-answer", "without-reading"])
def test_a_stalled_connection_to_the_store_times_out(  # noqa: PLR0917 fixtures and cases
    hasty: bool,
    large: Transfer,
    odd: OddServer,
    session: requests.Session,
    roots: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tasks.transfer.http.TIMEOUT_S", (0.3, 0.3))
    odd.hasty = hasty
    odd.answers = [lambda _connection: time.sleep(0.8)]

    error = error_of(large, session, roots)

    assert isinstance(error, ServiceUnavailableError)
    assert "Timeout" in str(error) or "timed out" in str(error)


@pytest.mark.parametrize(
    "cls", errors_of_http_libraries(), ids=lambda cls: f"{cls.__module__}.{cls.__name__}"
)
def test_whatever_the_libraries_raise_is_tried_again_with_the_store(
    cls: type[Exception],
    transfer: Transfer,
    session: requests.Session,
    roots: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = cls.__new__(cls)
    error.args = (f"failed: {transfer.signed and transfer.signed.url}",)

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(put.StoreAdapter, "send", fail)

    assert isinstance(
        error_of(transfer, session, roots), ServiceUnavailableError | OwnSettingsError
    )


def test_no_log_shows_the_url_even_if_headers_are_cut_short(
    transfer: Transfer,
    odd: OddServer,
    session: requests.Session,
    roots: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    odd.answers = [b"HTTP/1.1 200 OK\r\nContent-Le"]

    put_file(transfer, session, roots)

    assert "s3cr3t" not in caplog.text


# Digests


@pytest.mark.parametrize(
    ("digest", "stored"),
    [
        ("XrY7u+Ae7tCTyyK7j1rNww==", "5eb63bbbe01eeed093cb22bb8f5acdc3"),
        ("5EB63BBBE01EEED093CB22BB8F5ACDC3", "5eb63bbbe01eeed093cb22bb8f5acdc3"),
        ("<script>", "unknown"),
        ("XrY7u", "unknown"),
    ],
    ids=["base64", "hex", "junk", "short"],
)
def test_the_digest_that_the_store_calculated_is_shown_in_hex(  # noqa: PLR0917 fixtures and cases
    digest: str,
    stored: str,
    transfer: Transfer,
    odd: OddServer,
    session: requests.Session,
    roots: tuple[str, ...],
) -> None:
    body = f"<Code>BadDigest</Code><CalculatedDigest>{digest}</CalculatedDigest>"
    odd.answers = [http("400 Bad Request", body.encode())]

    error = error_of(transfer, session, roots)

    assert isinstance(error, DigestMismatchError)
    assert (error.sent_md5_hex, error.stored_md5) == (md5_hex(transfer), stored)


def md5_hex(transfer: Transfer) -> str:
    return base64.b64decode(transfer.checksum or "").hex()


def test_an_etag_of_the_same_bytes_is_accepted_in_any_case(
    transfer: Transfer, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    odd.answers = [http(headers={"ETag": f'"{md5_hex(transfer).upper()}"'})]

    put_file(transfer, session, roots)

    assert [request.body for request in odd.requests] == [b"pixels"]


@pytest.mark.parametrize(
    "form",
    ['W/"{}"', '"{}-gzip"', '"{};gzip"', 'W/"{}--gzip"', '"{}:br"', '"{}-df"', '"{}_zlib"', "{}"],
)
def test_the_etag_of_a_proxy_stands_for_the_md5_in_it(
    form: str,
    transfer: Transfer,
    odd: OddServer,
    session: requests.Session,
    roots: tuple[str, ...],
) -> None:
    odd.answers = [http(headers={"ETag": form.format(md5_hex(transfer))})]
    part = Part(1, 0, transfer.size_bytes)

    etag = put_part(transfer, part, f"{odd.url}/part", session, roots=roots)

    assert etag == md5_hex(transfer)


def test_an_etag_of_other_bytes_is_a_mismatch_that_names_both_digests(
    transfer: Transfer, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    odd.answers = [http(headers={"ETag": f'"{"0" * 32}"'})]

    error = error_of(transfer, session, roots)

    assert isinstance(error, DigestMismatchError)
    assert (error.sent_md5_hex, error.stored_md5) == (md5_hex(transfer), "0" * 32)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ETag": '"d41d8cd98f00b204e9800998ecf8427e-3"'},
        {"ETag": 'W/"d41d8cd98f00b204e9800998ecf8427e"'},
        {"ETag": "CKih16GjycICEAE="},
        {"ETag": '"' + "0" * 32 + '"', "x-amz-server-side-encryption": "aws:kms"},
        {"ETag": '"' + "0" * 32 + '"', "X-Amz-Server-Side-Encryption-Customer-Key-MD5": "x"},
    ],
    ids=["none", "multipart", "weak", "crc", "kms", "customer-key"],
)
def test_an_etag_that_is_no_md5_says_nothing(
    headers: dict[str, str],
    transfer: Transfer,
    odd: OddServer,
    session: requests.Session,
    roots: tuple[str, ...],
) -> None:
    odd.answers = [http(headers=headers)]

    put_file(transfer, session, roots)

    assert [request.body for request in odd.requests] == [b"pixels"]


# The file


def test_a_file_that_changed_since_its_checksum_is_not_sent(
    transfer: Transfer, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    Path(transfer.path).write_bytes(b"other pixels")

    assert isinstance(error_of(transfer, session, roots), FileChangedError)
    assert odd.requests == []


def test_a_file_that_vanished_is_not_ready(
    transfer: Transfer, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    Path(transfer.path).unlink()

    assert isinstance(error_of(transfer, session, roots), FileNotReadyError)
    assert odd.requests == []


def test_a_file_that_became_a_link_out_of_the_roots_is_refused(
    transfer: Transfer,
    odd: OddServer,
    session: requests.Session,
    roots: tuple[str, ...],
    tmp_path: Path,
) -> None:
    (tmp_path / "secret").write_bytes(b"pixels")
    Path(transfer.path).unlink()
    Path(transfer.path).symlink_to(tmp_path / "secret")

    assert isinstance(error_of(transfer, session, roots), FileRefusedError)
    assert odd.requests == []


def change(path: Path, how: str) -> None:
    if how == "grows":
        with path.open("ab") as file:
            file.write(b"more")
    elif how == "shrinks":
        os.truncate(path, BLOCK_BYTES)
    elif how == "is rewritten":
        with path.open("r+b") as file:
            file.write(b"other bytes")
    else:  # is replaced
        other = path.with_suffix(".tmp")
        other.write_bytes(path.read_bytes())
        other.replace(path)


@pytest.mark.parametrize("how", ["grows", "shrinks", "is rewritten", "is replaced"])
def test_a_file_that_changes_while_it_is_sent_is_noticed_at_once(
    how: str,
    large: Transfer,
    odd: OddServer,
    session: requests.Session,
    roots: tuple[str, ...],
) -> None:
    once = iter([None])

    def on_progress(sent_bytes: int) -> None:
        if sent_bytes:
            for _ in once:
                change(Path(large.path), how)

    # Were both sides to wait for each other, a timeout would be raised instead.
    with pytest.raises(FileChangedError):
        put_file(large, session, roots, on_progress)

    # Never more than was announced, whatever the file has become.
    assert all(len(one.body) <= large.size_bytes for one in odd.requests)


def test_a_file_that_is_removed_while_it_is_sent_arrives_all_the_same(
    large: Transfer, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    content = Path(large.path).read_bytes()

    put_file(large, session, roots, lambda _: Path(large.path).unlink(missing_ok=True))

    assert odd.requests[0].body == content


def test_a_mount_that_fails_mid_send_is_no_outage_of_the_store() -> None:
    # Reading a process' memory at address 0 is an EIO of the system itself.
    with open("/proc/self/mem", "rb", buffering=0) as broken:
        body = FileBody(broken, "/mnt/prod/main.exr", 100, lambda _: None)
        with pytest.raises(FileNotReadyError, match=r"/mnt/prod/main\.exr: Input/output error"):
            body.read(100)


# Stopping, and what is missing


def test_progress_is_told_between_blocks(
    large: Transfer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    told: list[int] = []

    put_file(large, session, roots, told.append)

    assert told == [*range(0, large.size_bytes, BLOCK_BYTES)]


def test_progress_does_not_count_what_is_not_on_the_wire(
    frame: Frame, session: requests.Session, roots: tuple[str, ...]
) -> None:
    """Without TCP_NOTSENT_LOWAT, the kernel takes 2.7 MB more than a store that does not read."""
    told: list[int] = []
    ahead: list[int] = []

    def wait_until_full(connection: socket.socket) -> None:
        before = -1
        while not told or before < len(told):
            before = len(told)
            time.sleep(0.5)
        received = array("i", [0])
        fcntl.ioctl(connection, termios.FIONREAD, received)
        ahead.append(told[-1] - received[0])

    with raw_server(wait_until_full) as server:
        server.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        url = f"http://127.0.0.1:{server.port}/bucket/key?{SIGNATURE}"
        with pytest.raises(ServiceUnavailableError):
            put_file(frame(bytes(32 << 20), url=url), session, roots, told.append)

    assert ahead[0] <= MAX_UNSENT_BYTES + BLOCK_BYTES


def test_sending_stops_at_the_next_block_once_the_lease_is_lost(
    large: Transfer, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    def on_progress(sent_bytes: int) -> None:
        if sent_bytes >= 2 * BLOCK_BYTES:
            raise LeaseLostError(large.upload_id)

    with pytest.raises(LeaseLostError):
        put_file(large, session, roots, on_progress)

    odd.close()
    assert all(len(one.body) <= 3 * BLOCK_BYTES for one in odd.requests)


def test_after_an_abandoned_file_the_next_gets_a_new_connection(
    large: Transfer, frame: Frame, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    def give_up(sent_bytes: int) -> None:
        if sent_bytes:
            raise LeaseLostError(large.upload_id)

    with pytest.raises(LeaseLostError):
        put_file(large, session, roots, give_up)

    put_file(frame(b"next", "next.exr", f"{odd.url}/next"), session, roots)

    # Which of the two connections the server writes down first is its threads' affair.
    [following] = [request for request in odd.requests if b"/next" in request.head]
    assert following.body == b"next"


def test_a_transfer_without_a_signed_url_has_to_be_signed_first(
    frame: Frame, session: requests.Session, roots: tuple[str, ...]
) -> None:
    error = error_of(frame(), session, roots)

    assert isinstance(error, UrlRefusedError)
    assert "the store refused" not in str(error)
    assert "presigned URL" in str(error)


def test_a_transfer_that_was_never_checked_is_a_fault_of_ours(
    transfer: Transfer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match="has not been checked yet"):
        put_file(replace(transfer, identity=None), session, roots)


def test_url_and_headers_are_in_no_repr(transfer: Transfer) -> None:
    secret = signed(transfer, f"https://store/?{SIGNATURE}", {"X-Amz-Security-Token": "s3cr3t"})

    assert "s3cr3t" not in repr(secret)
    assert "s3cr3t" not in str(secret.signed)


def test_all_that_may_pass_by_itself_is_retryable(
    transfer: Transfer, odd: OddServer, session: requests.Session, roots: tuple[str, ...]
) -> None:
    odd.answers = [None]

    assert isinstance(error_of(transfer, session, roots), RetryableError)


def test_once_all_is_sent_the_sender_waits_for_the_answer(frame: Frame) -> None:
    # Stopping would not keep the store from accepting bytes that are on their way.
    path = frame(b"pixels").path
    told: list[int] = []
    with open(path, "rb") as file:
        body = FileBody(file, path, 6, told.append)
        assert [body.read(4), body.read(4), body.read(4)] == [b"pixe", b"ls", b""]
    assert told == [0, 4]
