"""ftrack's API: what its answers mean, and that one bad upload holds up no other."""

from __future__ import annotations

import gc
import json
import os
import pickle
import socket
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.transfer.errors import (
    CredentialsRefusedError,
    InterceptedError,
    OwnSettingsError,
    RequestRefusedError,
    ServiceUnavailableError,
    UnexpectedAnswerError,
    UploadError,
)
from tasks.transfer.exchange import Exchange
from tasks.transfer.ftrack import FtrackClient, FtrackRefusal
from tasks.transfer.models import LARGE_BYTES, FileIdentity, Multipart, Transfer
from tasks.transfer.pace import FEWEST, SlowCallError, hurried
from tasks.transfer.register import locate, look_up
from tasks.transfer.signing import sign
from tasks.transfer.targets import Target
from tests.helpers.http_errors import errors_of_http_libraries
from tests.sandbox import Sandbox, seed
from tests.unit.conftest import Frame, new_id
from tests.unit.odd_server import OddServer, http

KEY = "an-api-key-s3cr3t"


@pytest.fixture
def client(odd: OddServer) -> Iterator[FtrackClient]:
    """A client of the odd server."""
    client = FtrackClient(f"{odd.url}/", "Łukasz", KEY)
    with client.session:
        yield client


@pytest.fixture
def ftrack(sandbox: Sandbox) -> Iterator[FtrackClient]:
    """A client of the sandbox."""
    client = FtrackClient(sandbox.ftrack_url, seed.API_USER, seed.API_KEY)
    with client.session:
        yield client


def frames(frame: Frame, targets: list[Target]) -> list[Transfer]:
    return [frame(b"pixels", f"main.{n}.exr", target=target) for n, target in enumerate(targets)]


def existing(sandbox: Sandbox, count: int) -> list[Target]:
    return [Target(sandbox.ftrack.add_component(f"c{n}.exr", size=6)) for n in range(count)]


def found(transfer: Transfer) -> dict[str, object]:
    """The answer to the query for the component of a transfer."""
    return {"data": [{"id": transfer.component_id, "system_type": "file"}]}


def answer_of(value: object, status: str = "200 OK", headers: Mapping[str, str] = {}) -> bytes:
    return http(status, json.dumps(value).encode(), dict(headers))


def error_of(client: FtrackClient) -> Exception:
    with pytest.raises((UploadError, FtrackRefusal)) as raised:
        client.call([{"action": "query", "expression": "x"}])
    error = raised.value
    # Wherever an error may go, the key must not go with it, and it has to fit anywhere.
    shown = "".join(traceback.format_exception(error)) + repr(error)
    assert KEY not in shown
    assert KEY.encode() not in pickle.dumps(error.args)
    str(error).encode()
    assert len(str(error)) < 2000
    return error


# The call


def test_a_call_posts_its_operations_with_the_credentials(
    client: FtrackClient, odd: OddServer
) -> None:
    odd.answers = [answer_of([{"action": "query", "data": []}, {}])]
    operations = [{"action": "query", "expression": "ü"}, {"action": "x"}]

    results = client.call(operations)

    assert results == [{"action": "query", "data": []}, {}]
    [request] = odd.requests
    assert request.line == b"POST /api HTTP/1.1"
    assert json.loads(request.body) == operations
    assert request.header(b"Content-Type") == b"application/json"
    assert request.header(b"Accept") == b"application/json"
    assert request.header(b"ftrack-user") == "Łukasz".encode()
    assert request.header(b"ftrack-api-key") == KEY.encode()


