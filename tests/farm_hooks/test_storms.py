"""Many hooks at once, Redis that is away, and workers that see files in other places."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.transfer.models import LARGE_BYTES
from tests.farm import Farm, wait_until
from tests.farm_hooks.conftest import Installed
from tests.farm_hooks.stand import enqueue_bare, settings_of, wait_stored

pytestmark = pytest.mark.chaos

HOOKS_AT_ONCE = 50
Tell = Callable[[str, Sequence[float]], None]


@pytest.fixture
def rows(farm: Farm) -> list[tuple[Path, str]]:
    """Files, each with the component that it is for."""
    numbers = range(HOOKS_AT_ONCE)
    component = farm.sandbox.ftrack.add_component
    return [(farm.make_file(f"f.{number:04d}.exr", 500), component()) for number in numbers]


def fire(installed: Installed, row: tuple[Path, str]) -> float:
    """Let a job's end call the hook; the seconds for which the manager had to wait."""
    upload = {"path": str(row[0]), "component_id": row[1]}
    code, text, seconds = enqueue_bare(installed.folder, sys.executable, [upload])
    assert code == 0, text
    return float(seconds)


def wait_each_stored_once(farm: Farm, rows: Sequence[tuple[Path, str]]) -> None:
    wait_stored(farm, [path.read_bytes() for path, _ in rows], 120)
    for path, component_id in rows:
        assert farm.sandbox.store.read(component_id) == path.read_bytes()
        assert len(farm.sandbox.store.puts(component_id)) == 1


def test_fifty_hooks_at_once_lose_no_file(
    farm: Farm, installed: Installed, rows: list[tuple[Path, str]], tell_p95: Tell
) -> None:
    installed.configure(**settings_of(farm))
    spool = Path(farm.env["FARMHAUL_SPOOL"])
    with ThreadPoolExecutor(HOOKS_AT_ONCE) as pool:
        seconds = list(pool.map(lambda row: fire(installed, row), rows))

    tell_p95("hooks at once", seconds)
    wait_each_stored_once(farm, rows)
    wait_until(lambda: not [*spool.rglob("*.json*")], 120)


def test_hooks_that_fire_while_redis_is_down_lose_no_file(
    farm: Farm, installed: Installed, rows: list[tuple[Path, str]], tell_p95: Tell
) -> None:
    installed.configure(**settings_of(farm))
    spool = Path(farm.env["FARMHAUL_SPOOL"])  # the worker's, as on a render node
    with ThreadPoolExecutor(HOOKS_AT_ONCE) as pool:
        # Some are under way when Redis goes, some come while it is away.
        some = pool.map(lambda row: fire(installed, row), rows[:10])
        farm.sandbox.redis.stop()
        others = pool.map(lambda row: fire(installed, row), rows[10:])
        seconds = [*some, *others]
    # Each hook has spooled its file, or farmhaul would still be trying: an outage of many seconds.
    spooled = len(rows) - 10
    wait_until(lambda: len([*spool.glob("*.json")]) >= spooled, 120)
    farm.sandbox.redis.start()

    tell_p95("hooks at once without Redis", seconds)
    wait_each_stored_once(farm, rows)
    wait_until(lambda: not [*spool.rglob("*.json*")], 120)


def test_a_worker_maps_the_path_of_a_hook_without_mounts(farm: Farm, installed: Installed) -> None:
    installed.configure(**settings_of(farm))
    frames = [farm.make_file(f"f.{number}.exr", 500, "v 1") for number in (1, 2)]
    large = farm.make_file("large.mov", b"", "v 1")
    os.truncate(large, LARGE_BYTES + 1)
    folder = f"W:\\{large.parent.relative_to(farm.sandbox.storage)}"
    version = ("--version-id", farm.sandbox.ftrack.version_id)
    for path in (rf"{folder}\f.%d.exr [1-2]", rf"{folder}\large.mov"):
        command = [str(installed.folder / "farmhaul-hook"), path, *version]
        subprocess.run(command, env={}, check=True, timeout=60)

    wait_stored(farm, [path.read_bytes() for path in (*frames, large)], 120)
    names = {one["name"] for one in farm.sandbox.ftrack.entities("Component")}
    assert {"f", "large"} <= names
