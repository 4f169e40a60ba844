"""Someone who has read the queues sends old messages once more, and changes records."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tasks.intake.envelope import make_body, sign
from tasks.intake.inbox import INBOX
from tests.farm import Farm, wait_until
from tests.functional.conftest import MakeFarm

pytestmark = pytest.mark.slow


def overheard(farm: Farm, task: str) -> tuple[str, str]:
    """Wait until a worker has a message of this task; return it, and the id of its chain."""
    found: list[dict[str, Any]] = []

    def hears() -> bool:
        messages = [json.loads(entry)[0] for entry in farm.redis.hvals("unacked")]
        found.extend(one for one in messages if one["headers"]["task"] == f"farmhaul.{task}")
        return bool(found)

    wait_until(hears)
    return json.dumps(found[0]), str(found[0]["headers"]["root_id"])


def test_an_overheard_message_registers_no_bytes_that_are_not_there(sealed: Farm) -> None:
    """The record of another upload says that its bytes are stored, with copied signatures."""
    sealed.sandbox.faults.add("ftrack", "latency_s", 1.0)
    theirs = sealed.upload(content=b"their bytes")
    message, claim_id = overheard(sealed, "create_component_location")
    sealed.sandbox.faults.clear()
    sealed.wait_located([theirs.id])
    record = sealed.record(theirs.id)

    with sealed.frozen():
        ours = sealed.upload(content=b"our bytes")
        lie = {name: record[name] for name in ("file", "stored", "stored_seal")}
        lie |= {"state": "active", "claim": claim_id, "stage": "3", "done": "3"}
        sealed.redis.hset(f"farmhaul:upload:{ours.id}", mapping=lie)
        sealed.redis.zrem("farmhaul:pending", ours.id)
        sealed.redis.sadd(f"farmhaul:claim:{claim_id}", ours.id)
        sealed.redis.zadd("farmhaul:claims", {claim_id: time.time() + 60})
        sealed.redis.lpush("farmhaul", message)

    sealed.wait_located([ours.id])
    [put] = sealed.sandbox.store.puts(ours.component_id)
    assert put["status"] == 200
    assert sealed.sandbox.store.read(ours.component_id) == b"our bytes"


@pytest.mark.parametrize("size", [1000, 70 << 20], ids=["small", "large"])
def test_a_deleted_component_does_not_come_back_without_its_bytes(sealed: Farm, size: int) -> None:
    component_id = sealed.sandbox.ftrack.add_component("f.exr")
    path = sealed.make_file("f.exr", size)
    [upload] = sealed.enqueue(path, "--component-id", component_id)
    key = f"farmhaul:upload:{upload['upload_id']}"
    sealed.wait_located([upload["upload_id"]])
    before = sealed.redis.hgetall(key)
    ftrack = sealed.sandbox.ftrack
    for location in ftrack.locations(component_id):
        ftrack.delete("ComponentLocation", location["id"])
    sealed.sandbox.store.delete(component_id)

    sealed.redis.hdel(key, "located")
    lie = {name: before[name] for name in ("joined", "joined_seal") if name in before}
    sealed.redis.hset(key, mapping={"state": "pending", **lie})
    sealed.redis.persist(key)
    sealed.redis.zadd("farmhaul:pending", {upload["upload_id"]: 1})

    wait_until(lambda: ftrack.locations(component_id), 60)
    assert sealed.sandbox.store.size(component_id) == size


def test_an_overheard_fetch_overwrites_no_newer_work(sealed: Farm) -> None:
    stored = sealed.upload(content=b"from the store")
    sealed.wait_located([stored.id])
    there = sealed.make_file("x", 1).parent
    assert there != stored.path.parent
    sealed.sandbox.faults.add("ftrack", "latency_s", 1.0)
    sealed.cli("fetch", stored.component_id, "--to", there, "--enqueue")
    message, _ = overheard(sealed, "fetch_component")
    sealed.sandbox.faults.clear()
    fetched = there / stored.path.name
    wait_until(fetched.exists)
    sealed.wait_quiet()

    fetched.write_bytes(b"newer work")
    sealed.redis.lpush("farmhaul\x06\x164", message)

    wait_until(lambda: "was written after it was asked for" in sealed.workers[0].log_text())
    assert fetched.read_bytes() == b"newer work"


def test_invented_hosts_get_no_queues(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=1)
    requests = [
        {
            "path": str(farm.make_file("local.exr", 10)),
            "component_id": farm.sandbox.ftrack.add_component(),
            "host": f"invented{number}",
        }
        for number in range(200)
    ]
    farm.redis.lpush(INBOX, sign(make_body(requests, time.time(), "stolen"), ()))
    wait_until(lambda: farm.redis.scard("farmhaul:hosts") == len(requests))
    farm.wait_located([farm.upload().id])
    time.sleep(1.5)  # the reconciler has looked at them

    assert [*farm.redis.scan_iter("*farmhaul.invented*")] == []
    assert farm.cli("status").returncode == 0