def test_credentials_of_netrc_are_not_sent_along(
    client: FtrackClient, odd: OddServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password anything\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    odd.answers = [answer_of([{}])]

    client.call([{}])

    assert b"Authorization" not in dict(odd.requests[0].headers)


def test_the_key_is_in_no_repr(client: FtrackClient, odd: OddServer) -> None:
    assert repr(client) == f"FtrackClient('{odd.url}')"


def test_a_large_answer_is_read_whole(client: FtrackClient, odd: OddServer) -> None:
    odd.answers = [answer_of([{"data": "x" * 3_000_000}])]

    [result] = client.call([{}])

    assert len(result["data"]) == 3_000_000


@pytest.mark.parametrize("head", [b"", http(body=b"[]" * 50)[:-90]], ids=["no head", "half a body"])
def test_an_answer_that_drips_ends_at_the_deadline(
    client: FtrackClient, odd: OddServer, head: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.transfer.ftrack.EXCHANGE_S", 0.5)
    monkeypatch.setattr("tasks.transfer.ftrack.TIMEOUT_S", (0.5, 0.5))

    def drip(connection: socket.socket) -> None:
        connection.sendall(head)
        for byte in b"HTTP/1.1 200 OK" * 10:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    odd.answers = [drip, http(body=b"[{}]")]

    with pytest.raises(ServiceUnavailableError, match="no whole answer within 0 s"):
        client.call([{"action": "query"}])
    assert client.call([{"action": "query"}]) == [{}]


def test_a_hurried_call_ends_when_it_takes_much_longer_than_others(
    client: FtrackClient, odd: OddServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.transfer.pace.LEAST_S", 0.2)
    heard = threading.Event()

    def stay_silent(_: object) -> None:
        heard.wait(60)

    odd.answers = [*[http(body=b"[{}]")] * FEWEST, stay_silent, http(body=b"[{}]")]
    for _ in range(FEWEST):
        with hurried():
            client.call([{"action": "query"}])

    with hurried(), pytest.raises(SlowCallError):
        client.call([{"action": "query"}])

    heard.set()
    assert client.call([{"action": "query"}]) == [{}]


class Over(Exchange):
    """An exchange whose deadline has passed just now, whatever has come."""

    def __exit__(self, *args: object) -> None:
        super().__exit__(None, None, None)
        self.is_over = True


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b"[{}]", [{}]), (b"[{}", "no whole answer within 50 s"), (b"", "no whole answer")],
)
def test_a_whole_answer_counts_though_the_deadline_passes(
    client: FtrackClient,
    odd: OddServer,
    monkeypatch: pytest.MonkeyPatch,
    body: bytes,
    expected: list[object] | str,
) -> None:
    monkeypatch.setattr("tasks.transfer.ftrack.Exchange", Over)
    odd.answers = [b"HTTP/1.1 200 OK\r\n\r\n" + body]

    if isinstance(expected, str):
        with pytest.raises(ServiceUnavailableError, match=expected):
            client.call([{"action": "query"}])
    else:
        assert client.call([{"action": "query"}]) == expected


def test_a_fault_of_this_node_is_named_though_it_shows_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tasks.transfer.ftrack.Exchange", Over)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("http_proxy", "socks9://127.0.0.1:1")
    client = FtrackClient("http://ftrack.invalid", "user", KEY)
    with client.session, pytest.raises(OwnSettingsError):
        client.call([{"action": "query"}])


def test_an_answer_in_chunks_is_read_whole(client: FtrackClient, odd: OddServer) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    odd.answers = [head + b'4\r\n[{"a\r\n7\r\n": "b"}\r\n1\r\n]\r\n0\r\n\r\n']

    assert client.call([{}]) == [{"a": "b"}]


# What ftrack says


