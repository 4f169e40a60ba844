"""Worker process or node killed (SIGKILL, power): others go on within lease + 5 s."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.chaos.conftest import LEASE_S, MakeFarm
from tests.chaos.scenes import busy_worker, wait_arrived, wait_sending
from tests.farm import Farm, Victim, wait_until

#: A second worker takes the work over within lease + 5 s; the rest is for a busy machine.
GRACE_S = 10


@pytest.mark.parametrize(
    "victim",
    ["child", *(pytest.param(other, marks=pytest.mark.chaos) for other in ("group", "parent"))],
)
def test_a_worker_that_is_killed_in_mid_upload_has_its_work_done_by_others(
    farm: Farm, victim: Victim
) -> None:
    slow = farm.sandbox.faults.add("store", "bandwidth_bytes_s", 1e6)
    asked = farm.upload(content=8_000_000)
    wait_sending(farm, asked)
    worker = busy_worker(farm)
    if victim == "child":
        for pid in worker.pool_pids():  # one of them has the upload
            os.kill(pid, signal.SIGKILL)
    else:
        worker.kill(victim)
    killed = time.monotonic()
    wait_until(lambda: len(farm.sandbox.store.puts(asked.component_id)) > 1, 30)
    taken_over_s = time.monotonic() - killed
    farm.sandbox.faults.remove(slow)

    wait_arrived(farm, [asked])
    assert taken_over_s < LEASE_S + 5 + GRACE_S


def test_a_batch_of_which_half_is_stored_goes_on_with_the_other_half(farm: Farm) -> None:
    # The third file of the batch stalls; what is stored by then is not sent again.
    with farm.frozen():
        asked = farm.upload_many(20)
    stall = farm.sandbox.faults.add("store", "latency_s", 20, component_id=asked[12].component_id)
    wait_sending(farm, asked[12])
    busy_worker(farm).kill()
    farm.sandbox.faults.remove(stall)
    wait_arrived(farm, asked)


@pytest.mark.chaos
def test_an_upload_longer_than_the_lease_is_sent_once(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=2)
    farm.sandbox.faults.add("store", "bandwidth_bytes_s", 1e6)
    asked = farm.upload(content=8_000_000)
    wait_arrived(farm, [asked])
    assert len(farm.sandbox.store.puts()) == 1


@pytest.mark.chaos
def test_an_upload_of_25_s_under_a_lease_of_8_s_is_sent_once(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=2, lease_s=8)
    farm.sandbox.faults.add("store", "bandwidth_bytes_s", 1e6)
    asked = farm.upload(content=25_000_000)
    wait_arrived(farm, [asked], timeout_s=60)
    assert len(farm.sandbox.store.puts()) == 1


def test_a_call_to_ftrack_longer_than_the_lease_is_made_once(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=2)
    farm.sandbox.faults.add("ftrack", "latency_s", 6, action="create")
    wait_arrived(farm, [farm.upload()])
    assert farm.sandbox.ftrack.count_calls("create") == 1


@pytest.mark.chaos
def test_a_file_that_kills_its_worker_each_time_fails_and_the_others_arrive(
    make_farm: MakeFarm,
) -> None:
    options = ("--concurrency=1", "-I", "tests.chaos.poison")
    farm = make_farm(workers=1, options=options)
    with farm.frozen():
        asked = farm.upload_many(8)
        poison = farm.upload(name="poison.exr")
    wait_arrived(farm, asked, timeout_s=60)
    farm.wait_state([poison.id], "failed", timeout_s=60)

    record = farm.record(poison.id)
    assert record["error_kind"] == "WorkerKilled"
    assert "it killed its worker 5 times" in record["error"]
    assert "farmhaul retry" in record["error"]
    assert farm.sandbox.ftrack.locations(poison.component_id) == []
    farm.wait_quiet()
    died = farm.workers[0].log_text().count("exited with 'signal 9")
    assert died == 5


def test_a_large_file_whose_worker_is_killed_goes_on_with_the_parts_that_are_missing(
    farm: Farm,
) -> None:
    farm.sandbox.faults.add("store", "bandwidth_bytes_s", 12e6)
    asked = farm.upload(content=70_000_000)
    wait_until(lambda: sum(put["status"] == 200 for put in farm.sandbox.store.puts()) >= 1, 40)
    stored = {put["part_number"] for put in farm.sandbox.store.puts() if put["status"] == 200}
    for worker in farm.workers:
        worker.kill()
    farm.sandbox.faults.clear()
    began = time.time()
    farm.start()

    wait_arrived(farm, [asked], timeout_s=60)
    # A part whose end nobody has noted may be sent again, all others are not.
    again = [put["part_number"] for put in farm.sandbox.store.puts() if put["started_at"] > began]
    assert len(stored & set(again)) <= 2
    assert len(again) == len(set(again))


@pytest.mark.chaos
@pytest.mark.timeout(400)
def test_120_uploads_arrive_through_kills_of_workers_and_redis_and_all_faults(
    farm: Farm,
) -> None:
    from tests.chaos.troubles import add_faults

    add_faults(farm, "120", percent=5)
    asked = [one for _ in range(4) for one in farm.upload_many(30, 200_000)]
    for number in range(4):
        time.sleep(2)  # under way, wherever that may be
        farm.workers[number % 2].kill()
        farm.start()
        if number == 1:
            farm.sandbox.redis.kill()
            farm.sandbox.redis.start()
    ids = [one.id for one in asked]
    wait_until(lambda: not {"pending", "active", "retrying"} & set(farm.states(ids)), 240)
    farm.sandbox.faults.clear()
    farm.cli("retry", "--failed")  # ftrack's no, which is one of the faults, is final
    wait_arrived(farm, asked, timeout_s=120)
    assert len(farm.sandbox.ftrack.entities("ComponentLocation")) == 120
