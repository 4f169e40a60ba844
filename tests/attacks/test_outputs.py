"""Whoever may write to Redis puts hostile text everywhere; no output does what it says."""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from tasks.config.sealing import Codec
from tasks.records import keys
from tasks.records.fetches import Fetches
from tasks.records.key_types import TYPES
from tasks.records.states import SERVICES, UPLOAD_STATES
from tasks.records.status import Status
from tests.helpers.flower import LOGIN, Flower
from tests.sandbox import RedisServer
from tests.unit.records import Farm, file_of
from workers.cli.group import cli
from workers.cli.watch_table import WatchTable
from workers.exporter import FarmCollector

#: Escape sequences, other lines, bidirectional marks, markup, templates, the end of a label.
TEXT = (
    "</script><img src=x onerror=taken()>\x1b]0;owned\x07\x9b2J\r\nforged: x\u202egnp\u2066\u2028"
    "\u200b\x7f[bold]{{1+1}}%s'\"} 1\nfarmhaul_forged 1\n#\\"
)
FORGED = re.compile(r"(farmhaul: |[\d:]+ +|  )?(forged|farmhaul_forged)")
#: What follows is no text at all: a byte that UTF-8 has not, and half a character.
NO_TEXT = b"\xff\xed\xa0\x80"
KEPT = {b"state", b"id", b"component", b"request", b"created", b"updated"}
MORE = (
    *(b"worker", b"error", b"error_kind", b"retry_reason", b"jobs", b"job_state", b"asked_host"),
    *(b"asked_user", b"log", b"acts", b"name", b"host", b"rate", b"sent", b"due"),
)


@pytest.fixture(
    params=[TEXT.encode(), pytest.param(TEXT.encode() + NO_TEXT, marks=pytest.mark.slow)],
    ids=["text", "bytes"],
)
def hostile(request: pytest.FixtureRequest) -> bytes:
    return bytes(request.param)


def spoil(farm: Farm, raw: Any, value: bytes) -> list[str]:
    """Fill a Redis with uploads and a download, and each field with a value; return their ids."""
    part = os.fsdecode(value).replace("/", "|")
    path = f"/mnt/{part}/{part}"
    ids = farm.enqueue(*(file_of() for _ in UPLOAD_STATES))
    for upload_id, state in zip(ids, UPLOAD_STATES, strict=True):
        key = keys.upload_key(upload_id)
        asked = json.loads(farm.client.hget(key, "request"))
        raw.hset(key, "request", json.dumps({**asked, "path": path}))
        odd: dict[Any, Any] = dict.fromkeys(MORE, value)
        raw.hset(key, mapping={"state": state, **odd})
        raw.zadd(keys.state_key(state), {upload_id: time.time()})
    fetch_id = str(uuid.uuid4())
    Fetches(farm.record.scripts).begin(fetch_id, str(uuid.uuid4()), path, state="failed")
    for key in (*map(keys.upload_key, ids), keys.fetch_key(fetch_id)):
        spoilt: dict[Any, Any] = dict.fromkeys(raw.hgetall(key).keys() - KEPT, value)
        raw.hset(key, mapping=spoilt)
    now, _ = raw.time()
    for key, kind in TYPES.items():
        if kind == "hash":
            note = json.dumps({"since": now, "count": 3, "what": path})
            raw.hset(key, mapping={value: note, b"failed:" + value: 3, b"w1@" + value: note})
        elif kind == "zset":
            raw.zadd(key, {value: now, b"0.1 w1@" + value: now + 20})
        elif kind in {"set", "list"}:
            (raw.sadd if kind == "set" else raw.lpush)(key, value)
    for service in SERVICES:
        raw.hset(keys.gate_key(service), mapping={"until": now + 60, "since": now, "why": value})
    refused = b"message|%s|%s" % (value, value)
    raw.hset(keys.REFUSED_BY, mapping={refused: 5, b"at|" + refused: int(now)})
    raw.zadd(keys.pending_key().encode() + b":" + value, {value: 1})
    return [*ids, fetch_id]


def test_no_command_and_no_metric_says_what_somebody_writes(
    redis_server: RedisServer, hostile: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = redis.Redis.from_url(redis_server.url)
    *uploads, fetch_id = spoil(Farm(redis_server.client()), raw, hostile)
    settings = {"FTRACK_SERVER": "http://127.0.0.1:9", "FTRACK_API_USER": "a", "COLUMNS": "200"}
    settings |= {"FTRACK_API_KEY": "a-key", "FARMHAUL_REDIS_URL": redis_server.url}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    said: dict[str, str] = {}
    for words in (
        *(["status", "--all", "--format", form] for form in ("table", "lines", "json")),
        ["status", "--failed", "--format", "table"],
        ["status", *uploads, "--format", "lines"],
        ["status", "--fetches", "--format", "lines"],
        ["watch", fetch_id],
        ["doctor"],
        ["retry", *uploads, "--format", "lines"],
    ):
        done = CliRunner().invoke(cli, words)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        said[str(words)] = done.output
    console = Console(force_terminal=True, width=200, record=True, file=StringIO())
    table = WatchTable(Status(raw, Codec([])))
    table.poll(30)
    console.print(table.render(console))
    said["the table of watch"] = console.export_text()
    registry = CollectorRegistry()
    registry.register(FarmCollector(raw))
    said["metrics"] = generate_latest(registry).decode()

    for name, text in said.items():
        lines = text.split("\n")
        assert [line for line in lines if not line.isprintable()] == [], name
        assert not [line for line in lines if FORGED.match(line)], name
        assert "retry" in name or "onerror" in text, f"{name} shows none of it"
    for line in said[str(["status", "--all", "--format", "json"])].splitlines():
        assert line.startswith("farmhaul: ") or json.loads(line)
    families = {one.name for one in text_string_to_metric_families(said["metrics"])}
    assert {"farmhaul_redis_up", "farmhaul_unreadable"} <= families


@pytest.mark.slow
def test_no_page_of_flower_says_what_somebody_writes(
    redis_server: RedisServer, hostile: bytes, tmp_path: Path
) -> None:
    """Without a browser, which tests/browser has: the markup alone."""
    raw = redis.Redis.from_url(redis_server.url)
    *uploads, _ = spoil(Farm(redis_server.client()), raw, hostile)
    flower = Flower(tmp_path, redis_server.url)
    pages = ["uploads", "uploads?q=onerror", "uploads/datatable", "uploads/summary", "farm"]
    try:
        for path in (*pages, *(f"upload/{one}" for one in uploads)):
            status, _, text = flower.get(f"/{path}", LOGIN.encode())
            assert status == 200, path
            shown = json.dumps(json.loads(text)["data"]) if "datatable" in path else text
            assert "<img src=x" not in shown, path
            assert [
                one for one in shown.splitlines() if not one.replace("\t", "").isprintable()
            ] == []
            assert "onerror" in shown, path
    finally:
        flower.child.kill()
