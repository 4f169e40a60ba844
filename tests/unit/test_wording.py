"""How the command line explains what Redis, or redis-py, says."""

from __future__ import annotations

import json
import socket
import struct

import pytest
import redis
import redis.sentinel

from tasks.config.redis_client import shared_redis
from tasks.config.sealing import Codec
from tasks.config.settings import Settings
from tasks.records import keys
from tasks.records.fail_fast import fail_fast_redis
from tasks.records.status import Status
from tests.helpers.raw_server import raw_server
from tests.sandbox import RedisServer
from tests.sandbox.process import CLOSED_PORT
from tests.unit.records import Farm
from workers.cli.watch import _print, _tell_troubles
from workers.wording import may_pass, meant_states, redis_problem, troubles


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
        (b"-WRONGPASS invalid username-password pair", "Redis refuses access: it does not accept"),
        (b"-NOAUTH HELLO must be called with the", "Redis refuses access: it wants a password; ch"),
        (b"-OOM command not allowed when used memory", "Redis is full and accepts nothing new"),
        (
            b"-NOPERM User operator has no permissions to run the 'select' command",
            (
                "Redis refuses access: User operator has no permissions to run the 'select' "
                "command; write database 0 in FARMHAUL_REDIS_URL, or"
            ),
        ),
        (b"-ERR unknown command 'AUTH', with args: 's3cr3t'", "this Redis lacks commands that f"),
        (b"-ERR something else", "Redis is not reachable (something else); check FARMHAUL_REDIS_U"),
    ],
)
def test_what_redis_py_raises_is_explained(answer: bytes, said: str) -> None:
    # Whatever is asked: redis-py greets the server first.
    with raw_server(lambda connection: connection.sendall((answer + b"\r\n") * 10)) as server:
        assert problem(f"redis://:s3cr3t@127.0.0.1:{server.port}").startswith(said)


def test_what_a_pipeline_meets_is_explained_without_its_commands(
    redis_server: RedisServer,
) -> None:
    with redis_server.client() as client:
        client.config_set("min-replicas-to-write", 1)
        try:
            with pytest.raises(redis.ResponseError, match="s3cr3t") as caught:
                client.pipeline(transaction=False).set("s3cr3t", 1).execute()
        finally:
            client.config_set("min-replicas-to-write", 0)
    said = "Redis has too few replicas to accept anything; look at the replicas"
    assert redis_problem(caught.value) == said


def test_a_refusal_in_a_pipeline_is_said_without_its_command(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "reader", "on", "nopass", "~*", "+get")
    with redis.Redis(port=redis_server.port, username="reader", password="any") as reader:
        pipeline = reader.pipeline(transaction=False)
        pipeline.set("s3cr3t", 1)
        with pytest.raises(redis.RedisError, match="s3cr3t") as caught:
            pipeline.execute()
    said = redis_problem(caught.value)
    assert said.startswith("Redis refuses access: User reader has no permissions to run the 'set'")
    assert "s3cr3t" not in said


def test_a_key_of_another_type_may_pass_in_a_pipeline_too(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set("key", 1)
        pipeline = client.pipeline(transaction=False)
        pipeline.hgetall("key")
        with pytest.raises(redis.ResponseError) as caught:
            pipeline.execute()
    assert may_pass(caught.value)


def test_a_server_that_resets_its_connections_is_named_with_its_port() -> None:
    # As a server does that expects TLS.
    at_once = struct.pack("ii", 1, 0)
    reset = (socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    with raw_server(lambda connection: connection.setsockopt(*reset)) as server:
        said = problem(f"redis://127.0.0.1:{server.port}/0")
    assert f"127.0.0.1:{server.port}" in said
    assert "with TLS it begins with rediss://" in said


@pytest.mark.parametrize(
    ("why", "step"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "ssl_ca_certs"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] Hostname mismatch, certificate", "ssl_check_hostname"),
        ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert", "ssl_certfile"),
        ("[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca", "ssl_certfile"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "or leave TLS out of it"),
        ("[SSL: RECORD_LAYER_FAILURE] record layer failure", "or leave TLS out of it"),
        ("max number of clients reached", "raise maxclients"),
        ("Connection refused", "that Redis is running"),
    ],
)
def test_a_worker_that_cannot_connect_says_what_to_do(why: str, step: str) -> None:
    # As kombu and redis-py word it; the connections of commands explain some of it themselves.
    said = redis_problem(redis.ConnectionError(f"Error 1 connecting to redis:6380. {why}."))
    assert step in said.partition("; ")[2]
    said = redis_problem(redis.ConnectionError("redis:6380: not accepted; name its authority"))
    assert said == "Redis is not reachable (redis:6380: not accepted); name its authority"


def test_sentinels_that_want_a_login_are_not_without_a_master() -> None:
    with raw_server(b"-NOAUTH Authentication required.\r\n" * 5) as locked:
        said = problem(f"sentinel://127.0.0.1:{locked.port}/farm")
    assert said.startswith(f"the sentinels want a login of their own (127.0.0.1:{locked.port}); ")
    error = redis.sentinel.MasterNotFoundError("No master: Authentication required")
    assert redis_problem(error).startswith("the sentinels do not accept the login; ")
    error = redis.sentinel.MasterNotFoundError("No master found for 'farm'")
    assert redis_problem(error).startswith("no sentinel knows a master; ")


def test_a_worker_that_reaches_no_sentinel_says_so() -> None:
    client = shared_redis(Settings(f"sentinel://127.0.0.1:{CLOSED_PORT}/farm?ssl=true"))
    with pytest.raises(redis.sentinel.MasterNotFoundError) as caught:
        client.ping()

    assert redis_problem(caught.value).endswith("farmhaul doctor on this node says what is wrong")


def test_closed_gates_and_nodes_with_faults_are_told_once(
    farm: Farm, capsys: pytest.CaptureFixture[str]
) -> None:
    status, now = Status(farm.client, Codec([])), farm.now()
    farm.client.zadd(keys.ALIVE, {f"1.0 w{number}@n": now for number in (1, 2, 3)})
    farm.client.hset(keys.PAUSED, "w1@n", json.dumps({"what": "clock", "since": now}))
    farm.client.hset(keys.gate_key("ftrack"), mapping={"since": now, "until": now + 9})
    farm.client.hset(keys.gate_key("store"), mapping={"since": now, "until:w2@n": now + 9})
    note = {"what": "files", "error": "no \x1b", "since": now, "last": now, "count": 7}
    farm.client.hset(keys.LEFT_TO_OTHERS, "w3@n", json.dumps(note))
    told: set[str] = set()

    _tell_troubles(status, told, _print)
    _tell_troubles(status, told, _print)

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 == len(troubles(status))
    said = "\n".join(line.split("  ", 1)[1] for line in lines)
    for words in (
        "the gate of ftrack is closed since ",
        "w1@n takes no uploads since ",
        "it has a wrong clock",
        "w2@n takes no uploads until ",
        "it cannot send files to the media store, unless store is down",
        "w3@n has left 7 uploads to other nodes since ",
    ):
        assert words in said
    assert said.isprintable() or "\x1b" not in said
    farm.client.hdel(keys.PAUSED, "w1@n")
    _tell_troubles(status, told, _print)
    assert capsys.readouterr().out.endswith("w1@n is all right again\n")


def test_a_state_among_words_is_told_how_to_be_asked_for() -> None:
    assert meant_states(["sh010", "Failed"]) == "for uploads in a state, write state:failed"
    assert meant_states(["failed", "retrying", "failed"]).endswith("state:failed,retrying")
    assert meant_states(["sh010", "failed_v001"]) == ""
