"""ftrack or the store is down, or the credentials are wrong: uploads wait, and arrive later."""

from __future__ import annotations

import time
import uuid
from functools import partial
from typing import Any

import pytest

from tasks.records.keys import gate_key
from tests.chaos.conftest import MakeFarm
from tests.chaos.healing import let_time_pass
from tests.chaos.invariants import sent_to_and_fro
from tests.chaos.scenes import errors_of, wait_arrived_soon
from tests.farm import Farm, Upload, wait_until

HTML = {"body": "<html><body>502 Bad Gateway</body></html>"}

#: How a service treats all requests during an outage.
OUTAGES: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "ftrack answers 503": (("ftrack", "status", 503), {}),
    "ftrack answers 429 with Retry-After": (
        ("ftrack", "status", 429),
        {"headers": {"Retry-After": "600"}},
    ),
    "a proxy before ftrack answers HTML": (("ftrack", "status", 502), HTML),
    "ftrack resets connections": (("ftrack", "reset"), {}),
    "answers of ftrack are lost": (("ftrack", "lost_answer"), {}),
    "answers of ftrack are cut short": (("ftrack", "junk"), {"done": True}),
    "the store answers 500": (("store", "status", 500), {}),
    "the store resets connections midway": (("store", "reset"), {"after_bytes": 5000}),
    "answers of the store are lost": (("store", "lost_answer"), {}),
}


#: All are waited out in the same way; every run of the tests tries these.
OFTEN = ("ftrack answers 503", "answers of ftrack are lost", "the store resets connections midway")


@pytest.mark.parametrize(
    "outage",
    [pytest.param(outage, marks=[] if outage in OFTEN else pytest.mark.slow) for outage in OUTAGES],
)
def test_an_outage_is_waited_out_and_reported(farm: Farm, outage: str) -> None:
    arguments, conditions = OUTAGES[outage]
    number = farm.sandbox.faults.add(*arguments, **conditions)
    with farm.frozen():
        uploads = farm.upload_many(10)
    wait_until(lambda: farm.redis.zcard("farmhaul:state:retrying") > 0)
    wait_until(lambda: any("waiting for" in errors_of(farm, upload) for upload in uploads))
    assert farm.sandbox.faults.struck(number) > 0
    farm.sandbox.faults.clear()
    wait_arrived_soon(farm, uploads)
    assert len(farm.sandbox.ftrack.entities("ComponentLocation")) == 10


@pytest.mark.parametrize("service", ["ftrack", "store"])
def test_a_slow_service_is_waited_for(farm: Farm, service: Any) -> None:
    farm.sandbox.faults.add(service, "latency_s", 2)
    uploads = [farm.upload()]
    wait_arrived_soon(farm, uploads)
    assert len(farm.sandbox.store.puts()) == 1


def test_a_retry_after_of_an_hour_is_capped(farm: Farm) -> None:
    farm.sandbox.faults.add("ftrack", "status", 429, headers={"Retry-After": "3600"}, times=1)
    upload = farm.upload()
    farm.wait_state([upload.id], "retrying")
    record = farm.record(upload.id)
    assert 880 < float(record["due"]) - float(record["updated"]) <= 900
    wait_arrived_soon(farm, [upload])


@pytest.mark.slow
def test_a_sequence_alone_waits_out_an_outage(make_farm: MakeFarm) -> None:
    """One publish is too little to close a gate, so it has to hold itself back."""
    farm = make_farm(workers=2)
    farm.upload_many(2)
    farm.wait_quiet()
    outage = farm.sandbox.faults.add("ftrack", "status", 503)
    files = [farm.make_file(f"a.{number}.exr", 2000, "seq") for number in range(1001, 1101)]
    version_id = farm.sandbox.ftrack.version_id
    with farm.frozen():
        [row] = farm.enqueue(
            "--version-id", version_id, "--name", "a", f"{files[0].parent}/a.%d.exr"
        )
    time.sleep(15)
    calls = farm.sandbox.faults.struck(outage)
    assert 2 <= calls <= 80, "its two batches wait longer each time"

    farm.sandbox.faults.clear()
    wait_until(lambda: farm.states([str(row["upload_id"])]) == ["located"], 60)
    assert list(sent_to_and_fro(farm.folder)) == []


