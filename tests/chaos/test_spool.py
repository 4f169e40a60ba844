"""Redis is down when a hook fires: the request is spooled on local disk and sent once, later."""

from __future__ import annotations

import json
import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.chaos.conftest import MakeFarm
from tests.chaos.scenes import wait_arrived
from tests.farm import BIN, Farm, Upload, wait_until
from tests.sandbox.process import NO_REDIS


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def hook(make_farm: MakeFarm, spool: Path) -> Farm:
    """A node with hooks that spool, and without a worker."""
    return make_farm(workers=0, env={"FARMHAUL_SPOOL": str(spool)})


@pytest.fixture
def spooled(hook: Farm, spool: Path) -> Upload:
    """An upload that was enqueued while Redis was down."""
    path = hook.make_file("main.exr", 1000)
    component_id = hook.sandbox.ftrack.add_component("main.exr")
    hook.sandbox.redis.kill()
    [upload] = hook.enqueue(path, "--component-id", component_id)
    assert upload["state"] == "spooled"
    assert len(list(spool.glob("*.json"))) == 1
    hook.sandbox.redis.start()
    return Upload(upload["upload_id"], component_id, path)


def check_sent_once(hook: Farm, spool: Path, upload: Upload) -> None:
    wait_arrived(hook, [upload])
    hook.wait_quiet()
    assert list(spool.iterdir()) == []
    assert len(hook.sandbox.store.puts(upload.component_id)) == 1


def test_without_a_spool_a_hook_exits_with_3(make_farm: MakeFarm) -> None:
    hook = make_farm(workers=0)
    path = hook.make_file("main.exr", 1000)
    for break_redis in (hook.sandbox.redis.kill, lambda: hook.sandbox.redis.pause(15)):
        hook.sandbox.redis.start()
        break_redis()
        done = hook.cli("enqueue", path, "--component-id", "00000000-0000-4000-8000-000000000000")
        # The hook did not wait for Redis: it is still down, or still frozen.
        assert not hook.sandbox.redis.answers()
        assert done.returncode == 3
        assert "Redis is not reachable" in done.stderr
        assert done.stdout == ""
    hook.sandbox.redis.kill()


def test_what_was_spooled_is_sent_by_the_next_hook(
    hook: Farm, spool: Path, spooled: Upload
) -> None:
    path = hook.make_file("next.exr", 10)
    component_id = hook.sandbox.ftrack.add_component("next.exr")
    hook.enqueue(path, "--component-id", component_id)
    hook.add()
    check_sent_once(hook, spool, spooled)


def test_a_spooled_upload_is_sent_by_flush_spool(hook: Farm, spool: Path, spooled: Upload) -> None:
    done = hook.cli("flush-spool")
    assert (done.returncode, done.stdout.split()[0]) == (0, "1")
    hook.add()
    check_sent_once(hook, spool, spooled)


def test_a_spooled_upload_is_sent_by_a_worker_of_its_host(
    hook: Farm, spool: Path, spooled: Upload
) -> None:
    hook.add()
    check_sent_once(hook, spool, spooled)


def test_many_hooks_may_spool_and_flush_at_once(hook: Farm, spool: Path) -> None:
    ftrack = hook.sandbox.ftrack
    rows = [(hook.make_file("main.exr", 100), ftrack.add_component()) for _ in range(8)]
    hook.sandbox.redis.kill()
    with ThreadPoolExecutor(4) as pool:

        def spool_one(row: tuple[Path, str]) -> Upload:
            path, component_id = row
            [upload] = hook.enqueue(path, "--component-id", component_id)
            assert upload["state"] == "spooled"
            return Upload(upload["upload_id"], component_id, path)

        # Each twice: two calls are two files in the spool, and one upload.
        uploads = list(pool.map(spool_one, [*rows, *rows]))
    assert len(list(spool.glob("*.json"))) == 16
    hook.sandbox.redis.start()
    hook.add()
    with ThreadPoolExecutor(3) as pool:
        for done in pool.map(hook.cli, ["flush-spool"] * 3):
            assert done.returncode == 0, done.stderr
    wait_arrived(hook, uploads)
    wait_until(lambda: list(spool.iterdir()) == [])
    assert len(hook.sandbox.store.puts()) == 8


def test_a_spooled_upload_does_not_replace_a_newer_file(
    hook: Farm, spool: Path, spooled: Upload
) -> None:
    # The newer version is another file: v002 for the same component.
    newer = hook.make_file("main_v002.exr", b"better pixels")
    kept = {path.name: path.read_bytes() for path in spool.iterdir()}
    [path] = spool.iterdir()
    path.unlink()  # as in the spool of another host, which is flushed later
    upload = hook.upload(path=newer, component_id=spooled.component_id)
    hook.add()
    wait_arrived(hook, [upload])

    for name, content in kept.items():
        assert json.loads(content)
        (spool / name).write_bytes(content)
    assert hook.cli("flush-spool").returncode == 0
    hook.wait_quiet()
    assert hook.sandbox.store.read(spooled.component_id) == b"better pixels"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_hooks_that_are_killed_lose_nothing_they_have_answered(
    make_farm: MakeFarm, spool: Path
) -> None:
    """Killed at any moment, with Redis there or away; no file is sent twice."""
    farm = make_farm(workers=1, env={"FARMHAUL_SPOOL": str(spool)})
    dice = random.Random(11)
    began = time.monotonic()
    assert farm.cli("enqueue", "--help").returncode == 0
    usual_s = time.monotonic() - began
    asked: list[str] = []
    answered: list[Upload] = []
    for number in range(80):
        path = farm.make_file(f"{number}.exr", 1000)
        asked.append(farm.sandbox.ftrack.add_component(path.name))
        away = {"FARMHAUL_REDIS_URL": NO_REDIS} if number % 3 == 0 else {}
        with subprocess.Popen(
            [BIN / "farmhaul", "enqueue", path, "--component-id", asked[-1]],
            env=farm.environment(away),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as hook:
            time.sleep(dice.uniform(0, 2 * usual_s))
            hook.kill()
            printed = hook.communicate()[0]
        answered += [
            Upload(upload["upload_id"], asked[-1], path)
            for upload in map(json.loads, printed.splitlines())
        ]
    assert 10 < len(answered) < 80, "kills came too early or too late to tell anything"

    # A worker sends what killed hooks have left, once it is sure that they are gone.
    wait_until(lambda: not list(spool.glob("*.json*")), 60)
    wait_arrived(farm, answered)
    farm.wait_quiet()
    assert max(len(farm.sandbox.store.puts(component_id)) for component_id in asked) == 1
