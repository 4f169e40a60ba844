"""Workers are restarted one after the other while uploads go on, as in an upgrade."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.farm import Farm, wait_until
from tests.helpers.newer_release import VERSION, install_newer_release
from tests.sandbox import Sandbox
from workers.health import VERSION as OURS

FILES = 60
#: So slow that a restart always finds uploads under way.
SLOW = {"FARMHAUL_BANDWIDTH": "1M"}


@pytest.mark.slow
def test_a_rolling_restart_loses_nothing_and_sends_nothing_twice(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    version = sandbox.ftrack.version_id
    with Farm(sandbox, tmp_path / "farm", workers=2, database=14, env=SLOW) as farm:
        ids: list[str] = []
        for worker in farm.workers:
            entries = [
                {"path": str(farm.make_file(f"{n}.exr", 50_000)), "version_id": version}
                | {"name": f"{worker.name} {n}"}
                for n in range(FILES)
            ]
            ids += [one["upload_id"] for one in farm.enqueue_manifest(entries)]
            assert "located" not in farm.states(ids[-1:])
            worker.restart()
        farm.wait_located(ids)

        components = [farm.record(one)["component"] for one in ids]
        assert len(set(components)) == 2 * FILES
        assert sorted(sandbox.ftrack.locations(one) != [] for one in components) == [True] * 120
        assert len(sandbox.store.puts()) == 2 * FILES


@pytest.mark.slow
@pytest.mark.timeout(600)  # the wheel is built for each Python of this machine
def test_two_versions_share_a_farm_and_lose_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    newer = install_newer_release(tmp_path / "newer")
    version = sandbox.ftrack.version_id
    with Farm(sandbox, tmp_path / "farm", workers=1, database=14) as farm:

        def enqueue(count: int, env: dict[str, str], what: str) -> list[str]:
            files = [farm.make_file(f"{what}.{n}.exr", 20_000) for n in range(count)]
            shared = ("--version-id", version)
            made = [farm.enqueue(file, *shared, "--name", file.name, env=env) for file in files]
            return [one["upload_id"] for [one] in made]

        def told(what: str) -> str:
            # What is wrong with the farm is on stderr.
            lines = farm.cli("status").stderr.splitlines()
            return next((line for line in lines if what in line), "")

        ahead = enqueue(2, newer, "ahead")
        ours = enqueue(2, {}, "ours")
        farm.wait_located(ours, 120)
        wait_until(lambda: f"what {OURS} cannot read:" in told("upgrade workers"), 60)
        assert farm.states(ahead) == ["", ""]

        farm.add(env=newer)
        farm.wait_located(ahead, 120)
        wait_until(
            lambda: f"another version of farmhaul than most nodes: {OURS}" in told("w1@"), 60
        )
        assert f"not {VERSION}" in told("w1@")

        both = [*enqueue(3, newer, "newer"), *enqueue(3, {}, "older")]
        farm.wait_located(both, 120)
        [old, _] = farm.workers
        last = [*enqueue(2, newer, "last"), *enqueue(2, {}, "last older")]
        old.stop()
        farm.wait_located(last, 120)

        assert len(sandbox.store.puts()) == len(ahead + ours + both + last)
        refused = farm.redis.hgetall("farmhaul:totals")
        assert [name for name in refused if name.startswith("refused")] == []