@pytest.mark.parametrize(
    ("answer", "expected", "said"),
    [
        (http("502 Bad Gateway", b"<html>"), ServiceUnavailableError, "502 Bad Gateway, not JSON"),
        (
            http("200 OK", b"<html>maintenance"),
            ServiceUnavailableError,
            "200 OK, not JSON: perhaps",
        ),
        (http("408 Timeout", b"<html>"), ServiceUnavailableError, "408 Timeout, not JSON"),
        (http("404 Not Found", b"<html>"), InterceptedError, "404 Not Found, not JSON"),
        (http("403 Forbidden", b"<html>"), InterceptedError, "403 Forbidden, not JSON"),
        (http("401 No", b"<html>"), InterceptedError, "401 No, not JSON"),
        (http("200 OK", b'[{"action": "que'), ServiceUnavailableError, "not JSON"),
        (http("200 OK", b"\xff\xfe\xff"), ServiceUnavailableError, "not JSON"),
        (http("200 OK", b""), ServiceUnavailableError, "not JSON"),
        (http("200 OK", b"[" * 200_000), ServiceUnavailableError, "not JSON"),
        (http("200 OK", b"1" * 50_000), ServiceUnavailableError, "not JSON"),
        (http("302 Found", b"", {"Location": "/login"}), ServiceUnavailableError, "portal"),
        (answer_of([{}], "503 Busy"), ServiceUnavailableError, "503 Busy"),
        (answer_of({}, "429 Too Many"), ServiceUnavailableError, "429 Too Many"),
        (answer_of({"a": 1}, "401 Unauthorized"), CredentialsRefusedError, "401 Unauthorized"),
        (
            answer_of({"message": "no"}, "403 Forbidden"),
            InterceptedError,
            "403 Forbidden, and JSON",
        ),
        (answer_of([{}], "404 Not Found"), InterceptedError, "404 Not Found, and JSON"),
        (answer_of([{}], "201 Created"), UnexpectedAnswerError, "HTTP 201"),
        (answer_of([]), UnexpectedAnswerError, "not 1 results"),
        (answer_of([{}, {}]), UnexpectedAnswerError, "not 1 results"),
        (answer_of(["text"]), UnexpectedAnswerError, "not 1 results"),
        (answer_of({"data": []}), UnexpectedAnswerError, "not 1 results"),
        (answer_of(None), UnexpectedAnswerError, "not 1 results"),
        (answer_of("text"), UnexpectedAnswerError, "not 1 results"),
        (None, ServiceUnavailableError, "ConnectionError"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[{", ServiceUnavailableError, "Incomplete"),
    ],
)
def test_an_answer_that_is_no_list_of_results_is_told_for_what_it_is(
    answer: bytes | None,
    expected: type[Exception],
    said: str,
    client: FtrackClient,
    odd: OddServer,
) -> None:
    odd.answers = [answer]

    error = error_of(client)

    assert type(error) is expected
    assert said in str(error)


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "401 Unauthorized", "500 Error"])
@pytest.mark.parametrize(
    "answer",
    [
        {"exception": "InvalidCredentialsError", "content": "no"},
        {"exception": "FTAuthenticationError", "content": "no"},
        {"exception": "Any", "content": "no", "error_code": "api_credentials_invalid"},
        {"exception": "InvalidCredentialsError"},
    ],
)
def test_refused_credentials_are_reported_under_any_status(
    status: str, answer: dict[str, str], client: FtrackClient, odd: OddServer
) -> None:
    odd.answers = [answer_of(answer, status)]

    error = error_of(client)

    assert isinstance(error, CredentialsRefusedError)
    assert odd.url in str(error)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        *((name, "200 OK") for name in ("ServerError", "InternalError", "TimeoutError")),
        *((name, "200 OK") for name in ("InternalServerError", "DBAPIError", "MaintenanceError")),
        *((name, "200 OK") for name in ("TooManyRequestsError", "EndpointConnectionError")),
        *(("ValidationError", status) for status in ("500 Boom", "503 Busy", "429 Slow")),
    ],
)
def test_an_outage_that_ftrack_tells_of_in_json_is_one(
    name: str, status: str, client: FtrackClient, odd: OddServer
) -> None:
    answer = {"exception": name, "content": "try later"}
    odd.answers = [answer_of(answer, status, {"Retry-After": "9"})]

    error = error_of(client)

    assert isinstance(error, ServiceUnavailableError)
    assert (error.service, error.retry_after_s) == ("ftrack", 9)
    assert f"{name}: try later" in str(error)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"exception": "ValidationError", "content": " "}, "ValidationError"),
        ({"exception": "ValidationError", "content": None}, "ValidationError"),
        ({"exception": "ValidationError"}, "ValidationError"),
        ({"exception": None, "content": "not yours"}, "not yours"),
        ({"exception": " ", "error_code": "not_allowed"}, "not_allowed"),
        ({"exception": "", "content": ""}, "an error without a name or text"),
    ],
)
def test_an_error_that_lacks_its_name_or_text_reads_well(
    answer: object, says: str, client: FtrackClient, odd: OddServer
) -> None:
    odd.answers = [answer_of(answer, "503 Busy"), answer_of(answer, "422 No")]

    assert str(error_of(client)) == f"waiting for ftrack: {says}; farmhaul tries again by itself"
    assert str(error_of(client)) == says


