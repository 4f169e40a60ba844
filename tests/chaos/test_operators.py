"""What operators do to a working farm: cancel, retry, stop workers, choose a pool."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.chaos.conftest import MakeFarm
from tests.chaos.scenes import (
    wait_arrived,
    wait_arrived_soon,
    wait_sending,
)
from tests.farm import Farm, wait_until


def test_an_upload_cancelled_mid_transfer_stops_between_blocks(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "bandwidth_bytes_s", 1e6)
    upload = farm.upload(content=40_000_000)
    wait_sending(farm, upload)
    done = farm.cli("cancel", upload.id)
    assert done.stdout == f"{upload.id} cancelled\n"
    farm.wait_quiet(20)  # sending the rest would take 40 s
    assert farm.states([upload.id]) == ["cancelled"]
    assert farm.sandbox.ftrack.locations(upload.component_id) == []

    farm.sandbox.faults.clear()
    farm.cli("retry", upload.id)
    wait_arrived(farm, [upload])


def test_retry_locates_what_failed_without_sending_stored_files(
    farm: Farm,
) -> None:
    farm.sandbox.faults.add(
        "ftrack", "error", "PermissionError", action="create", content="the show is locked"
    )
    uploads = farm.upload_many(10)
    farm.wait_state([upload.id for upload in uploads], "failed")
    assert "the show is locked" in farm.cli("status", "--failed").stdout
    farm.sandbox.faults.clear()
    assert farm.cli("retry", "--failed").returncode == 0
    wait_arrived(farm, uploads)
    assert len(farm.sandbox.store.puts()) == 10


@pytest.mark.slow
def test_workers_that_stop_warmly_one_by_one_lose_nothing(
    make_farm: MakeFarm,
) -> None:
    farm = make_farm(workers=2)
    farm.sandbox.faults.add("store", "latency_s", 0.3)
    uploads = farm.upload_many(120)
    for worker in (*farm.workers, *farm.workers):
        wait_until(lambda: farm.redis.hlen("unacked") or farm.redis.zcard("farmhaul:state:located"))
        worker.restart()
    wait_arrived(farm, uploads)
    assert len(farm.sandbox.store.puts()) == 120, "what a worker began it finished or handed back"


def test_four_hooks_at_once_for_each_of_many_files_make_one_upload(farm: Farm) -> None:
    first = [farm.upload() for _ in range(3)]
    four_times = [upload for upload in first for _ in range(4)]
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


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_leases_and_fences_work_with_any_pool(make_farm: MakeFarm, pool: str) -> None:
    options = (f"--pool={pool}", "--concurrency=2", "--without-gossip", "--without-mingle")
    farm = make_farm(workers=2, options=options)
    slow = farm.sandbox.faults.add("store", "bandwidth_bytes_s", 1e6)
    long = farm.upload(content=6_000_000)
    wait_arrived(farm, [long])
    assert len(farm.sandbox.store.puts()) == 1, "its lease was renewed"

    upload = farm.upload(content=20_000_000)
    wait_sending(farm, upload)
    name = farm.record(upload.id)["worker"]
    busy = next(worker for worker in farm.workers if name.startswith(f"{worker.name}@"))
    busy.kill()
    farm.sandbox.faults.remove(slow)
    wait_arrived(farm, [upload])


def test_a_backlog_is_shared_by_all_workers(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "latency_s", 1)
    with farm.frozen():
        uploads = farm.upload_many(200)
    wait_arrived_soon(farm, uploads, timeout_s=60)
    batches = [
        len(set(re.findall(r"farmhaul\.put_file\[([0-9a-f-]+)\]", worker.log_text())))
        for worker in farm.workers
    ]
    assert min(batches) >= 1, batches
