"""Many hooks at once, Redis that is away, and workers that see files in other places."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.transfer.models import LARGE_BYTES
from tests.farm import Farm, wait_until
from tests.farm_hooks.conftest import Installed, TellP95
from tests.farm_hooks.stand import enqueue_bare, settings_of, wait_stored
from tests.sandbox.process import NO_REDIS

pytestmark = pytest.mark.slow

HOOKS_AT_ONCE = 50
PYTHON = (sys.executable, "-I", "-S", "-X", "utf8")
#: How much longer a hook may take than an empty Python. It is about 3, and 11 without bytecode.
TIMES_EMPTY = 6.0
#: Python starts fifty times at once, perhaps on a machine that others use as well.
GENEROUS_S = 60.0


@pytest.fixture
def rows(farm: Farm) -> list[tuple[Path, str]]:
    """Files, each with the component that it is for."""
    numbers = range(HOOKS_AT_ONCE)
    component = farm.sandbox.ftrack.add_component
    return [(farm.make_file(f"f.{number:04d}.exr", 500), component()) for number in numbers]


def fire(installed: Installed, row: tuple[Path, str]) -> float:
    """Let a job's end call the hook; the seconds for which the manager had to wait."""
    upload = {"path": str(row[0]), "component_id": row[1]}
    code, text, seconds = enqueue_bare(installed.file, sys.executable, [upload])
    assert code == 0, text
    return float(seconds)


def start_at_once(commands: Sequence[tuple[str | Path, ...]], errors: Path) -> list[float]:
    """Start programs as a manager does, and return the seconds that each of them took.

    This process only waits, because all else that it did would take the CPU from the programs.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    outputs = [(os.POSIX_SPAWN_OPEN, 2, errors, flags, 0o600), (os.POSIX_SPAWN_DUP2, 2, 1)]
    began: dict[int, float] = {}
    seconds = []
    group = 0  # the first program leads a group, so that nothing but these is waited for
    for command in commands:
        moment = time.perf_counter()
        pid = os.posix_spawn(command[0], command, {}, file_actions=outputs, setpgroup=group)
        began[pid] = moment
        group = group or pid
    while began:
        pid, status = os.waitpid(-group, 0)
        seconds.append(time.perf_counter() - began.pop(pid))
        assert status == 0, errors.read_text()
    return seconds


def wait_each_stored_once(farm: Farm, rows: Sequence[tuple[Path, str]]) -> None:
    wait_stored(farm, [path.read_bytes() for path, _ in rows], 120)
    for path, component_id in rows:
        assert farm.sandbox.store.read(component_id) == path.read_bytes()
        assert len(farm.sandbox.store.puts(component_id)) == 1


@pytest.mark.parametrize("url", ["", NO_REDIS], ids=["Redis is there", "Redis is away"])
def test_fifty_commands_at_once_lose_no_file(
    farm: Farm,
    installed: Installed,
    rows: list[tuple[Path, str]],
    url: str,
    tell_p95: TellP95,
) -> None:
    installed.configure(**settings_of(farm, **({"FARMHAUL_REDIS_URL": url} if url else {})))
    hook = (*PYTHON, installed.file, "enqueue", "--no-stat")
    hooks = [(*hook, path, "--component-id", component_id) for path, component_id in rows]
    empty = [(*PYTHON, "-c", "pass")] * len(hooks)
    errors = installed.folder / "errors"

    with farm.frozen():  # a controller of a farm has no workers
        least = tell_p95("empty Pythons at once", start_at_once(empty, errors))
        seconds = start_at_once(hooks, errors)

    away = " while Redis is away" if url else ""
    p95 = tell_p95(f"{HOOKS_AT_ONCE} commands at once{away}", seconds, least)
    assert p95 < TIMES_EMPTY * least
    wait_each_stored_once(farm, rows)
    spool = Path(farm.env["FARMHAUL_SPOOL"])  # a worker on this host sends it
    wait_until(lambda: not [*spool.rglob("*.json*")], 120)


def test_fifty_managers_that_import_it_at_once_lose_no_file(
    farm: Farm, installed: Installed, rows: list[tuple[Path, str]], tell_p95: TellP95
) -> None:
    installed.configure(**settings_of(farm))
    with farm.frozen(), ThreadPoolExecutor(HOOKS_AT_ONCE) as pool:
        seconds = list(pool.map(lambda row: fire(installed, row), rows))

    assert tell_p95(f"{HOOKS_AT_ONCE} hooks at once, in process", seconds) < GENEROUS_S
    wait_each_stored_once(farm, rows)


def test_hooks_that_fire_while_redis_is_down_lose_no_file(
    farm: Farm, installed: Installed, rows: list[tuple[Path, str]], tell_p95: TellP95
) -> None:
    installed.configure(**settings_of(farm))
    spool = Path(farm.env["FARMHAUL_SPOOL"])  # the worker's, as on a render node
    with ThreadPoolExecutor(HOOKS_AT_ONCE) as pool:
        # Some are under way when Redis goes, some come while it is away.
        some = pool.map(lambda row: fire(installed, row), rows[:10])
        farm.sandbox.redis.stop()
        others = pool.map(lambda row: fire(installed, row), rows[10:])
        seconds = [*some, *others]
    assert len([*spool.rglob("*.jsonl")]) >= len(rows) - 10
    farm.sandbox.redis.start()

    tell_p95("hooks at once without Redis, in process", seconds)
    wait_each_stored_once(farm, rows)
    wait_until(lambda: not [*spool.rglob("*.json*")], 120)
    # What a worker could not acknowledge meanwhile is delivered again after its lease.
    farm.wait_quiet(120)


def test_a_worker_maps_the_path_of_a_hook_without_mounts(farm: Farm, installed: Installed) -> None:
    installed.configure(**settings_of(farm))
    frames = [farm.make_file(f"f.{number}.exr", 500, "v 1") for number in (1, 2)]
    large = farm.make_file("large.mov", b"", "v 1")
    os.truncate(large, LARGE_BYTES + 1)
    folder = f"W:\\{large.parent.relative_to(farm.sandbox.storage)}"
    version = ("--version-id", farm.sandbox.ftrack.version_id)
    for path in (rf"{folder}\f.%d.exr [1-2]", rf"{folder}\large.mov"):
        command = [*installed.command, "enqueue", "--no-stat", path, *version]
        subprocess.run(command, env={}, check=True, timeout=60)

    wait_stored(farm, [path.read_bytes() for path in (*frames, large)], 120)
    names = {one["name"] for one in farm.sandbox.ftrack.entities("Component")}
    assert {"f", "large_mov"} <= names
