"""Someone who has no key gives a record the sealed field ``file`` of another one.

It is sealed, but does not name its upload. It says which file a worker has read, with which MD5,
and, if ftrack has a component of another program, which one is used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tasks.config.sealing import Codec
from tests.farm import Farm, wait_until
from tests.sandbox import seed

pytestmark = pytest.mark.slow

LARGE = 70 << 20


def as_of_another_node(farm: Farm, text: str) -> str:
    """Return the field as a worker on another node seals it, whose mount has another number."""
    codec = Codec(farm.env["FARMHAUL_SECRET_KEY"].split(","))
    value = codec.decode(text)
    return codec.encode(value | {"device": value["device"] + 1})


def key_of(upload_id: str) -> str:
    return f"farmhaul:upload:{upload_id}"


def in_version(farm: Farm, path: Path, name: str) -> tuple[str, str]:
    """Enqueue a file for a version; return the ids of the upload and of its component."""
    [row] = farm.enqueue(path, "--version-id", seed.VERSION_ID, "--name", name)
    return row["upload_id"], row["component_id"]


def test_a_swapped_file_gives_no_component_the_bytes_of_another(sealed: Farm) -> None:
    """The files look the same: two frames of one size, which were rendered in the same second."""
    number = sealed.sandbox.faults.add("store", "status", 503, method="PUT")
    with sealed.frozen():
        uploads = [sealed.upload(content=content * 10) for content in (b"ours  ", b"theirs")]
        for upload in uploads:
            os.utime(upload.path, (1e9, 1e9))
    ids = [upload.id for upload in uploads]
    keys = [key_of(upload_id) for upload_id in ids]
    redis: Any = sealed.redis

    def swapped() -> bool:
        """Swap the files, unless a worker has read them already and is about to send one."""
        sealed.wait_state(ids, "retrying")
        with sealed.frozen():
            if sealed.states(ids) != ["retrying", "retrying"]:
                return False
            files = [as_of_another_node(sealed, redis.hget(key, "file")) for key in keys]
            for key, file in zip(keys, reversed(files), strict=True):
                redis.hset(key, "file", file)
        return True

    wait_until(swapped, 60)
    sealed.sandbox.faults.remove(number)

    sealed.wait_located(ids, 90)
    for upload in uploads:
        statuses = [put["status"] for put in sealed.sandbox.store.puts(upload.component_id)]
        # A worker has believed it, and the store has refused what has another MD5.
        assert 400 in statuses, statuses
        assert sealed.sandbox.store.read(upload.component_id) == upload.path.read_bytes()


@pytest.mark.parametrize("size", [1000, LARGE], ids=["small", "large"])
def test_a_swapped_file_sends_nothing_to_another_component(sealed: Farm, size: int) -> None:
    """One of the records uses the component of another program, and so says which."""
    ftrack = sealed.sandbox.ftrack
    named = {"name": "theirs", "file_type": ".exr", "version_id": seed.VERSION_ID}
    used = str(ftrack.create("FileComponent", **named)["id"])
    theirs, _ = in_version(sealed, sealed.make_file("theirs.exr", b"their bytes"), "theirs")
    sealed.wait_located([theirs])
    lie = sealed.redis.hget(key_of(theirs), "file")
    number = sealed.sandbox.faults.add("ftrack", "status", 503, action="complete_multipart_upload")
    if size < LARGE:
        number = sealed.sandbox.faults.add("store", "status", 503, method="PUT")
    path = sealed.make_file("ours.exr", size)
    ours, own = in_version(sealed, path, "ours")
    parts = f"farmhaul:parts:{ours}"

    def is_sent() -> bool:
        done = [name for name in sealed.redis.hkeys(parts) if name.startswith("etag:")]
        return len(done) >= 9 if size == LARGE else sealed.redis.hexists(key_of(ours), "file")

    def is_swapped() -> bool:
        """Swap it between two tries: a call that is under way would note that it has asked."""
        sealed.wait_state([ours], "retrying")
        with sealed.frozen():
            if sealed.states([ours]) != ["retrying"]:
                return False
            sealed.redis.hset(key_of(ours), "file", lie)
            # If a join was refused before, its answer counts as lost, and is waited for half an
            # hour.
            sealed.redis.hdel(parts, "join_asked")
            sealed.sandbox.faults.remove(number)
        return True

    wait_until(is_sent, 60)
    wait_until(is_swapped, 60)

    sealed.wait_located([ours], 120)
    assert sealed.sandbox.store.size(own) == size
    assert sealed.sandbox.store.read(used) == b"their bytes"
    assert [row["component_id"] for row in ftrack.locations(own)] == [own]
