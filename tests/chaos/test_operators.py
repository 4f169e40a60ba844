"""What people do to a farm at work: cancel, retry, stop workers, choose a pool."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.chaos.conftest import MakeFarm
from tests.chaos.scenes import (
    wait_arrived,
    wait_arrived_soon,
    wait_sending,
)
from tests.farm import Farm, wait_until


def test_an_upload_that_is_cancelled_in_mid_transfer_stops_between_blocks(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "bandwidth_bytes_s", 1e6)
    asked = farm.upload(content=40_000_000)
    wait_sending(farm, asked)
    done = farm.cli("cancel", asked.id)
    assert done.stdout == f"{asked.id} cancelled\n"
    farm.wait_quiet(20)  # some 40 s if it went on
    assert farm.states([asked.id]) == ["cancelled"]
    assert farm.sandbox.ftrack.locations(asked.component_id) == []

    farm.sandbox.faults.clear()
    farm.cli("retry", asked.id)
    wait_arrived(farm, [asked])


def test_all_that_failed_is_located_after_retry_and_nothing_stored_is_sent_again(
    farm: Farm,
) -> None:
    farm.sandbox.faults.add(
        "ftrack", "error", "PermissionError", action="create", content="the show is locked"
    )
    asked = farm.upload_many(10)
    farm.wait_state([one.id for one in asked], "failed")
    assert "the show is locked" in farm.cli("status", "--failed").stdout
    farm.sandbox.faults.clear()
    assert farm.cli("retry", "--failed").returncode == 0
    wait_arrived(farm, asked)
    assert len(farm.sandbox.store.puts()) == 10


def test_workers_that_stop_warmly_one_after_the_other_lose_nothing(
    make_farm: MakeFarm,
) -> None:
    farm = make_farm(workers=2)
    farm.sandbox.faults.add("store", "latency_s", 0.3)
    asked = farm.upload_many(120)
    for worker in (*farm.workers, *farm.workers):
        wait_until(lambda: farm.redis.hlen("unacked") or farm.redis.zcard("farmhaul:state:located"))
        worker.restart()
    wait_arrived(farm, asked)
    assert len(farm.sandbox.store.puts()) == 120, "what was begun was ended, or handed back"


def test_hooks_that_fire_four_at_once_for_many_files_make_one_upload_each(farm: Farm) -> None:
    first = [farm.upload() for _ in range(3)]
    four_times = [one for one in first for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        again = list(
            pool.map(
                lambda upload: farm.upload(path=upload.path, component_id=upload.component_id),
                four_times,
            )
        )
    assert again == four_times
    wait_arrived(farm, first)
    farm.wait_quiet()
    assert len(farm.sandbox.store.puts()) == 3


@pytest.mark.chaos
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_leases_and_fences_work_with_any_pool(make_farm: MakeFarm, pool: str) -> None:
    options = (f"--pool={pool}", "--concurrency=2", "--without-gossip", "--without-mingle")
    farm = make_farm(workers=2, options=options)
    slow = farm.sandbox.faults.add("store", "bandwidth_bytes_s", 1e6)
    long = farm.upload(content=6_000_000)
    wait_arrived(farm, [long])
    assert len(farm.sandbox.store.puts()) == 1, "its lease was renewed"

    asked = farm.upload(content=20_000_000)
    wait_sending(farm, asked)
    [name] = [farm.record(asked.id)["worker"]]
    busy = next(worker for worker in farm.workers if name.startswith(f"{worker.name}@"))
    busy.kill()
    farm.sandbox.faults.remove(slow)
    wait_arrived(farm, [asked])


def test_no_stage_waits_in_a_worker_while_another_is_idle(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "latency_s", 1)
    began = time.monotonic()
    asked = farm.upload_many(200)
    wait_arrived_soon(farm, asked)
    assert time.monotonic() - began < 60
