"""Someone who invents nodes, hosts, places and counts in Redis: no upload is held up, or fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks.records import keys
from tasks.records.nodes import heard_lately, hosts_with_workers
from tasks.records.record import MAX_HOSTS
from tasks.records.status import Status
from tasks.transfer.errors import FileNotReadyError
from tests.sandbox import RedisServer
from tests.unit.records import Farm, file_of

NO_FILE = FileNotReadyError("/mnt/f.exr", "does not exist")


@pytest.fixture
def farm(redis_server: RedisServer) -> Iterator[Farm]:
    with redis_server.client() as client:
        yield Farm(client)


@pytest.mark.parametrize("place", ["nan", "inf", "-inf", "1.5", "1e300", "-3", "x", "9" * 30])
def test_a_place_that_is_none_stops_no_claims(farm: Farm, place: str) -> None:
    [upload] = farm.enqueue(file_of())
    farm.client.set(f"{keys.SCANNED}w1", place)

    farm.deliver()

    assert farm.state(upload) == "active"


def test_no_upload_waits_for_a_node_that_somebody_has_invented(farm: Farm) -> None:
    farm.take_tasks("w1")
    farm.client.zadd(keys.WORKERS, {"invented@nowhere": farm.now() + 1e9})
    farm.enqueue(file_of())
    [transfer] = farm.deliver()

    # It is the only node there is, so it tries again itself.
    assert farm.fail(transfer, NO_FILE) == "retrying"


def test_a_node_that_somebody_has_invented_is_shown_nowhere(farm: Farm) -> None:
    farm.take_tasks("w1")
    for key, name in ((keys.WORKERS, "invented@nowhere"), (keys.ALIVE, "0.1 invented@nowhere")):
        farm.client.zadd(key, {name: farm.now() + 1e9})

    status = Status(farm.client, farm.record.scripts.codec)
    assert status.workers() == ["w1"]
    assert heard_lately(farm.client, keys.ALIVE) == []


def test_workers_forget_a_node_that_somebody_has_invented(farm: Farm) -> None:
    for key, name in ((keys.WORKERS, "invented@nowhere"), (keys.ALIVE, "0.1 invented@nowhere")):
        farm.client.zadd(key, {name: farm.now() + 1e9})

    farm.record.scripts.run("note_worker", node="w1", version="0.1", takes_tasks=True)

    assert farm.client.zrange(keys.WORKERS, 0, -1) == ["w1"]
    assert farm.client.zrange(keys.ALIVE, 0, -1) == ["0.1 w1"]


def test_invented_hosts_hold_up_no_real_one(farm: Farm) -> None:
    """Redis looks at some of them at a time. Those that have workers are asked for, too."""
    hosts = [f"invented{number}" for number in range(MAX_HOSTS)]
    farm.client.sadd(keys.HOSTS, *hosts)
    pipeline = farm.client.pipeline()
    for host in hosts:
        pipeline.zadd(keys.pending_key(host), {"x": 1})
    pipeline.execute()
    farm.enqueue(file_of(host="node7"))

    assert len(farm.record.apply_due()[0]) == 1 + MAX_HOSTS
    farm.client.zadd(keys.ALIVE, {"0.1 celery@node7": farm.now()})
    farm.client.hset(keys.OWN_QUEUES, mapping={host: f"farmhaul.{host}" for host in hosts})
    assert hosts_with_workers(farm.client) == {"node7", ""}
    assert farm.record.pending_on(["node7", "node8"]) == {"node7": 1, "node8": 0}


@pytest.mark.parametrize("what", ["files", "ftrack", "records"])
def test_another_type_under_a_nodes_failures_fails_no_upload(farm: Farm, what: str) -> None:
    farm.take_tasks("w1", "w2")
    [upload] = farm.enqueue(file_of())
    farm.client.rpush(f"{keys.FAILING}{what}:w1", "x")
    [transfer] = farm.deliver()

    assert farm.fail(transfer, NO_FILE) == "pending"
    farm.client.delete(f"{keys.FAILING}{what}:w1")
    farm.client.rpush(f"{keys.FAILING}{what}:w1", "x")
    [transfer] = farm.deliver(claim="again", worker="w2")
    assert farm.settle(transfer, "advanced", "w2") == "active"
    assert farm.state(upload) == "active"


@pytest.mark.parametrize("count", ["nan", "inf", "-inf", "x", "1e300", "1.5"])
def test_a_count_of_answers_that_is_none_fails_no_upload(farm: Farm, count: str) -> None:
    farm.take_tasks("w1", "w2")
    farm.enqueue(file_of())
    for claim in ("claim", "again"):
        farm.client.hset(keys.ANSWERS, mapping={"good:1": count, "bad:1": count})
        [transfer] = farm.deliver(claim=claim)
        assert farm.retry_later(transfer, gate="ftrack") == "retrying"
        farm.make_due()
