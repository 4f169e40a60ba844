"""The time limit of a task: a task ends itself before, and one that does not is killed."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tasks.transfer.multipart import plan_runs
from tests.chaos.conftest import MakeFarm
from tests.chaos.scenes import wait_arrived
from tests.farm import wait_until

PARTS, PART_BYTES = 17, 8 << 20
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
def test_a_slow_run_of_parts_goes_on_as_a_new_task(make_farm: MakeFarm) -> None:
    """Three processes share the line: each part that has begun ends, and each is sent once."""
    farm = make_farm(
        options=("--concurrency=3", *OPTIONS[1:], "--time-limit=10"),
        env={"FARMHAUL_BANDWIDTH": "8M"},
    )
    [worker] = farm.workers
    pool = worker.pool_pids()
    path = farm.make_file("long.mov", bytes(PARTS * PART_BYTES))
    upload = farm.upload("--version-id", farm.sandbox.ftrack.version_id, path=path)

    wait_arrived(farm, [upload], 60)
    assert sorted(worker.pool_pids()) == sorted(pool)
    taken = {*re.findall(r"farmhaul\.put_parts\[([0-9a-f-]+)\]", worker.log_text())}
    assert len(taken) > len(plan_runs(PARTS * PART_BYTES)), "no run has ended itself"
    sent = Counter(put["part_number"] for put in farm.sandbox.store.puts(upload.component_id))
    assert sent == Counter(range(1, PARTS + 1))
    path.unlink()


@pytest.mark.slow
def test_a_task_that_hangs_is_killed_at_the_limit(make_farm: MakeFarm) -> None:
    farm = make_farm(options=(*OPTIONS, "--time-limit=3"))
    [worker] = farm.workers
    slow = farm.sandbox.faults.add("ftrack", "latency_s", 20)
    upload = farm.upload()

    wait_until(lambda: "Hard time limit (3" in worker.log_text(), 30)
    farm.sandbox.faults.remove(slow)
    wait_arrived(farm, [upload])
