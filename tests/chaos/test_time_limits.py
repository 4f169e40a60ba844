"""The time limit of a task: a task ends itself before, and one that does not is killed."""

from __future__ import annotations

import pytest

from tests.chaos.conftest import MakeFarm
from tests.chaos.scenes import wait_arrived
from tests.farm import wait_until

OPTIONS = ("--concurrency=1", "--without-gossip", "--without-mingle")


@pytest.mark.slow
def test_a_slow_batch_goes_on_as_a_new_task(make_farm: MakeFarm) -> None:
    farm = make_farm(options=(*OPTIONS, "--time-limit=8"), env={"FARMHAUL_BANDWIDTH": "200k"})
    [worker] = farm.workers
    pool = worker.pool_pids()
    with farm.frozen():
        uploads = farm.upload_many(40, size=50_000)

    wait_arrived(farm, uploads, 60)
    assert worker.pool_pids() == pool
    wait_until(lambda: "uploads_given_back" in worker.log_text())


@pytest.mark.slow
def test_a_task_that_hangs_is_killed_at_the_limit(make_farm: MakeFarm) -> None:
    farm = make_farm(options=(*OPTIONS, "--time-limit=3"))
    [worker] = farm.workers
    slow = farm.sandbox.faults.add("ftrack", "latency_s", 20)
    upload = farm.upload()

    wait_until(lambda: "Hard time limit (3" in worker.log_text(), 30)
    farm.sandbox.faults.remove(slow)
    wait_arrived(farm, [upload])
