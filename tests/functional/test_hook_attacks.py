"""What a stolen node can do: it has the Redis user and the key of hooks, and whatever it can sign.

It can ask for uploads of files below the roots. Everything else is refused, and the farm works on.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from tasks.config.hook_key import derive_hook_key, hook_key_text
from tasks.config.sealing import Codec
from tasks.intake.envelope import MAX_BYTES, make_body, sign
from tests.farm import Farm, wait_until
from tests.functional.guarded import Guarded

pytestmark = pytest.mark.slow

INBOX = "farmhaul:inbox"
QUEUE = "farmhaul\x06\x16"


class StolenNode:
    """A hook's node in other hands."""

    def __init__(self, guarded: Guarded) -> None:
        self.farm: Farm = guarded.farm
        self.redis: Any = guarded.client("hook")
        self.keys = (derive_hook_key(self.farm.env["FARMHAUL_SECRET_KEY"]),)

    def entry(self, *requests: dict[str, Any]) -> bytes:
        return sign(make_body(requests, time.time(), "stolen"), self.keys)

    def push(self, *entries: bytes) -> None:
        for start in range(0, len(entries), 1000):
            self.redis.lpush(INBOX, *entries[start : start + 1000])

    def request(self, path: Path | str, **values: Any) -> dict[str, Any]:
        return {
            "path": str(path),
            "component_id": self.farm.sandbox.ftrack.add_component(),
        } | values

    def refused(self) -> int:
        return int(self.farm.redis.hget("farmhaul:totals", "refused_requests") or 0)

    def kept(self) -> int:
        """Return how many entries are kept for workers of a newer version."""
        return sum(map(self.farm.redis.llen, self.farm.redis.scan_iter("farmhaul:unread:*")))

    def uploads(self) -> set[str]:
        return set(self.farm.redis.scan_iter("farmhaul:upload:*", count=1000))

    def check_farm_works(self, timeout_s: float = 30) -> str:
        """Ask for an upload as a good hook does; return its component once it is located."""
        path = self.farm.make_file("good.exr", 1000)
        before = self.uploads()
        request = self.request(path)
        self.push(self.entry(request))
        wait_until(lambda: len(self.uploads() - before) == 1, timeout_s)
        [key] = self.uploads() - before
        self.farm.wait_located([key.rpartition(":")[2]], timeout_s)
        return str(request["component_id"])


@pytest.fixture
def node(guarded: Guarded) -> StolenNode:
    return StolenNode(guarded)


# What it sends to Redis

#: By what an attacker was after; "ID" is an upload whose parts are under way.
COMMANDS: dict[str, list[tuple[str, ...]]] = {
    "have a worker send a file to another address": [
        ("HSET", "farmhaul:upload:ID", "state", "active", "stage", "3"),
        ("LPUSH", f"{QUEUE}1", "a put_file"),
        ("HSET", "farmhaul:parts:ID", "urls:0", "sealed"),
    ],
    "put bytes of its own into another's file": [
        ("HGETALL", "farmhaul:parts:ID"),
        ("HGET", "farmhaul:parts:ID", "multipart"),
        ("HSET", "farmhaul:parts:ID", "etag:1", "x"),
        ("HDEL", "farmhaul:parts:ID", "etag:1"),
    ],
    "ask ftrack with the worker's API key": [
        ("HSET", "farmhaul:upload:ID", "jobs", "x' or id like '"),
        ("ZADD", "farmhaul:jobs", "0", "ID"),
        ("LPUSH", f"{QUEUE}4", "a fetch"),
    ],
    "set an old upload going again": [
        ("HGETALL", "farmhaul:upload:ID"),
        ("ZADD", "farmhaul:pending", "0", "ID"),
        ("LRANGE", INBOX, "0", "-1"),
        ("RPOP", INBOX),
        ("BLMOVE", INBOX, INBOX, "RIGHT", "LEFT", "1"),
    ],
    "end all workers": [
        ("DEL", "farmhaul"),
        ("HSET", "farmhaul", "a", "b"),
        ("DEL", INBOX),
        ("RENAME", INBOX, "farmhaul"),
        ("PUBLISH", "/0.celery.pidbox", "{}"),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("FLUSHALL",),
        ("CONFIG", "SET", "maxmemory", "1"),
    ],
    "stop Redis by a script": [
        ("EVAL", "redis.call('LPUSH', KEYS[1], 'x') while true do end", "1", INBOX),
        ("EVALSHA", "0" * 40, "0"),
        ("SCRIPT", "LOAD", "while true do end"),
        ("FUNCTION", "LOAD", "#!lua name=x"),
    ],
    "break counters and gates": [
        ("HSET", "farmhaul:upload:ID", "fence", "x"),
        ("HSET", "farmhaul:gate:store", "until", "1e12"),
        ("HSET", "farmhaul:totals", "enqueued", "x"),
        ("HSET", "farmhaul:limits", "bandwidth", "1"),
    ],
    "look around": [
        ("INFO",),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("LLEN", INBOX),
        ("SUBSCRIBE", "/0.celeryev/worker.heartbeat"),
        ("PSUBSCRIBE", "*"),
        ("MONITOR",),
        ("ACL", "WHOAMI"),
        ("CLIENT", "LIST"),
        ("MULTI",),
        ("PSYNC", "?", "-1"),
    ],
}


