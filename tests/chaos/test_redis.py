"""Redis restarted, killed, cut off, frozen, full: workers and hooks reconnect, nothing is lost."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.chaos.conftest import MakeFarm
from tests.chaos.scenes import wait_arrived, wait_sending
from tests.farm import Farm, Upload, wait_until


def all_consume(farm: Farm) -> None:
    """Each worker takes tasks: with the others frozen, it alone gets an upload done."""
    for worker in farm.workers:
        others = [other for other in farm.workers if other is not worker]
        for other in others:
            other.freeze()
        try:
            farm.redis.delete("farmhaul:reconciler")
            wait_arrived(farm, [farm.upload()])
        finally:
            for other in others:
                other.thaw()


def uploads_through_redis_kills(farm: Farm, kills: int, pause_s: float) -> list[Upload]:
    """Hooks go on and on while Redis is killed again and again."""
    asked: list[Upload] = []
    going_on = threading.Event()
    going_on.set()

    def hooks() -> None:
        while going_on.is_set():
            asked.extend(farm.upload_many(8, 50_000))

    farm.sandbox.faults.add("store", "latency_s", 0.1)
    with ThreadPoolExecutor(1) as pool:
        hooking = pool.submit(hooks)
        for _ in range(kills):
            time.sleep(pause_s)  # under load, wherever that may be
            farm.sandbox.redis.kill()
            farm.sandbox.redis.start()
        going_on.clear()
        hooking.result()
    return asked


@pytest.mark.parametrize(
    "kills", [1, pytest.param(10, marks=[pytest.mark.chaos, pytest.mark.timeout(400)])]
)
def test_redis_kills_under_load_leave_all_workers_alive_and_all_uploads_located(
    make_farm: MakeFarm, tmp_path: object, kills: int
) -> None:
    farm = make_farm(workers=2, env={"FARMHAUL_SPOOL": f"{tmp_path}/spool"})
    pids = [worker.pid for worker in farm.workers]
    asked = uploads_through_redis_kills(farm, kills, 2)
    wait_arrived(farm, asked, timeout_s=90)
    assert [(worker.pid, worker.alive) for worker in farm.workers] == [(p, True) for p in pids]
    all_consume(farm)


def test_a_redis_that_restarts_in_mid_upload_sends_nothing_twice(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "bandwidth_bytes_s", 1e6)
    asked = farm.upload(content=5_000_000)
    wait_sending(farm, asked)
    farm.sandbox.redis.restart()
    wait_arrived(farm, [asked])
    assert [put["status"] for put in farm.sandbox.store.puts()] == [200]


@pytest.mark.chaos
def test_cut_connections_are_made_anew(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "latency_s", 0.5)
    asked = farm.upload_many(120)
    for _ in range(4):
        wait_until(lambda: farm.redis.hlen("unacked") or farm.redis.zcard("farmhaul:state:located"))
        for kind in ("normal", "pubsub"):
            farm.redis.execute_command("CLIENT", "KILL", "TYPE", kind)
    wait_arrived(farm, asked)
    all_consume(farm)


def test_a_redis_that_hangs_for_longer_than_the_lease_is_waited_for(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "latency_s", 0.5)
    asked = farm.upload_many(60)
    with farm.sandbox.redis.client() as client:
        client.execute_command("DEBUG", "SLEEP", "4")
    wait_arrived(farm, asked)
    assert all(worker.alive for worker in farm.workers)


def test_a_full_redis_takes_no_uploads_and_says_so_and_what_it_has_goes_on_later(
    farm: Farm,
) -> None:
    farm.sandbox.faults.add("store", "latency_s", 1)
    asked = farm.upload_many(60)
    wait_sending(farm, asked[0])
    used = int(farm.redis.info("memory")["used_memory"])
    farm.redis.config_set("maxmemory", str(used // 2))
    try:
        path = farm.make_file("more.exr", 100)
        component_id = farm.sandbox.ftrack.add_component("more.exr")
        done = farm.cli("enqueue", path, "--component-id", component_id)
        assert done.returncode == 3
        assert "Redis is full" in done.stderr
        assert done.stdout == ""
        time.sleep(2)  # workers meet the full Redis in all they do
    finally:
        farm.redis.config_set("maxmemory", "0")
    wait_arrived(farm, asked)
    assert all(worker.alive for worker in farm.workers)
    all_consume(farm)


@pytest.mark.chaos
def test_a_wait_outlives_a_redis_that_is_killed(farm: Farm) -> None:
    slow = farm.sandbox.faults.add("store", "latency_s", 3)
    path = farm.make_file("main.exr", 100)
    component_id = farm.sandbox.ftrack.add_component("main.exr")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            farm.cli, "enqueue", path, "--component-id", component_id, "--wait", "--timeout", "60"
        )
        wait_until(lambda: farm.sandbox.faults.struck(slow))
        farm.sandbox.redis.kill()
        time.sleep(1)
        farm.sandbox.redis.start()
        done = waiting.result()
    assert (done.returncode, done.stderr) == (0, "")
    assert '"state": "located"' in done.stdout
