"""ftrack or the store down, credentials wrong: tasks wait, nothing floods, all arrives after."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest

from tests.chaos.conftest import MakeFarm
from tests.chaos.healing import let_time_pass
from tests.chaos.scenes import errors_of, wait_arrived_soon
from tests.farm import Farm, Upload, wait_until

HTML = {"body": "<html><body>502 Bad Gateway</body></html>"}
NO_LOCATION = {"action": "create"}

#: What a service does to all requests while it is down.
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


#: Each is waited out in the same way; these are tried by every run of the tests.
OFTEN = ("ftrack answers 503", "answers of ftrack are lost", "the store resets connections midway")


@pytest.mark.parametrize(
    "outage",
    [
        pytest.param(outage, marks=[] if outage in OFTEN else pytest.mark.chaos)
        for outage in OUTAGES
    ],
)
def test_an_outage_is_waited_out_and_told(farm: Farm, outage: str) -> None:
    arguments, conditions = OUTAGES[outage]
    number = farm.sandbox.faults.add(*arguments, **conditions)
    with farm.frozen():
        asked = farm.upload_many(10)
    wait_until(lambda: farm.redis.zcard("farmhaul:state:retrying") > 0)
    wait_until(lambda: any("waiting for" in errors_of(farm, one) for one in asked))
    assert farm.sandbox.faults.struck(number) > 0
    farm.sandbox.faults.clear()
    wait_arrived_soon(farm, asked)
    assert len(farm.sandbox.ftrack.entities("ComponentLocation")) == 10


@pytest.mark.parametrize("service", ["ftrack", "store"])
def test_a_slow_service_is_waited_for(farm: Farm, service: Any) -> None:
    farm.sandbox.faults.add(service, "latency_s", 2)
    asked = [farm.upload()]
    wait_arrived_soon(farm, asked)
    assert len(farm.sandbox.store.puts()) == 1


def test_a_retry_after_of_an_hour_is_capped(farm: Farm) -> None:
    farm.sandbox.faults.add("ftrack", "status", 429, headers={"Retry-After": "3600"}, times=1)
    asked = farm.upload()
    farm.wait_state([asked.id], "retrying")
    record = farm.record(asked.id)
    assert 880 < float(record["due"]) - float(record["updated"]) <= 900
    wait_arrived_soon(farm, [asked])


@pytest.mark.parametrize(
    ("service", "backlog"),
    [
        pytest.param("ftrack", 1000, marks=pytest.mark.chaos),
        pytest.param("store", 1000, marks=pytest.mark.chaos),
        pytest.param("ftrack", 10_000, marks=[pytest.mark.chaos, pytest.mark.timeout(600)]),
        pytest.param("store", 10_000, marks=[pytest.mark.chaos, pytest.mark.timeout(600)]),
    ],
)
def test_an_outage_with_a_backlog_floods_neither_memory_nor_redis(
    make_farm: MakeFarm, service: Any, backlog: int
) -> None:
    farm = make_farm(workers=2)
    outage = farm.sandbox.faults.add(service, "status", 503)
    asked = enqueue_backlog(farm, backlog)
    wait_until(lambda: farm.sandbox.faults.struck(outage) >= 3, 60, lambda: counts_of(farm))
    before = memory_kib(farm)
    most_unacked = most_messages = 0
    end = time.monotonic() + 6
    while time.monotonic() < end:
        most_unacked = max(most_unacked, farm.redis.hlen("unacked"))
        most_messages = max(most_messages, farm.redis.llen("farmhaul\x06\x163"))
        time.sleep(0.1)
    calls = farm.sandbox.faults.struck(outage)
    held = farm.redis.zcard("farmhaul:state:pending")
    assert most_unacked <= 8, "two workers of two processes, and one task ahead for each"
    assert most_messages <= 40 + backlog / 50
    assert memory_kib(farm) - before < 60_000, "KiB, of six processes"
    assert held >= backlog - 50 * 8, "what can not be done yet stays pending"
    assert calls < 50 * 8, "a gate holds them back"

    farm.sandbox.faults.clear()

    def all_located() -> bool:
        let_time_pass(farm.redis)
        return bool(farm.redis.zcard("farmhaul:state:located") == len(asked))

    wait_until(all_located, 60 + backlog / 50, lambda: counts_of(farm))
    assert len(farm.sandbox.ftrack.entities("ComponentLocation")) == len(asked)


def counts_of(farm: Farm) -> str:
    """How many uploads are in each state, and which gates there are."""
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
    return [Upload(one["upload_id"], one["component_id"], path) for one in uploads]


def memory_kib(farm: Farm) -> int:
    """Resident memory of all worker processes."""
    pids = [pid for worker in farm.workers for pid in (worker.pid, *worker.pool_pids())]
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status", encoding="utf-8") as status:
            total += next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    return total


def test_with_wrong_credentials_tasks_wait_and_the_worker_says_so_loudly(farm: Farm) -> None:
    refusal = farm.sandbox.faults.add(
        "ftrack", "error", "InvalidCredentialsError", error_code="api_credentials_invalid"
    )
    with farm.frozen():
        asked = farm.upload_many(60)
    wait_until(lambda: farm.redis.exists("farmhaul:gate:credentials"))
    farm.wait_quiet()
    waiting = [one for one in asked if farm.states([one.id]) == ["retrying"]]
    assert "refuses the credentials" in errors_of(farm, waiting[0])
    assert any("refuses the credentials" in worker.log_text() for worker in farm.workers)
    # The gate lets one batch try each minute: no more than the batches that were under way.
    assert farm.sandbox.faults.struck(refusal) <= 4
    assert set(farm.states(one.id for one in asked)) <= {"retrying", "pending"}

    farm.sandbox.faults.clear()
    wait_arrived_soon(farm, asked)


@pytest.mark.chaos
def test_with_credentials_that_are_right_again_tasks_go_on_within_two_minutes(
    farm: Farm,
) -> None:
    farm.sandbox.faults.add(
        "ftrack", "error", "InvalidCredentialsError", error_code="api_credentials_invalid"
    )
    asked = farm.upload_many(10)
    wait_until(lambda: farm.redis.exists("farmhaul:gate:credentials"))
    farm.sandbox.faults.clear()
    farm.wait_located([one.id for one in asked], timeout_s=120)


def test_what_ftrack_refuses_fails_in_its_own_words_and_with_the_next_step(farm: Farm) -> None:
    with farm.frozen():
        asked = farm.upload_many(4)
        gone = farm.upload()
        farm.sandbox.ftrack.delete("FileComponent", gone.component_id)
    farm.wait_state([gone.id], "failed")
    error = errors_of(farm, gone)
    assert gone.component_id in error
    assert "ftrack refused" in error
    assert "farmhaul retry" in error
    wait_arrived_soon(farm, asked)

    farm.sandbox.ftrack.create("FileComponent", id=gone.component_id, name="main")
    farm.cli("retry", gone.id)
    wait_arrived_soon(farm, [gone])
