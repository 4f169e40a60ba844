"""How Redis is reached: patiently by workers, hastily by hooks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest
import redis
from cryptography.fernet import Fernet

from tasks.config.redis_client import fail_fast_redis, worker_redis
from tasks.config.settings import Settings
from tasks.intake.request import UploadRequest
from tasks.records.commands import Commands
from tasks.records.record import open_record
from tasks.transfer.models import Target
from tests.sandbox import RedisServer


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


@pytest.mark.parametrize("connect", [worker_redis, fail_fast_redis])
def test_a_redis_that_is_there_answers(
    connect: Callable[[Settings], redis.Redis], redis_server: RedisServer
) -> None:
    with connect(Settings(redis_server.url)) as client:
        assert client.ping()


def test_a_hook_gives_redis_one_try_of_less_than_two_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(0)
        port = silent.getsockname()[1]

        with (
            fail_fast_redis(Settings(f"redis://127.0.0.1:{port}/0")) as client,
            pytest.raises(redis.TimeoutError),
        ):
            client.ping()

        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()
    # A host that does not answer at all, or one that accepts the connection and is silent.
    options = client.get_connection_kwargs()
    assert (options["socket_connect_timeout"], options["socket_timeout"]) == (1, 1.5)


def test_a_hook_gives_each_sentinel_one_try() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(0)
        port = silent.getsockname()[1]

        with (
            fail_fast_redis(Settings(f"sentinel://127.0.0.1:{port}/farm")) as client,
            pytest.raises(redis.ConnectionError),
        ):
            client.ping()

        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


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
        pytest.raises(redis.ConnectionError, match="No master found for 'farm'"),
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
