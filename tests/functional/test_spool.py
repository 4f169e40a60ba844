"""While Redis is unreachable, a hook spools its request on disk; it is sent later, once."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import time
from pathlib import Path

import pytest

from tests.farm import Farm, wait_until
from tests.functional.conftest import MakeFarm
from tests.sandbox.process import NO_REDIS


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def fire_without_redis(farm: Farm, spool: Path, *options: str) -> dict[str, str]:
    """Enqueue a file without a Redis; return the line on stdout."""
    path = farm.make_file("main.exr", 1000)
    component_id = farm.sandbox.ftrack.add_component("main.exr")
    away = {
        "FARMHAUL_REDIS_URL": NO_REDIS,
        "FARMHAUL_SPOOL": str(spool),
    }
    done = farm.cli("enqueue", path, "--component-id", component_id, *options, env=away)
    assert done.returncode == 0, done
    assert done.stderr.startswith("farmhaul: Redis is not reachable")
    assert str(spool) in done.stderr
    upload: dict[str, str] = json.loads(done.stdout)
    assert upload["state"] == "spooled"
    return upload


def flushed(done: subprocess.CompletedProcess[str]) -> int:
    """Return how many uploads ``flush-spool`` has sent, by the number that its line begins with."""
    assert done.returncode == 0, done
    [line] = done.stdout.splitlines()
    return int(line.split()[0])


def test_flush_spool_sends_spooled_uploads_once(farm: Farm, spool: Path) -> None:
    upload = fire_without_redis(farm, spool)
    [kept] = spool.iterdir()
    assert stat.S_IMODE(spool.stat().st_mode) == 0o700
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600

    env = {"FARMHAUL_SPOOL": str(spool)}
    assert flushed(farm.cli("flush-spool", env=env)) == 1
    assert flushed(farm.cli("flush-spool", env=env)) == 0
    farm.wait_located([upload["upload_id"]])
    assert list(spool.iterdir()) == []
    assert len(farm.sandbox.store.puts()) == 1


def test_the_next_enqueue_sends_spooled_uploads(farm: Farm, spool: Path) -> None:
    first = fire_without_redis(farm, spool)
    [second] = farm.enqueue(
        farm.make_file("main.exr", 1000),
        "--component-id",
        farm.sandbox.ftrack.add_component("main.exr"),
        env={"FARMHAUL_SPOOL": str(spool)},
    )
    farm.wait_located([first["upload_id"], second["upload_id"]])
    assert list(spool.iterdir()) == []


def test_a_worker_on_this_host_sends_spooled_uploads(make_farm: MakeFarm, spool: Path) -> None:
    farm = make_farm(env={"FARMHAUL_SPOOL": str(spool)}, options=("-c", "1"))
    upload = fire_without_redis(farm, spool)
    wait_until(lambda: not list(spool.iterdir()))
    farm.wait_located([upload["upload_id"]])


def leave_manifest(spool: Path, name: str, *lines: dict[str, str], age_s: float = 100) -> Path:
    """Write a manifest as a hook that could not run farmhaul leaves it."""
    path = spool / "manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    os.utime(path, (time.time() - age_s, time.time() - age_s))
    return path


def test_an_abandoned_manifest_counts_from_when_it_was_written(farm: Farm, spool: Path) -> None:
    old, new, other = (farm.make_file(name, 1000) for name in ("old.exr", "new.exr", "b.exr"))
    contested, free = (farm.sandbox.ftrack.add_component() for _ in range(2))
    [newer] = farm.enqueue(new, "--component-id", contested)
    left = leave_manifest(
        spool,
        "1-left.jsonl",
        {"path": str(old), "component_id": contested},
        {"path": str(other), "component_id": free},
    )
    at_its_hook = leave_manifest(
        spool, "2-young.jsonl.new", {"path": str(old), "component_id": contested}, age_s=0
    )
    env = {"FARMHAUL_SPOOL": str(spool)}
    away = farm.cli("flush-spool", env={**env, "FARMHAUL_REDIS_URL": NO_REDIS})
    assert (away.returncode, left.exists()) == (3, True)

    assert flushed(farm.cli("flush-spool", env=env)) == 2
    assert (left.exists(), at_its_hook.exists()) == (False, True)
    farm.wait_located([newer["upload_id"]])
    farm.wait_quiet()
    assert farm.sandbox.store.read(contested) == new.read_bytes()
    assert farm.sandbox.store.read(free) == other.read_bytes()
    assert len(farm.sandbox.store.puts(contested)) == 1


def test_an_unreadable_spool_file_is_put_aside(farm: Farm, spool: Path) -> None:
    upload = fire_without_redis(farm, spool)
    (spool / "0000.json").write_text("{")
    (spool / "0001.json").write_text("[" * 100_000)  # too deep for the parser
    broken = leave_manifest(spool, "left.jsonl", {"path": "/a.exr", "component_id": "x"})
    done = farm.cli("flush-spool", env={"FARMHAUL_SPOOL": str(spool)})
    assert flushed(done) == 1
    assert "left.jsonl renamed to .bad: manifest line 1: component_id 'x'" in done.stderr
    assert {path.name for path in spool.rglob("*.*")} == {"0000.bad", "0001.bad", "left.bad"}
    assert broken.with_suffix(".bad").read_text()
    farm.wait_located([upload["upload_id"]])


def test_a_spool_that_cannot_be_read_is_one_line_and_exit_2(farm: Farm, tmp_path: Path) -> None:
    no_folder = tmp_path / "file"
    no_folder.touch()
    done = farm.cli("flush-spool", env={"FARMHAUL_SPOOL": str(no_folder)})
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"farmhaul: FARMHAUL_SPOOL: {no_folder} cannot be read: ")
    assert line.endswith("Not a directory; it must be a folder; remove it")


def test_a_spool_that_cannot_be_written_is_exit_3(farm: Farm, tmp_path: Path) -> None:
    no_folder = tmp_path / "file"
    no_folder.touch()
    away = {
        "FARMHAUL_REDIS_URL": NO_REDIS,
        "FARMHAUL_SPOOL": str(no_folder),
    }
    path = farm.make_file("main.exr", 1000)
    component_id = farm.sandbox.ftrack.add_component("main.exr")
    done = farm.cli("enqueue", path, "--component-id", component_id, env=away)
    assert (done.returncode, done.stdout) == (3, "")
    [line] = done.stderr.splitlines()
    assert "FARMHAUL_SPOOL" in line
    assert f"cannot be written either: Not a directory in {no_folder}" in line