#: Uploads that wait for the end of an outage.
BACKLOG = 5000


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("service", ["ftrack", "store"])
def test_an_outage_with_a_backlog_floods_neither_memory_nor_redis(
    make_farm: MakeFarm, service: Any
) -> None:
    farm = make_farm(workers=2)
    outage = farm.sandbox.faults.add(service, "status", 503)
    with farm.frozen():  # both meet the outage at once: a gate needs two nodes
        uploads = enqueue_backlog(farm, BACKLOG)
    wait_until(lambda: farm.sandbox.faults.struck(outage) >= 3, 60, lambda: counts_of(farm))
    before = memory_kib(farm)
    wait_until(lambda: taken_in(farm) == BACKLOG, 120, lambda: counts_of(farm))
    most_unacked = most_messages = 0
    # A flood would build up: this samples for longer than the first waits between attempts.
    end = time.monotonic() + 6
    while time.monotonic() < end:
        most_unacked = max(most_unacked, farm.redis.hlen("unacked"))
        most_messages = max(most_messages, farm.redis.llen("farmhaul\x06\x163"))
        time.sleep(0.1)
    calls = farm.sandbox.faults.struck(outage)
    held = farm.redis.zcard("farmhaul:state:pending")
    assert most_unacked <= 8, "two workers of two processes, which prefetch one task each"
    assert most_messages <= 40 + BACKLOG / 50
    assert memory_kib(farm) - before < 60_000, "KiB, of six processes"
    assert held >= BACKLOG - 50 * 8, "uploads that cannot run yet stay pending"
    # Up to eight batches of 50 may be in flight when the gate (a circuit breaker) closes. Then each
    # probe is a call, and closes it again.
    probes = int(farm.redis.hget(gate_key(service), "closed") or 0)
    assert calls <= 50 * 8 + probes, "the gate holds calls back"

    farm.sandbox.faults.clear()

    def more_than(before: int) -> bool:
        let_time_pass(farm.redis)
        return bool(farm.redis.zcard("farmhaul:state:located") > before)

    located = 0
    while located < BACKLOG:  # a slow machine takes long, but goes on
        wait_until(partial(more_than, located), 120, lambda: counts_of(farm))
        located = farm.redis.zcard("farmhaul:state:located")
    assert len(farm.sandbox.ftrack.entities("ComponentLocation")) == len(uploads)


def taken_in(farm: Farm) -> int:
    """Return how many uploads have a record."""
    return sum(farm.redis.zcard(key) for key in farm.redis.scan_iter("farmhaul:state:*"))


def counts_of(farm: Farm) -> str:
    """Describe how many uploads are in each state, and the gates."""
    counts = {key: farm.redis.zcard(key) for key in farm.redis.scan_iter("farmhaul:state:*")}
    gates = {key: farm.redis.hgetall(key) for key in farm.redis.scan_iter("farmhaul:gate:*")}
    return f"{counts} {gates}"


def enqueue_backlog(farm: Farm, count: int) -> list[Upload]:
    path = farm.make_file("main.exr", 2000)
    rows = [{"id": str(uuid.uuid4()), "name": "main"} for _ in range(count)]
    for start in range(0, count, 1000):
        farm.sandbox.ftrack.api(
            *(
                {"action": "create", "entity_type": "FileComponent", "entity_data": row}
                for row in rows[start : start + 1000]
            )
        )
    uploads = farm.enqueue_manifest({"path": str(path), "component_id": row["id"]} for row in rows)
    return [Upload(row["upload_id"], row["component_id"], path) for row in uploads]


def memory_kib(farm: Farm) -> int:
    """Return the resident memory of all worker processes."""
    pids = [pid for worker in farm.workers for pid in (worker.pid, *worker.pool_pids())]
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status", encoding="utf-8") as status:
            total += next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    return total


def test_with_wrong_credentials_uploads_wait_and_workers_log_it(farm: Farm) -> None:
    refusal = farm.sandbox.faults.add(
        "ftrack", "error", "InvalidCredentialsError", error_code="api_credentials_invalid"
    )
    with farm.frozen():
        uploads = farm.upload_many(60)
    wait_until(lambda: farm.redis.exists("farmhaul:gate:credentials"))
    farm.wait_quiet()
    waiting = [upload for upload in uploads if farm.states([upload.id]) == ["retrying"]]
    assert "refuses the credentials" in errors_of(farm, waiting[0])
    says = "refuses the credentials"
    wait_until(lambda: any(says in worker.log_text() for worker in farm.workers))
    # The gate lets one upload a minute try: only batches that had begun met the refusal. Each node
    # tried both of them, with a call for the batch and for its halves; twice that is still few.
    assert farm.sandbox.faults.struck(refusal) <= 24
    # A node may just try what the other one has handed over.
    ids = [upload.id for upload in uploads]
    wait_until(lambda: set(farm.states(ids)) <= {"retrying", "pending"})

    farm.sandbox.faults.clear()
    wait_arrived_soon(farm, uploads)


@pytest.mark.slow
def test_corrected_credentials_let_uploads_continue_by_themselves(
    farm: Farm,
) -> None:
    farm.sandbox.faults.add(
        "ftrack", "error", "InvalidCredentialsError", error_code="api_credentials_invalid"
    )
    uploads = farm.upload_many(10)
    wait_until(lambda: farm.redis.exists("farmhaul:gate:credentials"))
    farm.sandbox.faults.clear()
    farm.wait_located([upload.id for upload in uploads], timeout_s=120)


def test_a_refusal_of_ftrack_is_quoted_with_the_next_step(farm: Farm) -> None:
    with farm.frozen():
        uploads = farm.upload_many(4)
        gone = farm.upload()
        farm.sandbox.ftrack.delete("FileComponent", gone.component_id)
    farm.wait_state([gone.id], "failed")
    error = errors_of(farm, gone)
    assert f"component {gone.component_id} does not exist in ftrack" in error
    assert "farmhaul retry" in error
    wait_arrived_soon(farm, uploads)

    farm.sandbox.ftrack.create("FileComponent", id=gone.component_id, name="main")
    farm.cli("retry", gone.id)
    wait_arrived_soon(farm, [gone])