def test_an_outage_of_the_store_that_ftrack_tells_of_is_one(
    client: FtrackClient, odd: OddServer
) -> None:
    why = "An error occurred (SlowDown) when calling the CompleteMultipartUpload operation"
    odd.answers = [answer_of({"exception": "ClientError", "content": why})]

    assert isinstance(error_of(client), ServiceUnavailableError)


def test_an_early_hint_is_not_ftracks_answer(client: FtrackClient, odd: OddServer) -> None:
    odd.answers = [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer_of([{"data": []}])]

    assert client.call([{"action": "query"}]) == [{"data": []}]


def test_an_error_in_the_place_of_a_result_is_no_success(
    client: FtrackClient, odd: OddServer
) -> None:
    refused = {"exception": "ValidationError", "content": "no"}
    odd.answers = [answer_of([{"action": "create", "data": {}}, refused])]

    with pytest.raises(FtrackRefusal, match="ValidationError: no"):
        client.call([{"action": "create"}] * 2)


@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden", "422 Unprocessable"])
@pytest.mark.parametrize("name", ["PermissionError", "ValidationError", "InvalidRequestError"])
def test_a_no_of_ftracks_is_a_refusal(
    name: str, status: str, client: FtrackClient, odd: OddServer
) -> None:
    odd.answers = [answer_of({"exception": name, "content": "not\nyours"}, status)]

    error = error_of(client)

    assert isinstance(error, FtrackRefusal)
    assert (error.name, error.why) == (name, "not yours")
    assert not error.is_duplicate


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("IntegrityError", "anything"),
        ("ServerSaid", "Duplicate key value violates"),
        ("ServerSaid", "Entity already exists"),
    ],
)
def test_a_duplicate_is_known_by_name_or_words(name: str, content: str) -> None:
    assert FtrackRefusal(name, content).is_duplicate


def test_the_key_that_ftrack_repeats_is_taken_out(client: FtrackClient, odd: OddServer) -> None:
    odd.answers = [answer_of({"exception": f"E {KEY}", "content": f"the key {KEY} is wrong"})]

    error = error_of(client)

    assert isinstance(error, FtrackRefusal)
    assert error.why == "the key *** is wrong"


@pytest.mark.parametrize(
    "content",
    [None, 5, {"a": [1]}, "x" * 100_000, "\ud800\x1b[31m\0"],
    ids=lambda one: repr(one)[:9],
)
def test_any_content_of_an_error_can_be_written_down(
    content: object, client: FtrackClient, odd: OddServer
) -> None:
    odd.answers = [answer_of({"exception": "ValidationError", "content": content})]

    assert isinstance(error_of(client), FtrackRefusal)


@pytest.mark.parametrize(
    "cls", errors_of_http_libraries(), ids=lambda cls: f"{cls.__module__}.{cls.__name__}"
)
def test_whatever_the_libraries_raise_is_tried_again_with_ftrack(
    cls: type[Exception], client: FtrackClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = cls.__new__(cls)
    error.args = (f"failed with {KEY}",)

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("requests.adapters.HTTPAdapter.send", fail)

    assert isinstance(error_of(client), ServiceUnavailableError | OwnSettingsError)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["exception", "content", "error_code", "url", "headers", "data", "component_id"]
            )
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)
STATUS = st.sampled_from(["200 OK", "201 Made", "400 No", "401 Who", "404 Gone", "429 Slow", "500"])
FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZ
@given(answer=JSON | st.lists(JSON, min_size=1, max_size=1), status=STATUS)
def test_no_answer_in_json_breaks_signing_or_locating(
    answer: object, status: str, client: FtrackClient, odd: OddServer
) -> None:
    odd.answers = [answer_of(answer, status)]
    identity = FileIdentity(6, 1, 1, 1)
    transfer = Transfer(new_id(), Target(new_id()), "/a.exr", identity=identity, checksum="x")

    for outcomes in (sign(client, [transfer]), locate(client, [transfer])):
        assert set(outcomes) == {transfer.upload_id}
        outcome = outcomes[transfer.upload_id]
        assert isinstance(outcome, Transfer | UploadError)
        str(outcome).encode()
    large = replace(transfer, identity=FileIdentity(LARGE_BYTES + 1, 1, 1, 1))
    assert isinstance(sign(client, [large])[large.upload_id], UploadError)


