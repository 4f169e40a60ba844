"""Workers are restarted one after the other while uploads go on, as in an upgrade."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.farm import Farm
from tests.sandbox import Sandbox

FILES = 60
#: So slow that a restart always finds uploads under way.
SLOW = {"FARMHAUL_BANDWIDTH": "1M"}


@pytest.mark.chaos
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
