"""Someone who puts another type where an operator's retry reads: it fails no upload."""

from __future__ import annotations

import pytest
import redis

from tasks.config.sealing import Codec
from tasks.records.commands import Commands
from tasks.records.scripts import Scripts
from tests.sandbox import RedisServer
from tests.sandbox.process import CHECKOUT
from tests.unit.records import Farm, file_of


def as_operator(server: RedisServer) -> Commands:
    """Return the commands with the rights that deploy/redis/users.acl gives to operators."""
    lines = (CHECKOUT / "deploy/redis/users.acl").read_text().splitlines()
    [words] = [line.split() for line in lines if line.startswith("user operator ")]
    rights = ["nopass" if "PASSWORD" in word else word for word in words[1:]]
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", *rights)
    client = redis.Redis(port=server.port, username="operator", password="x", decode_responses=True)
    return Commands(Scripts(client, Codec([])))


def test_a_retry_that_may_not_repair_leaves_the_upload_to_a_worker(
    redis_server: RedisServer,
) -> None:
    operator = as_operator(redis_server)
    with redis_server.client() as client:
        farm = Farm(client)
        live, ended = farm.enqueue(file_of(), file_of())
        farm.commands.cancel(ended)
        for upload_id in (live, ended):
            key = f"farmhaul:component:{farm.field(upload_id, 'component')}"
            client.delete(key)
            client.rpush(key, "x")
            with pytest.raises(redis.ResponseError, match=f"RECORDBROKEN upload {upload_id}"):
                operator.retry(upload_id)

        assert farm.states([live, ended]) == ["pending", "cancelled"]
        farm.commands.retry(ended)
        assert farm.states([live, ended]) == ["pending", "pending"]
