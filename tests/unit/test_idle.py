"""An idle worker asks Redis for little, and still learns in time what concerns it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state
from kombu import Connection

from tasks.config.redis_client import shared_redis, worker_redis
from tasks.config.settings import Settings
from tasks.records.record import open_record
from tests.sandbox import RedisServer
from workers.broker import transport
from workers.steps.breaker import Breaker
from workers.steps.encoding_jobs import Encodings
from workers.steps.periodic import IS_RECONCILING
from workers.steps.reconcile import LOCK_S, Reconciler

LEASE_S = 30


@pytest.fixture
def client(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("FARMHAUL_REDIS_URL", redis_server.url)
    with redis_server.client() as client:
        client.config_resetstat()  # other tests have the same server
        yield client


@pytest.fixture
def channel(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A worker's channel to the broker."""
    shared = shared_redis(Settings(redis_server.url))
    monkeypatch.setattr(transport.Channel, "shared_redis", shared)
    options = {"visibility_timeout": LEASE_S}
    broker = Connection(redis_server.url, transport=transport.Transport, transport_options=options)
    with broker, broker.channel() as channel:
        yield channel
    shared.close()


@pytest.fixture
def reconciler(client: Any) -> Iterator[Reconciler]:
    settings = Settings.from_environment()
    yield Reconciler(None, open_record(settings, worker_redis(settings)), "w1")
    IS_RECONCILING.clear()


def calls(client: Any, command: str) -> int:
    return int(client.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0))


def test_overdue_messages_are_looked_for_when_one_may_be_overdue(
    channel: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.zadd("unacked_index", {"young": time.time(), "old": time.time() - LEASE_S + 20})
    restored: list[bytes] = []
    monkeypatch.setattr(channel.qos, "restore_by_tag", lambda tag, *_: restored.append(tag))
    began = time.monotonic()
    for late_s in (0, 2, 5):
        monkeypatch.setattr(time, "monotonic", lambda late_s=late_s: began + late_s)
        channel.qos.restore_visible(interval=1)
    assert calls(client, "zrange") == 1

    client.zadd("unacked_index", {"old": time.time() - LEASE_S - 1})
    monkeypatch.setattr(time, "monotonic", lambda: began + 21)
    channel.qos.restore_visible(interval=1)

    assert restored == [b"old"]


def test_a_message_that_comes_later_is_found_within_a_lease(
    channel: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel.qos.restore_visible(interval=1)
    restored: list[bytes] = []
    monkeypatch.setattr(channel.qos, "restore_by_tag", lambda tag, *_: restored.append(tag))
    client.zadd("unacked_index", {"old": time.time() - LEASE_S - 1})
    later = time.monotonic() + LEASE_S
    monkeypatch.setattr(time, "monotonic", lambda: later)
    channel.qos.restore_visible(interval=1)
    assert restored == [b"old"]


def test_a_channel_that_waits_for_a_task_closes_at_once(channel: Any, client: Any) -> None:
    channel._active_queues.append("farmhaul")
    channel._update_queue_cycle()
    channel.connection.cycle._register_BRPOP(channel)
    assert channel._in_poll
    began = time.monotonic()

    channel.close()

    assert time.monotonic() - began < transport.BRPOP_S - 1
    assert calls(client, "client|unblock") == 1


def test_channels_share_a_connection_with_the_steps(
    client: Any, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(client.client_list())
    shared = shared_redis(Settings(redis_server.url))
    for channel_class in (transport.Channel, transport.SentinelChannel):
        monkeypatch.setattr(channel_class, "shared_redis", shared)
    broker = Connection(redis_server.url, transport=transport.Transport)
    with broker:
        # Remote control sends this to Flower.
        json.dumps(broker.info()["transport_options"])
        for _ in range(3):
            with broker.channel() as channel:
                channel.queue_declare("farmhaul")
        shared.get("farmhaul:reconciler")

        assert len(client.client_list()) == before + 1
    shared.close()


def test_a_worker_that_waits_for_the_lock_looks_when_it_may_end(
    reconciler: Reconciler, client: Any
) -> None:
    client.set("farmhaul:reconciler", "w2", px=5000)

    pause_s = reconciler.run()

    left_s = client.pttl("farmhaul:reconciler") / 1000
    assert pause_s is not None
    assert max(left_s, 0) < pause_s < 5.6
    assert not IS_RECONCILING.is_set()
    client.delete("farmhaul:reconciler")
    assert reconciler.run() is None
    assert IS_RECONCILING.is_set()
    assert 0 < client.ttl("farmhaul:reconciler") <= LOCK_S


def test_the_worker_that_reconciles_reads_the_states_of_encoding_jobs(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTRACK_SERVER", "http://127.0.0.1:1")
    monkeypatch.setenv("FTRACK_API_USER", "u")
    monkeypatch.setenv("FTRACK_API_KEY", "k")
    step = Encodings(SimpleNamespace(hostname="w1", app=None))
    read: list[int] = []
    monkeypatch.setattr(step, "read_due", lambda: read.append(1))
    for _ in range(3):
        step.act()
    assert len(read) == 1, "another worker reconciles"
    IS_RECONCILING.set()
    for _ in range(3):
        step.act()
    IS_RECONCILING.clear()
    assert len(read) == 4


def test_a_worker_looks_whether_it_was_set_aside_while_it_has_tasks(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    amqp = SimpleNamespace(queues=SimpleNamespace(consume_from={"farmhaul": None}))
    step = Breaker(SimpleNamespace(hostname="w1", app=SimpleNamespace(amqp=amqp)))
    looks: list[float] = []
    monkeypatch.setattr(step, "_look", looks.append)
    monkeypatch.setattr(state, "reserved_requests", set())
    for _ in range(3):
        step.act()
    assert len(looks) == 1
    monkeypatch.setattr(state, "reserved_requests", {object()})
    step.act()
    assert len(looks) == 2
