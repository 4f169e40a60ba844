"""Deadline's event plug-in and post-task script on a Windows Worker, with the zip as a library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox import RedisServer
from tests.sandbox.process import NO_REDIS
from tests.windows.conftest import Hook, take
from tests.windows.python import windows_path

pytestmark = [pytest.mark.windows, pytest.mark.timeout(900)]

FRAMES = ("1001", "1003")
SEQUENCES = [
    "P:/sh 010/f.%04d.exr [1001-1003]",
    "\\\\server/prod/größe/z_%04d.exr [1001-1003]",
]
SINGLES = ["P:/sh 010/f.1001.exr", "\\\\server/prod/größe/z_1001.exr"]


def finish(hook: Hook, folder: str = "") -> list[tuple[str, str]]:
    """Let a job of two outputs finish, then a task of its first frame; return what is logged."""
    folder = folder or windows_path(hook.pyz.parent)
    said = json.loads(hook.windows.run_module("inside_deadline", folder, *FRAMES, env=hook.env))
    log: list[tuple[str, str]] = [(level, text) for level, text in said]
    return log


def kept(prod: Path) -> list[dict[str, Any]]:
    manifests = sorted((prod / "spool" / "manifests").glob("*.jsonl"))
    return [json.loads(line) for path in manifests for line in path.read_text().splitlines()]


def test_outputs_on_drives_and_shares_are_queued(hook: Hook, redis_server: RedisServer) -> None:
    log = finish(hook)

    assert [level for level, _ in log] == ["info", "info"]
    assert all(": 2 queued" in text for _, text in log)
    assert [request.path for request in take(redis_server)] == [*SEQUENCES, *SINGLES]
    assert kept(hook.prod) == []


def test_outputs_are_kept_while_redis_is_away(hook: Hook, redis_server: RedisServer) -> None:
    url = hook.env["FARMHAUL_REDIS_URL"]
    hook.env["FARMHAUL_REDIS_URL"] = NO_REDIS

    log = finish(hook)

    assert [level for level, _ in log] == ["info", "info"]
    assert all("Redis is not reachable" in text and "kept in P:\\spool" in text for _, text in log)
    assert len(kept(hook.prod)) == 4
    hook.env["FARMHAUL_REDIS_URL"] = url
    done = hook.run("flush-spool")
    assert (done.code, done.said) == (0, "")
    assert [request.path for request in take(redis_server)] == [*SEQUENCES, *SINGLES]


def test_a_worker_without_the_hook_says_so(hook: Hook) -> None:
    log = finish(hook, "C:\\Program Files\\nothing")
    assert [level for level, _ in log] == ["warning", "warning"]
    assert all("farmhaul-hook.pyz is not on this host" in text for _, text in log)