@FUZZ
@given(body=st.binary(max_size=200), status=STATUS)
def test_no_bytes_for_an_answer_break_a_call(
    body: bytes, status: str, client: FtrackClient, odd: OddServer
) -> None:
    odd.answers = [http(status, body)]

    assert isinstance(error_of(client), UploadError | FtrackRefusal)


@pytest.mark.parametrize("depth", [100, 480, 900, 985, 990, 995, 1000])
@pytest.mark.parametrize("name", ["exception", "content", "error_code", "data", "url"])
def test_an_answer_nested_deeply_breaks_nothing(
    depth: int, name: str, client: FtrackClient, odd: OddServer
) -> None:
    nested = b"[" * depth + b"]" * depth
    extra = b'"exception": "E", ' if name != "exception" else b""
    odd.answers = [http(body=b"{" + extra + b'"' + name.encode() + b'": ' + nested + b"}")]

    assert str(error_of(client))


# Signing, in the sandbox


def test_a_batch_is_signed_in_one_call(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    transfers = frames(frame, existing(sandbox, 50))

    outcomes = sign(ftrack, transfers)

    assert sandbox.ftrack.count_calls() == 1
    for transfer in transfers:
        outcome = outcomes[transfer.upload_id]
        assert isinstance(outcome, Transfer)
        assert outcome.signed is not None
        assert transfer.component_id in outcome.signed.url
        assert outcome.signed.headers["Content-MD5"] == transfer.checksum


def test_nothing_to_sign_is_no_call(ftrack: FtrackClient, sandbox: Sandbox) -> None:
    assert sign(ftrack, []) == {}
    assert sandbox.ftrack.count_calls() == 0


def test_a_large_file_is_signed_in_parts_under_one_multipart_id(
    client: FtrackClient, odd: OddServer
) -> None:
    identity = FileIdentity(LARGE_BYTES + 1, 1, 1, 1)
    transfer = Transfer(new_id(), Target(new_id()), "/a.exr", identity=identity)
    urls = [{"part_number": n, "signed_url": f"https://store/{n}"} for n in range(1, 10)]
    odd.answers = [answer_of([found(transfer), {"upload_id": "u1", "urls": urls}])]

    first = sign(client, [transfer])[transfer.upload_id]
    assert isinstance(first, Transfer)
    sign(client, [first])

    assert first.multipart == Multipart("u1", {n: f"https://store/{n}" for n in range(1, 10)})
    [asked, again] = [json.loads(request.body)[1] for request in odd.requests]
    assert asked["parts"] == 9
    assert "checksum" not in asked
    assert again["upload_id"] == "u1"


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"url": "https://store/x"},
        {"url": "ftp://store/x", "headers": {}},
        {"url": "https://store/a b", "headers": {}},
        {"url": "https://store/ü", "headers": {}},
        {"url": 5, "headers": {}},
        {"url": "https://store/x", "headers": []},
        {"url": "https://store/x", "headers": {"A": 5}},
        {"url": "https://store/x", "headers": {"A": "b\r\nInjected: yes"}},
        {"url": "https://store/x", "headers": {"A": "\ud800"}},
        {"url": "https://store/x", "headers": {"A": " leading"}},
        {"url": "https://store/x", "headers": {"A b": "c"}},
        {"url": "https://store/x", "headers": {"Ä": "c"}},
        {"url": "https://store/x", "headers": {"": "c"}},
    ],
)
def test_a_signed_put_that_can_not_be_sent_is_not_taken(
    result: object, client: FtrackClient, odd: OddServer, frame: Frame
) -> None:
    transfer = frame()
    odd.answers = [answer_of([found(transfer), result])]

    outcome = sign(client, [transfer])[transfer.upload_id]

    assert isinstance(outcome, UnexpectedAnswerError)
    assert "no usable url and headers" in str(outcome)


@pytest.mark.parametrize("name", ["a b.exr", 'a"b.exr', "ünï.exr", "100%41.exr", "🎬.exr"])
def test_headers_of_any_file_name_are_taken(
    name: str, client: FtrackClient, odd: OddServer, frame: Frame
) -> None:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Empty": ""}
    transfer = frame(b"pixels", name)
    signed = {"url": "https://store/x?y=z&a=%41", "headers": headers}
    odd.answers = [answer_of([found(transfer), signed])]

    outcome = sign(client, [transfer])[transfer.upload_id]

    assert isinstance(outcome, Transfer)
    assert outcome.signed is not None
    assert outcome.signed.headers == headers


