"""A push by way of sentinels: their own login, a failover, and sentinels that are down or lie."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tasks.config.redis_url import parse_redis_url
from tasks.intake.inbox import INBOX, InboxError, push
from tests.chaos import sentinels
from tests.chaos.sentinels import Sentinels
from tests.docker.certificate import make_certificate
from tests.helpers.raw_server import ANSWER_S, SLACK_S, RawServer, full_backlog, raw_server
from tests.helpers.tls_front import tls_front
from tests.sandbox import RedisServer
from tests.sandbox.process import free_ports


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    """Sentinels with a password of their own, of a master with another."""
    with sentinels.running(tmp_path_factory.mktemp("sentinels"), "s3cr3t", "own-s3cr3t") as group:
        yield group


def refused(url: str, timeout_s: float = ANSWER_S) -> str:
    """Return the line of the error; it comes by the deadline, and has no password."""
    began = time.monotonic()
    with pytest.raises(InboxError) as caught:
        push(parse_redis_url(url), [b"entry"], (), timeout_s)
    assert time.monotonic() - began < timeout_s + SLACK_S
    assert "s3cr3t" not in str(caught.value)
    return str(caught.value)


def pushed(url: str, timeout_s: float = ANSWER_S) -> None:
    assert push(parse_redis_url(url), [b"entry"], ["x"], timeout_s) == [None]


def taken(server: RedisServer) -> int:
    """Return how many entries have arrived, and remove them."""
    with server.client() as client:
        count = client.llen(INBOX)
        client.delete(INBOX)
    assert isinstance(count, int)
    return count


def test_sentinels_with_a_login_of_their_own_name_the_master(group: Sentinels) -> None:
    pushed(group.url)

    assert taken(group.master) == 1


def test_sentinels_that_want_a_login_say_so(group: Sentinels) -> None:
    without = refused(group.url.partition("?")[0])
    wrong = refused(group.url.replace("own-s3cr3t", "other-s3cr3t"))

    assert without.startswith("the sentinels want a login of their own (127.0.0.1:")
    assert without.endswith("add ?sentinel_password=PASSWORD to FARMHAUL_REDIS_URL")
    assert wrong.startswith("the sentinels do not accept their login (127.0.0.1:")


def test_the_login_of_the_master_is_another(group: Sentinels) -> None:
    line = refused(group.url.replace(":s3cr3t@", ":wrong-s3cr3t@"))

    assert line.startswith("Redis refuses access: it does not accept the login (127.0.0.1:")


def test_a_master_that_no_sentinel_knows_is_named(group: Sentinels) -> None:
    line = refused(group.url.replace("/farm", "/ranch"))

    assert line.startswith("no sentinel knows a master ranch (127.0.0.1:")


def test_a_failover_is_followed(group: Sentinels) -> None:
    group.fail_over()

    pushed(group.url)

    assert taken(group.master) == 1


def test_a_server_that_is_no_sentinel_is_named(redis_server: RedisServer) -> None:
    place = f"127.0.0.1:{redis_server.port}"

    assert f"no sentinel is reachable ({place}: it is not a sentinel)" in refused(
        f"sentinel://{place}/farm"
    )


def test_sentinels_that_are_down_are_named() -> None:
    one, two = free_ports(2)

    line = refused(f"sentinel://:s3cr3t@127.0.0.1:{one},127.0.0.1:{two}/farm")

    assert line.startswith(f"no sentinel is reachable (127.0.0.1:{one}: Connection refused); ")


def test_sentinels_without_tls_are_told_from_those_that_are_down() -> None:
    with raw_server(b"-ERR Protocol error\r\n") as plain:
        line = refused(f"sentinel://127.0.0.1:{plain.port}/farm?ssl=true")

    assert line.endswith(
        "; name the port that takes TLS in FARMHAUL_REDIS_URL, or leave TLS out of it"
    )


def test_a_sentinel_whose_tls_is_not_right_is_named_with_one_step(tmp_path: Path) -> None:
    make_certificate(["localhost"], tmp_path / "ca.pem", tmp_path / "server.pem")
    make_certificate(["localhost"], tmp_path / "other.pem", tmp_path / "unused.pem")
    [closed] = free_ports(1)
    with tls_front(closed, tmp_path / "server.pem") as port:
        url = f"sentinel://localhost:{port}/farm"
        strange = refused(f"{url}?ssl=true&ssl_ca_certs={tmp_path}/other.pem")
        without = refused(url)
    with raw_server(b"") as silent:
        plain = refused(f"sentinel://localhost:{silent.port}/farm?ssl=true")

    assert "issuer certificate); name its authority" in strange
    assert without.endswith("without TLS (with it, the URL has ?ssl=true)")
    assert "no answer in time); check that Redis is running, and takes TLS" in plain


# Sentinels that answer what a test says


def naming(*places: str | int) -> RawServer:
    """Return a sentinel that names each of these masters in turn, the last one for ever."""
    left = [place if isinstance(place, str) else f"127.0.0.1:{place}" for place in places]

    def answer(connection: socket.socket) -> None:
        host, _, port = (left.pop(0) if left[1:] else left[0]).rpartition(":")
        connection.sendall(f"*2\r\n${len(host)}\r\n{host}\r\n${len(port)}\r\n{port}\r\n".encode())

    return RawServer(answer)


def url_of(*servers: RawServer) -> str:
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    return f"sentinel://{hosts}/farm"


def test_a_dead_sentinel_leaves_time_for_the_others(redis_server: RedisServer) -> None:
    with raw_server(b"") as silent:
        pushed(url_of(silent, silent, naming(redis_server.port)), 4)

    assert taken(redis_server) == 1


def test_silent_sentinels_end_at_the_deadline() -> None:
    with raw_server(b"") as silent:
        line = refused(url_of(silent, silent, silent), 1.5)

    assert f"no sentinel is reachable (127.0.0.1:{silent.port}: no answer in time)" in line


def test_a_master_that_is_gone_is_asked_for_again(redis_server: RedisServer) -> None:
    [gone] = free_ports(1)
    behind = naming(gone, redis_server.port)

    pushed(url_of(behind))

    assert taken(redis_server) == 1
    assert len(behind.received) == 2


def test_another_sentinel_is_asked_the_second_time(redis_server: RedisServer) -> None:
    [gone] = free_ports(1)

    pushed(url_of(naming(gone), naming(redis_server.port)))

    assert taken(redis_server) == 1


def test_a_master_that_became_a_replica_is_asked_for_again(redis_server: RedisServer) -> None:
    with raw_server(lambda connection: connection.sendall(b"-READONLY no\r\n")) as old:
        pushed(url_of(naming(old.port, redis_server.port)))

    assert taken(redis_server) == 1


def test_a_silent_master_leaves_time_for_a_new_one(redis_server: RedisServer) -> None:
    with full_backlog() as silent:
        pushed(url_of(naming(silent, redis_server.port)), 4)

    assert taken(redis_server) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"*0\r\n",
        b"*1\r\n$4\r\nhost\r\n",
        b"*2\r\n$4\r\nhost\r\n$4\r\nport\r\n",
        b"*2\r\n$4\r\nho t\r\n$4\r\n6379\r\n",
        b"*2\r\n$-1\r\n$-1\r\n",
        b"*3000\r\n",
        b"*-2\r\n",
        b"+OK\r\n",
        b"HTTP/1.1 400\r\n\r\n",
    ],
)
def test_a_sentinel_that_names_no_place_is_passed_over(
    answer: bytes, redis_server: RedisServer
) -> None:
    with raw_server(answer) as odd:
        assert "no sentinel is reachable (127.0.0.1:" in refused(url_of(odd))
        pushed(url_of(odd, naming(redis_server.port)))

    assert taken(redis_server) == 1


def test_the_database_is_that_of_the_url(redis_server: RedisServer) -> None:
    pushed(f"{url_of(naming(redis_server.port))}/4")

    with redis.Redis(port=redis_server.port, db=4) as client:
        assert client.llen(INBOX) == 1
