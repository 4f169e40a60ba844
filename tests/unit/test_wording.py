"""How the command line explains what Redis, or redis-py, says."""

from __future__ import annotations

import pytest
import redis
import redis.sentinel

from tasks.config.settings import Settings
from tasks.records.fail_fast import fail_fast_redis
from tests.helpers.raw_server import raw_server
from workers.wording import redis_problem


def problem(url: str) -> str:
    with fail_fast_redis(Settings(url)) as client, pytest.raises(redis.RedisError) as caught:
        client.lpush("list", 1)
    return redis_problem(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"-READONLY You can't write against a read only replica.", "this Redis is a replica and"),
        (b"-LOADING Redis is loading the dataset in memory", "Redis has just started and is load"),
        (b"-MASTERDOWN Link with MASTER is down", "this Redis is a replica that has lost its"),
        (b"-MISCONF Redis is configured to save RDB snapshots", "Redis cannot write to its disk"),
        (b"-MOVED 1 127.0.0.1:1", "this is a Redis Cluster, which farmhaul does not support; use"),
        (b"-CLUSTERDOWN Hash slot not served", "this is a Redis Cluster, which farmhaul does not"),
        (b"-CROSSSLOT Keys in request don't hash", "this is a Redis Cluster, which farmhaul does"),
        (b"-WRONGPASS invalid username-password pair", "Redis refuses access: "),
        (b"-OOM command not allowed when used memory", "Redis is full and accepts no uploads"),
        (b"-ERR something else", "Redis is not reachable (something else); check FARMHAUL_REDIS_U"),
    ],
)
def test_what_redis_py_raises_is_explained(answer: bytes, said: str) -> None:
    # Whatever is asked: redis-py greets the server first.
    with raw_server(lambda connection: connection.sendall((answer + b"\r\n") * 10)) as server:
        assert problem(f"redis://:s3cr3t@127.0.0.1:{server.port}").startswith(said)


def test_sentinels_that_want_a_login_are_not_without_a_master() -> None:
    with raw_server(b"-NOAUTH Authentication required.\r\n" * 5) as locked:
        said = problem(f"sentinel://127.0.0.1:{locked.port}/farm")
    assert said.startswith(f"the sentinels want a login of their own (127.0.0.1:{locked.port}); ")
    error = redis.sentinel.MasterNotFoundError("No master: Authentication required")
    assert redis_problem(error).startswith("the sentinels do not accept the login; ")
    error = redis.sentinel.MasterNotFoundError("No master found for 'farm'")
    assert redis_problem(error).startswith("no sentinel knows a master; ")