# Locating, in the sandbox


def test_a_batch_is_located_in_one_call(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    transfers = frames(frame, existing(sandbox, 20))

    outcomes = locate(ftrack, transfers)

    assert sandbox.ftrack.count_calls() == 1
    assert outcomes == {one.upload_id: one for one in transfers}
    for transfer in transfers:
        [location] = sandbox.ftrack.locations(transfer.component_id)
        assert location["location_id"] == seed.SERVER_LOCATION_ID
        assert location["resource_identifier"] == transfer.component_id
        assert transfer.component_id in look_up(ftrack, [transfer]).located


def test_a_component_comes_with_location_thumbnail_and_encoding(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    version = sandbox.ftrack.version_id
    target = Target.under_version(version, "main", thumbnail=True, encode=True)
    transfer = frame(b"pixels", "main.mov", target=target)

    [located] = locate(ftrack, [transfer]).values()

    [job] = sandbox.ftrack.entities("Job")
    assert located == replace(
        transfer,
        job_ids=(job["id"],),
        encoded_version=version,
        thumbnail_id=target.component_id,
    )

    component = sandbox.ftrack.get("FileComponent", target.component_id)
    assert component is not None
    assert (component["name"], component["file_type"], component["size"]) == ("main", ".mov", 6)
    assert component["version_id"] == version
    assert len(sandbox.ftrack.locations(target.component_id)) == 1
    [asset_version] = sandbox.ftrack.entities("AssetVersion")
    assert asset_version["thumbnail_id"] == target.component_id
    assert sandbox.ftrack.count_calls("encode_media") == 1


def test_a_component_gets_no_thumbnail_or_encoding_unasked(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    target = Target.under_version(sandbox.ftrack.version_id, "main")

    locate(ftrack, [frame(b"pixels", "main.mov", target=target)])

    [call] = sandbox.ftrack.calls()
    assert call["actions"] == ["create", "create"]


def test_a_lost_answer_of_create_is_accepted_when_what_exists_is_ours(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    target = Target.under_version(sandbox.ftrack.version_id, "main")
    transfers = frames(frame, [target, *existing(sandbox, 3)])
    sandbox.faults.add("ftrack", "lost_answer", action="create", times=1)

    outcomes = locate(ftrack, transfers)

    assert outcomes == {one.upload_id: one for one in transfers}
    assert [len(sandbox.ftrack.locations(one.component_id)) for one in transfers] == [1] * 4
    # The lost one, its refused halves, the question what is there, and the size that it has.
    assert sandbox.ftrack.count_calls() == 5


def test_an_encoding_whose_answer_was_lost_is_not_asked_for_again(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    target = Target.under_version(sandbox.ftrack.version_id, "main", encode=True)
    transfer = frame(b"pixels", "main.mov", target=target)
    sandbox.faults.add("ftrack", "lost_answer", action="encode_media", times=1)

    lost = locate(ftrack, [transfer])
    again = locate(ftrack, [transfer])

    assert isinstance(lost[transfer.upload_id], ServiceUnavailableError)
    assert again == {transfer.upload_id: transfer}
    assert len(sandbox.ftrack.entities("Job")) == 1


def test_a_location_that_is_not_ours_is_refused(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    [target] = existing(sandbox, 1)
    sandbox.ftrack.create(
        "ComponentLocation",
        component_id=target.component_id,
        location_id=seed.SERVER_LOCATION_ID,
        resource_identifier="somebody-elses",
    )
    [transfer] = frames(frame, [target])

    outcome = locate(ftrack, [transfer])[transfer.upload_id]

    assert isinstance(outcome, RequestRefusedError)
    assert "refused to register" in str(outcome)
    assert transfer.component_id not in look_up(ftrack, [transfer]).located


def test_existing_components_leave_the_others_to_one_more_call(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    transfers = frames(frame, existing(sandbox, 10))
    locate(ftrack, transfers[:4])
    before = sandbox.ftrack.count_calls()

    outcomes = locate(ftrack, transfers)

    assert outcomes == {one.upload_id: one for one in transfers}
    assert sandbox.ftrack.count_calls() - before == 3


def test_one_bad_upload_of_fifty_is_found_by_bisection(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    targets = existing(sandbox, 49)
    targets.insert(17, Target(new_id()))
    transfers = frames(frame, targets)

    outcomes = locate(ftrack, transfers)

    bad = outcomes.pop(transfers[17].upload_id)
    assert isinstance(bad, RequestRefusedError)
    assert bad.component_id == targets[17].component_id
    assert len(outcomes) == 49
    assert all(isinstance(one, Transfer) for one in outcomes.values())
    assert len(sandbox.ftrack.entities("ComponentLocation")) == 49
    # To be told that something exists, and then 50 → 25 → 12 or 13 → 6 or 7 → 3 or 4 →
    # 1 or 2 → 1: two calls for each halving.
    assert sandbox.ftrack.count_calls("create") <= 14


def test_an_outage_during_bisection_affects_only_its_uploads(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    transfers = frames(frame, [*existing(sandbox, 3), Target(new_id())])
    # The whole batch, twice, and its first half pass; the second half is struck.
    sandbox.faults.add("ftrack", "status", 503, action="create", skip=3)

    outcomes = locate(ftrack, transfers)

    assert [type(outcomes[one.upload_id]) for one in transfers] == [
        Transfer,
        Transfer,
        ServiceUnavailableError,
        ServiceUnavailableError,
    ]


def test_refused_credentials_end_the_bisection_at_the_halves(
    sandbox: Sandbox, frame: Frame
) -> None:
    client = FtrackClient(sandbox.ftrack_url, seed.API_USER, "wrong")
    with client.session:
        outcomes = sign(client, frames(frame, [Target(new_id()) for _ in range(5)]))

    assert len(outcomes) == 5
    assert all(isinstance(error, CredentialsRefusedError) for error in outcomes.values())
    assert sandbox.ftrack.count_calls() == 3
    assert len({id(error) for error in outcomes.values()}) == 2, "each half shares its error"


#: Answers that ftrack gives for one upload, and for each call that contains it.
POISONS: dict[str, tuple[tuple[Any, ...], dict[str, Any], type[UploadError]]] = {
    "status 500": (("status", 500), {}, ServiceUnavailableError),
    "status 500, after it was done": (("status", 500), {"done": True}, ServiceUnavailableError),
    "status 429": (("status", 429), {}, ServiceUnavailableError),
    "a page with 502": (("status", 502), {"body": "<html>"}, ServiceUnavailableError),
    "a page with 403": (("status", 403), {"body": "<html>"}, InterceptedError),
    "a page with 413": (("status", 413), {"body": "<html>"}, RequestRefusedError),
    "JSON with 413": (("status", 413), {"body": '{"message": "no"}'}, RequestRefusedError),
    "ServerError": (("error", "ServerError"), {}, ServiceUnavailableError),
    "no credentials": (("error", "InvalidCredentialsError"), {}, CredentialsRefusedError),
    "a refusal": (("error", "ValidationError"), {}, RequestRefusedError),
    "junk": (("junk",), {}, ServiceUnavailableError),
    "junk that is JSON": (("junk",), {"body": "[]"}, UnexpectedAnswerError),
    "a lost answer": (("lost_answer",), {}, ServiceUnavailableError),
    "a reset": (("reset",), {}, ServiceUnavailableError),
}


@pytest.mark.parametrize("step", [sign, locate], ids=["sign", "locate"])
@pytest.mark.parametrize("poison", POISONS)
def test_what_ftrack_answers_for_one_of_fifty_fails_that_one_alone(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame, poison: str, step: Any
) -> None:
    transfers = frames(frame, existing(sandbox, 50))
    bad = transfers[17]
    arguments, conditions, expected = POISONS[poison]
    sandbox.faults.add("ftrack", *arguments, component_id=bad.component_id, **conditions)

    outcomes = step(ftrack, transfers)

    assert isinstance(outcomes.pop(bad.upload_id), expected)
    assert len(outcomes) == 49
    assert all(isinstance(one, Transfer) for one in outcomes.values()), outcomes


def test_two_poisons_in_both_halves_end_the_bisection(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    transfers = frames(frame, existing(sandbox, 8))
    for bad in (transfers[1], transfers[6]):
        sandbox.faults.add("ftrack", "status", 500, component_id=bad.component_id)

    outcomes = sign(ftrack, transfers)

    assert [type(one) for one in outcomes.values()] == [ServiceUnavailableError] * 8
    assert outcomes[transfers[0].upload_id] is outcomes[transfers[1].upload_id]
    assert outcomes[transfers[1].upload_id] is not outcomes[transfers[6].upload_id]


def test_a_call_that_took_long_is_not_repeated_for_its_halves(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.transfer.bisection.SPLIT_WITHIN_S", 0.0)
    sandbox.faults.add("ftrack", "status", 503)

    outcomes = sign(ftrack, frames(frame, existing(sandbox, 4)))

    assert sandbox.ftrack.count_calls() == 1
    assert len({id(error) for error in outcomes.values()}) == 1


def test_a_call_that_no_proxy_would_take_is_split(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    note = (("note", "x" * 100_000),)
    targets = [
        Target.under_version(sandbox.ftrack.version_id, f"c{n}", metadata=note) for n in range(12)
    ]
    too_much = (("note", "x" * 900_000),)
    targets.append(Target.under_version(sandbox.ftrack.version_id, "all", metadata=too_much))
    transfers = frames(frame, targets)

    outcomes = locate(ftrack, transfers)

    refused = outcomes.pop(transfers[-1].upload_id)
    assert isinstance(refused, RequestRefusedError)
    assert "too large" in str(refused)
    assert outcomes == {one.upload_id: one for one in transfers[:-1]}


def test_nothing_counts_as_ours_if_that_query_is_refused_too(
    client: FtrackClient, odd: OddServer, frame: Frame
) -> None:
    transfer = frame()
    odd.answers = [
        answer_of({"exception": "IntegrityError", "content": "duplicate key"}),
        answer_of({"exception": "ValidationError", "content": "bad query"}),
    ]

    outcome = locate(client, [transfer])[transfer.upload_id]

    assert isinstance(outcome, RequestRefusedError)
    assert len(odd.requests) == 2


@pytest.mark.parametrize(
    "data",
    [None, "junk", [5], [{}], [{"component_id": None, "resource_identifier": []}], {"a": 1}],
    ids=repr,
)
def test_junk_for_an_answer_what_is_ours_makes_nothing_ours(
    data: object, client: FtrackClient, odd: OddServer, frame: Frame
) -> None:
    transfer = frame()
    odd.answers = [
        answer_of({"exception": "IntegrityError", "content": "duplicate key"}),
        answer_of([{"data": data}] * 2),
        answer_of({"exception": "IntegrityError", "content": "duplicate key"}),
    ]

    assert isinstance(locate(client, [transfer])[transfer.upload_id], RequestRefusedError)


@pytest.mark.parametrize("option", [{"encode": True}, {"replace": True}], ids=str)
def test_what_is_made_after_the_look_up_is_looked_up_again(
    option: dict[str, Any],
    ftrack: FtrackClient,
    sandbox: Sandbox,
    frame: Frame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As by a call without an answer, which ftrack carries out late."""
    target = Target.under_version(sandbox.ftrack.version_id, "main", **option)
    [transfer] = frames(frame, [target])
    post = ftrack.call_in_groups
    posts: list[int] = []

    def call_twice(groups: Any) -> Any:
        posts.append(len(groups))
        if len(posts) == 2:
            post(groups)
        return post(groups)

    monkeypatch.setattr(ftrack, "call_in_groups", call_twice)

    outcome = locate(ftrack, [transfer])[transfer.upload_id]

    assert isinstance(outcome, Transfer)
    assert len(sandbox.ftrack.locations(transfer.component_id)) == 1
    assert len(sandbox.ftrack.entities("Job")) == option.get("encode", False)


def test_locating_a_batch_leaves_no_connection_behind(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    transfers = frames(frame, existing(sandbox, 2))
    sign(ftrack, transfers)
    gc.collect()  # what earlier tests left is closed now, not between the two counts
    before = len(os.listdir("/proc/self/fd"))

    for _ in range(5):
        sign(ftrack, transfers)

    assert len(os.listdir("/proc/self/fd")) <= before
