"""Redis is restarted, killed, cut off, frozen or full: clients reconnect, nothing is lost."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from tests.chaos.conftest import MakeFarm
from tests.chaos.scenes import wait_arrived, wait_attempt_to_connect, wait_sending
from tests.farm import Farm, Upload, wait_until
from tests.sandbox import RedisServer, Sandbox


def all_consume(farm: Farm) -> None:
    """Check that each worker takes tasks: it completes an upload while the others are frozen."""
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


def uploads_through_redis_kills(farm: Farm, kills: int) -> list[Upload]:
    """Enqueue without a pause while Redis is killed again and again."""
    uploads: list[Upload] = []
    going_on = threading.Event()
    going_on.set()

    def hooks() -> None:
        while going_on.is_set():
            uploads.extend(farm.upload_many(8, 50_000))

    farm.sandbox.faults.add("store", "latency_s", 0.1)
    with ThreadPoolExecutor(1) as pool:
        hooking = pool.submit(hooks)
        for _ in range(kills):
            located = farm.redis.zcard("farmhaul:state:located") + 8
            wait_until(lambda: farm.redis.zcard("farmhaul:state:located") >= located, 60)  # noqa: B023
            farm.sandbox.redis.kill()
            farm.sandbox.redis.start()
        going_on.clear()
        hooking.result()
    return uploads


def out_of_memory(farm: Farm) -> int:
    """Return how many commands Redis has refused because it is full."""
    errors = farm.redis.info("errorstats")
    return int(errors.get("errorstat_OOM", {"count": 0})["count"])


def times_lost(farm: Farm) -> list[float]:
    """Return when the worker has given up a connection, in seconds."""
    lines = farm.workers[0].log_text().splitlines()
    lost = [line for line in lines if "Connection to broker lost" in line]
    return [datetime.fromisoformat(line[1:24].replace(",", ".")).timestamp() for line in lost]


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kills", [1, 10])
def test_redis_kills_under_load_cost_neither_workers_nor_uploads(
    make_farm: MakeFarm, tmp_path: object, kills: int
) -> None:
    farm = make_farm(workers=2, env={"FARMHAUL_SPOOL": f"{tmp_path}/spool"})
    pids = [worker.pid for worker in farm.workers]
    uploads = uploads_through_redis_kills(farm, kills)
    wait_arrived(farm, uploads, timeout_s=90)
    assert [(worker.pid, worker.alive) for worker in farm.workers] == [(p, True) for p in pids]
    all_consume(farm)


def test_a_redis_that_restarts_in_mid_upload_sends_nothing_twice(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "bandwidth_bytes_s", 1e6)
    upload = farm.upload(content=5_000_000)
    wait_sending(farm, upload)
    farm.sandbox.redis.restart()
    wait_arrived(farm, [upload])
    assert [put["status"] for put in farm.sandbox.store.puts()] == [200]


@pytest.mark.slow
def test_workers_reconnect_when_their_connections_are_cut(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "latency_s", 0.5)
    uploads = farm.upload_many(120)
    for _ in range(4):
        wait_until(lambda: farm.redis.hlen("unacked") or farm.redis.zcard("farmhaul:state:located"))
        for kind in ("normal", "pubsub"):
            farm.redis.execute_command("CLIENT", "KILL", "TYPE", kind)
    wait_arrived(farm, uploads)
    all_consume(farm)


@pytest.mark.slow
def test_a_redis_that_hangs_for_longer_than_the_lease_is_waited_for(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "latency_s", 0.5)
    uploads = farm.upload_many(60)
    with farm.sandbox.redis.client() as client:
        client.execute_command("DEBUG", "SLEEP", "4")
    wait_arrived(farm, uploads)
    assert all(worker.alive for worker in farm.workers)


@pytest.mark.slow
def test_a_full_redis_refuses_uploads_and_keeps_those_it_has(
    farm: Farm,
) -> None:
    farm.sandbox.faults.add("store", "latency_s", 1)
    uploads = farm.upload_many(60)
    wait_sending(farm, uploads[0])
    used = int(farm.redis.info("memory")["used_memory"])
    farm.redis.config_set("maxmemory", str(used // 2))
    try:
        path = farm.make_file("more.exr", 100)
        component_id = farm.sandbox.ftrack.add_component("more.exr")
        done = farm.cli("enqueue", path, "--component-id", component_id)
        assert done.returncode == 3
        assert "Redis is full" in done.stderr
        assert done.stdout == ""
        met = out_of_memory(farm)
        wait_until(lambda: out_of_memory(farm) >= met + 4)  # workers meet the full Redis, too
    finally:
        farm.redis.config_set("maxmemory", "0")
    wait_arrived(farm, uploads)
    assert all(worker.alive for worker in farm.workers)
    all_consume(farm)


@pytest.mark.slow
def test_a_worker_waits_for_a_redis_that_refuses(sandbox: Sandbox, tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    server.start()
    farm = Farm(sandbox, tmp_path / "farm", 1, command="farmhaul")
    for env in (farm.env, farm.workers[0].env):
        env["FARMHAUL_REDIS_URL"] = server.url
    farm.redis = server.client()
    refusals = [
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "Redis is a replica"),
        (("ACL", "SETUSER", "default", "-brpop"), ("ACL", "SETUSER", "default", "+@all"), "access"),
    ]
    try:
        with farm:
            for refuse, accept, says in refusals:
                farm.redis.execute_command(*refuse)
                wait_until(lambda: says in farm.workers[0].log_text(), 30, farm.workers[0].log_text)  # noqa: B023
                seen = len(times_lost(farm))
                wait_until(lambda: len(times_lost(farm)) >= seen + 4)  # noqa: B023
                first, *_, last = times_lost(farm)[seen : seen + 4]
                assert last - first > 2.5, "a worker must not storm a Redis that refuses"
                farm.redis.execute_command(*accept)
                wait_arrived(farm, [farm.upload()])
            log = farm.workers[0].log_text()
    finally:
        server.stop()
    assert "Traceback" not in log
    assert "In Celery 5.1 we introduced" not in log


@pytest.mark.slow
def test_tasks_that_redis_refuses_are_logged_as_lines(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "latency_s", 1)
    uploads = farm.upload_many(60)
    wait_sending(farm, uploads[0])
    farm.redis.config_set("min-replicas-to-write", 1)
    try:
        refused = "redis_refuses Redis has too few replicas"
        wait_until(lambda: any(refused in worker.log_text() for worker in farm.workers))
    finally:
        farm.redis.config_set("min-replicas-to-write", 0)
    wait_arrived(farm, uploads)
    for worker in farm.workers:
        lines = worker.log_text().splitlines()
        assert [line[:200] for line in lines if line.startswith("Traceback")] == []


@pytest.mark.slow
def test_a_wait_outlives_a_redis_that_is_killed(farm: Farm) -> None:
    slow = farm.sandbox.faults.add("store", "latency_s", 3)
    path = farm.make_file("main.exr", 100)
    component_id = farm.sandbox.ftrack.add_component("main.exr")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            farm.cli, "enqueue", path, "--component-id", component_id, "--wait", "--timeout", "60"
        )
        wait_until(lambda: farm.sandbox.faults.struck(slow))
        with farm.frozen():  # nobody else tries to connect
            farm.sandbox.redis.kill()
            wait_attempt_to_connect(farm.sandbox.redis.port)
            farm.sandbox.redis.start()
        done = waiting.result()
    assert (done.returncode, done.stderr) == (0, "")
    assert '"state": "located"' in done.stdout
