"""A push to what is not Redis, is slow or breaks off: one line, and never after the deadline."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.redis_url import parse_redis_url
from tasks.intake.inbox import InboxError, push
from tests.helpers.raw_server import ANSWER_S, SLACK_S, RawServer, full_backlog, raw_server
from tests.sandbox.process import CHECKOUT

#: For a server that does not answer.
TIMEOUT_S = 0.4


def refused(url: str, timeout_s: float = ANSWER_S, ids: tuple[str, ...] = ()) -> str:
    """Return the line of the error; it comes by the deadline, and has no password."""
    began = time.monotonic()
    with pytest.raises(InboxError) as caught:
        push(parse_redis_url(url), [b"entry"], ids, timeout_s)
    assert time.monotonic() - began < timeout_s + SLACK_S
    assert "\n" not in str(caught.value)
    assert "s3cr3t" not in str(caught.value)
    return str(caught.value)


def url_of(server: RawServer, login: str = "") -> str:
    return f"redis://{login}127.0.0.1:{server.port}/0"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x03\x00\x02\x02\x16\r\n",
        b"\r\n",
        b"+OK\r\n",
        b"$2\r\n12\r\n",
        b"*1\r\n:1\r\n",
        b":\r\n",
        b":-1\r\n",
        b":1.0\r\n",
        b": 1\r\n",
        b":1_000\r\n",
        b":" + b"9" * 20 + b"\r\n",
        b":9999999999999999999\r\n",
        b"_\r\n",
        b"x" * 100_000,
        b"+" + b"x" * 100_000 + b"\r\n",
        b":1" * 3_000_000,
    ],
)
def test_a_reply_that_is_not_redis_is_refused(answer: bytes) -> None:
    with raw_server(answer) as server:
        line = refused(url_of(server))

    assert line == (
        f"Redis is not reachable (127.0.0.1:{server.port}: it does not answer as Redis does); "
        "something else is there: name the address of Redis in FARMHAUL_REDIS_URL"
    )


@pytest.mark.parametrize("answer", [b"", b":", b":1", b":1\r", b"-OOM", b":1\n"])
def test_a_reply_that_never_ends_is_waited_for_until_the_deadline(answer: bytes) -> None:
    with raw_server(answer) as server:
        assert f"(127.0.0.1:{server.port}: no answer in time)" in refused(url_of(server), TIMEOUT_S)


def byte_by_byte(connection: socket.socket) -> None:
    for byte in b":" + b"1" * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def endless(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"1" * 65_536)


@pytest.mark.parametrize("answer", [byte_by_byte, endless])
def test_a_server_that_goes_on_and_on_ends_at_the_deadline(
    answer: Callable[[socket.socket], None],
) -> None:
    with raw_server(answer) as server:
        assert "Redis is not reachable (127.0.0.1:" in refused(url_of(server), TIMEOUT_S)


def test_a_server_that_reads_nothing_ends_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = parse_redis_url(f"redis://127.0.0.1:{deaf.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(InboxError, match="no answer in time"):
            push(url, [b"x" * 30_000_000], (), TIMEOUT_S)

    assert time.monotonic() - began < TIMEOUT_S + SLACK_S


def test_a_server_that_reads_slowly_ends_at_the_deadline() -> None:
    def sip(connection: socket.socket) -> None:
        while connection.recv(1 << 20):
            time.sleep(0.05)

    with raw_server(sip) as server:
        url = parse_redis_url(url_of(server))
        began = time.monotonic()
        with pytest.raises(InboxError, match="no answer in time"):
            push(url, [b"x" * 100_000_000], (), TIMEOUT_S)

    assert time.monotonic() - began < TIMEOUT_S + SLACK_S


def test_a_host_that_takes_no_connection_ends_at_the_deadline() -> None:
    with full_backlog() as port:
        line = refused(f"redis://127.0.0.1:{port}", TIMEOUT_S)

    assert f"(127.0.0.1:{port}: no answer in time)" in line


def test_a_handshake_that_never_ends_ends_at_the_deadline() -> None:
    with raw_server(b"") as server:
        line = refused(f"rediss://localhost:{server.port}", TIMEOUT_S)

    assert f"(localhost:{server.port}: no answer in time); check that Redis is running" in line
    assert "takes TLS at this port" in line


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(lambda _: None, "it closed the connection"), (reset, "Connection reset by peer")],
    ids=["closed", "reset"],
)
def test_a_connection_that_breaks_after_the_push_is_an_error(answer: Any, reason: str) -> None:
    with raw_server(answer) as server:
        assert f"(127.0.0.1:{server.port}: {reason})" in refused(url_of(server))

    [sent] = server.received
    assert sent == b"*3\r\n$5\r\nLPUSH\r\n$14\r\nfarmhaul:inbox\r\n$5\r\nentry\r\n"


@pytest.mark.parametrize(
    ("replies", "states"),
    [
        (b"$7\r\nlocated\r\n$-1\r\n", ["located", None]),
        (b"-NOPERM no\r\n$6\r\nactive\r\n", [None, "active"]),
        (b"$7\r\nlocated\r\n", ["located", None]),
        (b"$7\r\nlocated\r\n$6\r\nact", ["located", None]),
        (b"$7\r\nlocatedXX$6\r\nactive\r\n", [None, None]),
        (b":1\r\n$6\r\nactive\r\n", [None, None]),
        (b"$1025\r\n" + b"x" * 1025 + b"\r\n", [None, None]),
        (b"$-2\r\n", [None, None]),
        (b"$0\r\n\r\n$7\r\nLOCATED\r\n", [None, None]),
        (b"$2\r\n\xff\xfe\r\n$4\r\n\x1b[2J\r\n", [None, None]),
        (b"HTTP/1.1\r\n", [None, None]),
        (b"", [None, None]),
    ],
)
def test_what_was_pushed_is_no_error_whatever_comes_after(
    replies: bytes, states: list[str | None]
) -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(b":1\r\n" + replies)

    with raw_server(answer) as server:
        assert push(parse_redis_url(url_of(server)), [b"entry"], ["a", "b"], ANSWER_S) == states


def test_states_that_come_too_late_are_no_error() -> None:
    with raw_server(b":1\r\n$7\r\nlocated\r\n") as server:
        url = parse_redis_url(url_of(server))

        assert push(url, [b"entry"], ["a", "b"], 1.5) == ["located", None]


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        (b"-NOAUTH Authentication required.", "Redis refuses access: it wants a password ("),
        (b"-MISCONF Valkey is configured to save", "Redis cannot write to its disk and accepts"),
        (b"-MOVED 1234 10.0.0.1:6379", "this is a Redis Cluster, which farmhaul does not support"),
        (b"-CLUSTERDOWN Hash slot not served", "this is a Redis Cluster, which farmhaul does not"),
        (b"-NOREPLICAS Not enough good replicas", "Redis has too few replicas to accept any"),
        (b"-BUSY Valkey is busy running a script.", "Redis is busy with a script ("),
        (b"-DENIED Redis is running in protected mode", "it is in protected mode ("),
        (b"-ERR unknown command 'LPUSH', with 's3cr3t'", "this Redis lacks commands that"),
        (b"-", "Redis refuses LPUSH ("),
        (b"-s3cr3t", "Redis refuses LPUSH ("),
        (b"-\xff\x1b[2J", "Redis refuses LPUSH ("),
        (b"-S3CR3T" + b"T" * 30, "Redis refuses LPUSH ("),
    ],
)
def test_an_error_of_redis_is_explained(answer: bytes, meaning: str) -> None:
    with raw_server(answer + b"\r\n") as server:
        line = refused(url_of(server))

    assert meaning in line
    assert f"(127.0.0.1:{server.port}); " in line
    assert line.isprintable()


@pytest.mark.parametrize("code", [b"LOADING", b"MASTERDOWN", b"READONLY"])
def test_a_redis_that_is_not_ready_is_asked_again_once(code: bytes) -> None:
    answers = [b"-" + code + b" wait\r\n", b":1\r\n", b"never\r\n"]
    with raw_server(lambda connection: connection.sendall(answers.pop(0))) as server:
        assert push(parse_redis_url(url_of(server)), [b"entry"]) == []

    assert answers == [b"never\r\n"]


def test_a_redis_that_stays_unready_is_asked_no_third_time() -> None:
    with raw_server(lambda connection: connection.sendall(b"-LOADING wait\r\n")) as server:
        line = refused(url_of(server))

    assert "Redis has just started and is loading its data (127.0.0.1:" in line
    assert len(server.received) == 2


def test_a_redis_that_answers_late_is_not_asked_again() -> None:
    def answer(connection: socket.socket) -> None:
        time.sleep(2.4)
        connection.sendall(b"-LOADING wait\r\n")

    with raw_server(answer) as server:
        line = refused(url_of(server), timeout_s=4)

    assert "Redis has just started and is loading its data (" in line


def test_an_error_that_repeats_the_password_is_not_repeated() -> None:
    echo = b"-ERR unknown command 'AUTH', with args beginning with: 'user' 's3cr3t'\r\n"
    with raw_server(echo + b"-NOAUTH Authentication required.\r\n") as server:
        line = refused(url_of(server, "user:s3cr3t@"))

    assert line.startswith("Redis refuses access: it does not accept the login (127.0.0.1:")


def test_an_error_before_redis_closes_is_read() -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(b"-ERR max number of clients reached\r\n")

    with raw_server(answer) as server:
        assert "Redis has no connection left (" in refused(url_of(server, ":s3cr3t@"))


@given(st.binary(max_size=100))
def test_any_bytes_are_an_answer_or_one_line(answer: bytes) -> None:
    with raw_server(lambda connection: connection.sendall(answer)) as server:
        try:
            states = push(parse_redis_url(url_of(server)), [b"entry"], ["a"], 0.2)
        except InboxError as error:
            assert str(error).isprintable()  # noqa: PT017 most answers are refused
        else:
            assert len(states) == 1
            assert answer.startswith(b":")


# Names


@pytest.fixture
def sleeping_dns(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A resolver that does not answer."""
    ended = threading.Event()

    def sleep(*_: Any, **__: Any) -> None:
        ended.wait(10)
        raise socket.gaierror

    monkeypatch.setattr("_socket.getaddrinfo", sleep)
    yield
    ended.set()