@pytest.mark.parametrize("wish", COMMANDS)
def test_a_stolen_node_can_send_redis_nothing_but_requests(
    guarded: Guarded, node: StolenNode, wish: str
) -> None:
    farm = guarded.farm
    slow = farm.sandbox.faults.add("store", "bandwidth_bytes_s", 8e6)
    movie = farm.upload(content=70 << 20, name="main.mov")
    wait_until(lambda: bool(farm.redis.exists(f"farmhaul:parts:{movie.id}")))

    for command in COMMANDS[wish]:
        with pytest.raises(redis.exceptions.NoPermissionError):
            node.redis.execute_command(*(word.replace("ID", movie.id) for word in command))

    farm.sandbox.faults.remove(slow)
    farm.wait_located([movie.id])
    node.check_farm_works()


# What it signs

#: Fields that no request has. A newer version may know them.
UNKNOWN_FIELDS: dict[str, dict[str, Any]] = {
    "a URL to send the file to": {"signed": {"url": "http://10.0.0.1:6379/", "headers": {}}},
    "URLs of parts": {"multipart": {"upload_id": "x", "urls": {"1": "http://10.0.0.1/"}}},
    "the id of another upload": {"id": "5d27e920-0000-4000-8000-000000000000"},
    "a file that counts as stored": {"stored": True},
    "an identity of its own": {"identity": [1, 2, 3, 4]},
    "encoding jobs": {"job_ids": ["x' or id like '"]},
}

#: Fields of a request with what farmhaul never sends.
ODD_FIELDS: dict[str, dict[str, Any]] = {
    "a component that is a query": {"component_id": "x' or id like '"},
    "a version that is a query": {"component_id": None, "version_id": "x' or id like '"},
    "a line break in the path": {"path": "/mnt/a\nb"},
    "a NUL in the path": {"path": "/mnt/a\0b"},
    "an escape in the path": {"path": "/mnt/\x1b[2J"},
    "a relative path": {"path": "etc/shadow"},
    "a list as path": {"path": ["/etc/shadow"]},
    "a host with a space": {"host": "node7 -Q other"},
    "a priority of its own": {"priority": "above all"},
    "a size below zero": {"size": -1, "mtime_ns": 0},
    "a number as flag": {"allow_empty": 1},
}


@pytest.mark.parametrize("what", UNKNOWN_FIELDS)
def test_a_request_with_more_than_an_upload_is_kept(node: StolenNode, what: str) -> None:
    path = node.farm.make_file("main.exr", 1000)
    before, records = node.kept(), node.uploads()
    node.push(node.entry({**node.request(path), **UNKNOWN_FIELDS[what]}))

    wait_until(lambda: node.kept() == before + 1)
    assert node.uploads() == records
    assert node.farm.redis.llen("farmhaul:taking") == 0


