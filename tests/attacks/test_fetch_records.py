"""Someone who changes the record of a download: a retry fetches what was asked for, or nothing."""

from __future__ import annotations

import uuid

from cryptography.fernet import Fernet

from tasks.config.sealing import Codec
from tasks.records.fetches import Fetches
from tasks.records.keys import fetch_key
from tasks.records.scripts import Scripts
from tests.sandbox import RedisServer


def test_a_retried_download_is_the_one_that_was_asked_for(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        fetches = Fetches(Scripts(client, Codec([Fernet.generate_key().decode()])))
        ours, theirs = str(uuid.uuid4()), str(uuid.uuid4())
        components = {one: str(uuid.uuid4()) for one in (ours, theirs)}
        for one in (ours, theirs):
            fetches.begin(one, components[one], f"/mnt/{one}", state="failed")

        client.hset(fetch_key(ours), "component", components[theirs])
        assert fetches.find([ours])[ours].component_id == components[ours]

        # A sealed request of another download; without a folder, retry refuses it.
        client.hset(fetch_key(ours), "request", str(client.hget(fetch_key(theirs), "request")))
        assert fetches.find([ours])[ours].folder == ""
        assert fetches.find([theirs])[theirs].folder == f"/mnt/{theirs}"