@pytest.mark.usefixtures("sleeping_dns")
@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3cr3t@redis.studio:6379/0",
        "rediss://redis.studio",
        "sentinel://:s3cr3t@one,two,three/farm",
    ],
)
def test_a_dns_that_does_not_answer_ends_at_the_deadline(url: str) -> None:
    assert "no answer to the look-up of its name in time" in refused(url, timeout_s=1.5)


@pytest.mark.usefixtures("sleeping_dns")
def test_localhost_needs_no_look_up() -> None:
    with raw_server(b":1\r\n") as server:
        assert push(parse_redis_url(f"redis://localhost:{server.port}"), [b"entry"]) == []


def test_a_process_ends_although_its_look_up_does_not() -> None:
    script = (
        "import _socket, time\n"
        "_socket.getaddrinfo = lambda *a, **k: time.sleep(30)\n"
        "from tasks.config.redis_url import parse_redis_url\n"
        "from tasks.intake.inbox import InboxError, push\n"
        "try:\n"
        "    push(parse_redis_url('redis://redis.studio'), [b'entry'], (), 0.2)\n"
        "except InboxError as error:\n"
        "    print(error)\n"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, timeout=20
    )

    assert "redis.studio:6379: no answer to the look-up" in done.stdout
    assert done.returncode == 0
    assert time.monotonic() - began < 10


def test_a_name_that_has_no_address_is_said() -> None:
    assert "(redis.invalid:6379: " in refused("redis://redis.invalid", timeout_s=5)


def test_numbers_are_never_looked_up() -> None:
    assert "(999.0.0.1:6379: " in refused("redis://999.0.0.1")


def test_each_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(b":1\r\n") as server, full_backlog() as firewalled:
        found = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 1)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", firewalled)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port)),
        ]
        monkeypatch.setattr("_socket.getaddrinfo", lambda *_, **__: found)

        assert push(parse_redis_url("redis://redis.studio"), [b"entry"]) == []