@pytest.mark.parametrize("what", ODD_FIELDS)
def test_a_signed_request_may_ask_for_an_upload_alone(node: StolenNode, what: str) -> None:
    path = node.farm.make_file("main.exr", 1000)
    before, records = node.refused(), node.uploads()
    values = {**node.request(path), **ODD_FIELDS[what]}
    node.push(node.entry({name: value for name, value in values.items() if value is not None}))

    wait_until(lambda: node.refused() == before + 1)
    assert node.uploads() == records
    assert node.farm.redis.llen("farmhaul:taking") == 0


def test_a_signed_request_gets_no_file_outside_the_roots(node: StolenNode, tmp_path: Path) -> None:
    farm = node.farm
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    inside = farm.make_file("main.exr", 10).parent
    link = inside / "link.exr"
    link.symlink_to(secret)
    fifo = inside / "fifo.exr"
    os.mkfifo(fifo)
    up = "../" * len(inside.parts)
    paths: list[Path | str]
    paths = [secret, link, f"{inside}/{up}{secret}", "/proc/self/environ", "/dev/zero", fifo]
    requests = [node.request(path) for path in paths]
    records = node.uploads()
    node.push(*(node.entry(request) for request in requests))

    wait_until(lambda: len(node.uploads() - records) == len(paths))
    ids = [key.rpartition(":")[2] for key in node.uploads() - records]
    farm.wait_state(ids, "failed")
    for request in requests:
        assert farm.sandbox.store.puts(request["component_id"]) == []


def test_a_key_of_hooks_opens_nothing(node: StolenNode) -> None:
    upload = node.farm.upload()
    node.farm.wait_located([upload.id])
    sealed = node.farm.record(upload.id)["request"]
    [secret] = node.farm.env["FARMHAUL_SECRET_KEY"].split(",")

    assert Codec([secret]).decode(sealed)
    with pytest.raises(Exception, match="is not sealed"):
        Codec([hook_key_text(node.keys)]).decode(sealed)


# What it replays


def test_a_replayed_request_sends_no_other_bytes(node: StolenNode) -> None:
    farm = node.farm
    path = farm.make_file("main.exr", b"first")
    found = path.stat()
    request = node.request(path, size=found.st_size, mtime_ns=found.st_mtime_ns)
    entry = node.entry(request)
    records = node.uploads()
    node.push(entry)
    wait_until(lambda: len(node.uploads() - records) == 1)
    [key] = node.uploads() - records
    farm.wait_located([key.rpartition(":")[2]])

    path.write_bytes(b"other")
    node.push(entry, entry)
    node.check_farm_works()

    assert node.uploads() - records >= {key}
    [put] = farm.sandbox.store.puts(request["component_id"])
    assert put["status"] == 200


# What it floods


def test_a_flood_of_garbage_holds_up_no_good_request(guarded: Guarded, node: StolenNode) -> None:
    path = guarded.farm.make_file("main.exr", 10)
    request = node.request(path)
    body = make_body([request], time.time(), "stolen")
    foreign = sign(body, [b"another key, 32 bytes as it must"])
    unsigned = sign(body, [])
    altered = node.entry(request).replace(b"main.exr", b"mine.exr")
    kinds = [
        foreign,
        unsigned,
        altered,
        b"",
        b"\xff\x00garbage",
        b"farmhaul/1 -\n{}",
        b"GET / HTTP",
    ]
    large = [sign(os.urandom(1 << 20), []), b"x" * (1 << 20), sign(b"{" * (1 << 20), node.keys)]
    beyond = node.entry(request, {"path": "x" * MAX_BYTES})
    # Each one differs: Redis has to keep them all.
    flood = [kind + b"%d" % number for number in range(20_000 // len(kinds)) for kind in kinds]
    before, records = node.refused(), node.uploads()
    began = time.monotonic()
    node.push(*large, *flood, beyond)

    component_id = node.check_farm_works(timeout_s=60)

    took_s = time.monotonic() - began
    print(f"a good request after {len(flood)} bad ones was located {took_s:.1f} s after the first")
    assert took_s < 30
    assert node.refused() - before == len(flood) + len(large) + 1
    assert len(node.uploads() - records) == 1
    assert guarded.farm.sandbox.ftrack.locations(component_id)
    assert guarded.client("worker").llen("farmhaul:taking") == 0
    # The log says so in a few lines.
    text = guarded.farm.workers[0].log_text()
    assert 0 < text.count("requests_refused") < 2000
