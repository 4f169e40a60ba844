"""How Redis is reached: patiently by workers, hastily by hooks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from cryptography.fernet import Fernet
from kombu import Connection

from tasks.config.redis_client import worker_redis
from tasks.config.redis_url import parse_redis_url
from tasks.config.settings import Settings
from tasks.intake.inbox import INBOX, push
from tasks.intake.request import UploadRequest
from tasks.records.cluster import check_no_cluster, is_cluster
from tasks.records.commands import Commands
from tasks.records.fail_fast import fail_fast_redis
from tasks.records.record import open_record
from tasks.transfer.targets import Target
from tests.chaos import sentinels
from tests.chaos.sentinels import Sentinels
from tests.docker.certificate import make_certificate
from tests.helpers.raw_server import full_backlog, raw_server
from tests.helpers.skipping import skip_loudly
from tests.helpers.tls_front import tls_front
from tests.sandbox import RedisServer
from tests.sandbox.process import CHECKOUT, CLOSED_PORT, NO_REDIS, free_ports
from workers.broker.address import celery_address
from workers.wording import redis_problem


@pytest.fixture(scope="module")
def password_sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    """Sentinels with a password of their own, of a master with another."""
    with sentinels.running(tmp_path_factory.mktemp("sentinels"), "pw", "own") as group:
        yield group


def test_a_worker_waits_for_a_redis_that_restarts(redis_server: RedisServer) -> None:
    with worker_redis(Settings(redis_server.url)) as client:
        client.set("before", 1)
        redis_server.stop()
        starter = threading.Timer(0.5, redis_server.start)
        starter.start()
        try:
            assert client.get("before") == b"1"
        finally:
            starter.join()


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n" * 9, b"*1\r\n:1\r\n" * 9]
)
def test_another_server_than_redis_is_named(answer: bytes) -> None:
    with (
        raw_server(answer) as server,
        fail_fast_redis(Settings(f"redis://127.0.0.1:{server.port}/0")) as client,
        pytest.raises(redis.ConnectionError) as caught,
    ):
        client.ping()

    assert redis_problem(caught.value) == (
        f"Redis is not reachable (127.0.0.1:{server.port}: it does not answer as Redis does); "
        "something else is there: name the address of Redis in FARMHAUL_REDIS_URL"
    )


@pytest.mark.parametrize("connect", [worker_redis, fail_fast_redis])
def test_a_redis_that_is_there_answers(
    connect: Callable[[Settings], redis.Redis], redis_server: RedisServer
) -> None:
    with connect(Settings(redis_server.url)) as client:
        assert client.ping()


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("redis://127.0.0.1:{port}/0", redis.TimeoutError),
        ("sentinel://127.0.0.1:{port}/farm", redis.ConnectionError),
    ],
    ids=["Redis", "a sentinel"],
)
def test_a_hook_gives_a_silent_server_one_try(url: str, error: type[redis.RedisError]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(0)
        settings = Settings(url.format(port=silent.getsockname()[1]))

        with fail_fast_redis(settings) as client, pytest.raises(error):
            client.ping()

        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_a_command_does_not_wait_for_an_answer_that_drips() -> None:
    def drip(connection: socket.socket) -> None:
        for _ in range(40):
            connection.sendall(b"-")
            time.sleep(0.25)

    with (
        raw_server(drip) as server,
        fail_fast_redis(Settings(f"redis://127.0.0.1:{server.port}/0")) as client,
        pytest.raises(redis.TimeoutError),
    ):
        client.ping()


@pytest.mark.parametrize("connect", [worker_redis, fail_fast_redis])
def test_redis_is_reached_by_tls_and_its_certificate_is_verified(
    connect: Callable[[Settings], redis.Redis], redis_server: RedisServer, tmp_path: Path
) -> None:
    authority, other = tmp_path / "ca.pem", tmp_path / "other.pem"
    make_certificate(["localhost"], other, tmp_path / "unused.pem")
    make_certificate(["localhost"], authority, tmp_path / "server.pem")
    with tls_front(redis_server.port, tmp_path / "server.pem") as port:
        url = f"rediss://localhost:{port}/0?ssl_ca_certs="

        with connect(Settings(f"{url}{authority}")) as client:
            assert client.ping()
        with (
            fail_fast_redis(Settings(f"{url}{other}")) as client,
            pytest.raises(redis.ConnectionError, match="its certificate is not accepted: unable"),
        ):
            client.ping()


@pytest.mark.parametrize("connect", [worker_redis, fail_fast_redis])
def test_redis_is_reached_by_its_socket(
    connect: Callable[[Settings], redis.Redis], tmp_path: Path
) -> None:
    path = tmp_path / "redis 1.sock"
    server = RedisServer(tmp_path / "redis", password="p@w", extra=[f'unixsocket "{path}"'])
    server.start()
    try:
        url = f"unix://:p%40w@{quote(str(path))}?db=3"
        with connect(Settings(url)) as client:
            client.set("here", 1)
        with redis.Redis(port=server.port, password="p@w", db=3) as there:
            assert there.get("here") == b"1"
    finally:
        server.stop()


@pytest.mark.parametrize("connect", [worker_redis, fail_fast_redis])
def test_sentinels_and_master_each_get_their_own_login(
    connect: Callable[[Settings], redis.Redis], password_sentinels: Sentinels
) -> None:
    with connect(Settings(password_sentinels.url)) as client:
        assert client.ping()


def test_redis_is_reached_by_ipv6(tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        skip_loudly("IPV6 WAS NOT TRIED", "this machine has none")
    server = RedisServer(tmp_path, password="pw", extra=["bind 127.0.0.1 ::1"])
    server.start()
    try:
        url = f"redis://:pw@[::1]:{server.port}/0"
        for connect in (worker_redis, fail_fast_redis):
            with connect(Settings(url)) as client:
                assert client.ping()
        assert push(parse_redis_url(url), [b"entry"]) == []
        settings = celery_address(parse_redis_url(url))
        with Connection(settings["broker_url"]) as connection:
            assert connection.default_channel.client.llen(INBOX) == 1
    finally:
        server.stop()


def test_sentinels_and_master_are_reached_by_tls(tmp_path: Path) -> None:
    with sentinels.running_with_tls(tmp_path / "group") as (url, master):
        for connect in (worker_redis, fail_fast_redis):
            with connect(Settings(url)) as client:
                assert client.ping()
        assert push(parse_redis_url(url), [b"entry"]) == []
        with redis.Redis(port=master.port, password="pw", db=1) as there:
            assert there.lrange(INBOX, 0, -1) == [b"entry"]

        make_certificate(["localhost"], tmp_path / "other.pem", tmp_path / "unused.pem")
        other = url.replace(str(tmp_path / "group" / "ca.pem"), str(tmp_path / "other.pem"))
        with (
            fail_fast_redis(Settings(other)) as client,
            pytest.raises(redis.ConnectionError, match="certificate"),
        ):
            client.ping()


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:{deaf}/0",
        "sentinel://127.0.0.1:{deaf},127.0.0.1:{deaf},127.0.0.1:{deaf}/farm",
        "sentinel://127.0.0.1:{silent},127.0.0.1:{silent},127.0.0.1:{silent}/farm",
        "rediss://127.0.0.1:{silent}/0",
    ],
)
def test_no_command_waits_for_a_redis_that_does_not_answer(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, full_backlog() as deaf:
        settings = Settings(url.format(silent=silent.getsockname()[1], deaf=deaf))
        began = time.monotonic()
        with fail_fast_redis(settings) as client, pytest.raises(redis.RedisError):
            client.ping()

    assert (
        time.monotonic() - began < 10
    )  # 1 s to connect, 1.5 s for the answer, and a loaded machine


def test_no_command_waits_for_the_look_up_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(*_: object, **__: object) -> list[object]:
        time.sleep(2)
        return []

    # There is no other way to a name server that is silent.
    monkeypatch.setattr("_socket.getaddrinfo", wait)
    began = time.monotonic()
    with (
        fail_fast_redis(Settings("redis://redis.studio")) as client,
        pytest.raises(redis.ConnectionError, match="no answer to the look-up of its name in time"),
    ):
        client.ping()

    assert time.monotonic() - began < 8


def test_a_hook_is_told_that_redis_is_not_there(redis_server: RedisServer) -> None:
    redis_server.stop()

    with (
        fail_fast_redis(Settings(redis_server.url)) as client,
        pytest.raises(redis.ConnectionError),
    ):
        client.ping()


def test_a_hook_is_told_that_no_sentinel_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    settings = Settings(f"sentinel://:pw@127.0.0.1:{port},127.0.0.1:{port}/farm")

    with (
        fail_fast_redis(settings) as client,
        pytest.raises(redis.ConnectionError, match=f"no sentinel is reachable .127.0.0.1:{port}"),
    ):
        client.ping()


def test_the_record_is_opened_as_the_environment_says(redis_server: RedisServer) -> None:
    settings = Settings(
        redis_server.url,
        lease_s=7,
        record_days=0.5,
        secret_keys=(Fernet.generate_key().decode(),),
    )
    request = UploadRequest(
        "/mnt/secret/name.exr", Target("2c5e0000-0000-4000-8000-000000000001"), 6, 1_000
    )
    with fail_fast_redis(settings) as client:
        record = open_record(settings, client)
        Commands(record.scripts).enqueue([request])

        assert (record.scripts.lease_s, record.scripts.ttl_s) == (7, 43_200)
        stored = client.hgetall(f"farmhaul:upload:{request.upload_id}")
        assert b"secret" not in b"".join(stored.values())
        [transfer] = record.deliver("a-claim", "compute_checksum", "node7").transfers
        assert transfer.path == "/mnt/secret/name.exr"


def test_a_worker_is_not_started_on_a_cluster(tmp_path: Path) -> None:
    [bus] = free_ports(1)
    node = RedisServer(tmp_path, extra=("cluster-enabled yes", f"cluster-port {bus}"))
    node.start()
    environment = {
        **os.environ,
        "FARMHAUL_REDIS_URL": node.url,
        "FARMHAUL_STORAGE_ROOTS": str(tmp_path),
        "FTRACK_SERVER": "http://127.0.0.1:1",
        "FTRACK_API_USER": "farm",
        "FTRACK_API_KEY": "k3y",
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "workers.cli", *arguments],
            env=environment, cwd=CHECKOUT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    try:
        with node.client() as client:
            assert is_cluster(client)  # whose slots nobody serves
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            worker, doctor = run("worker", "--concurrency=1"), run("doctor")
    finally:
        node.stop()
    assert (worker.returncode, worker.stderr.count("\n")) == (2, 1)
    assert "is a Redis Cluster, which farmhaul does not support" in worker.stderr
    assert '"this is a Redis Cluster, which farmhaul does not support"' in doctor.stdout


def test_a_replica_that_has_lost_its_master_is_no_cluster(tmp_path: Path) -> None:
    """redis-py takes MASTERDOWN for a kind of CLUSTERDOWN; a worker waits for the failover."""
    replica = RedisServer(tmp_path, extra=["replica-serve-stale-data no"])
    replica.start()
    try:
        with replica.client() as client:
            client.replicaof("127.0.0.1", CLOSED_PORT)
            with pytest.raises(redis.exceptions.MasterDownError):
                client.exists("any")
            assert not is_cluster(client)
    finally:
        replica.stop()


def test_a_redis_that_is_away_or_single_is_no_cluster(redis_server: RedisServer) -> None:
    for url in (redis_server.url, NO_REDIS):
        with fail_fast_redis(Settings(url)) as client:
            assert not is_cluster(client)
        check_no_cluster(Settings(url))
