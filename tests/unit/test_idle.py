"""An idle worker asks Redis for little, and still learns in time what concerns it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery.worker import state
from cryptography.fernet import Fernet
from kombu import Connection

from tasks.config.redis_client import shared_redis, worker_redis
from tasks.config.sealing import Codec
from tasks.config.settings import Settings
from tasks.records.keys import RETRYING, TOTALS, gate_key
from tasks.records.record import open_record
from tasks.records.states import SERVICES
from tests.sandbox import RedisServer
from workers.broker import seal, transport
from workers.broker.address import HEALTH_CHECK_S
from workers.broker.refused import EVERY_S, Refused
from workers.health import Health
from workers.self_check import KEY_IS_WRONG
from workers.steps import pulse
from workers.steps.breaker import Breaker
from workers.steps.encoding_jobs import Encodings
from workers.steps.periodic import IS_RECONCILING
from workers.steps.reconcile import LOCK_S, Reconcile, Reconciler

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
    monkeypatch.setattr(transport, "refused", Refused())
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


def take(client: Any, tag: str, at: float, **headers: str) -> None:
    """Write a message down as one that a worker took then."""
    message = {
        "headers": {"task": "farmhaul.put_file", **headers},
        "properties": {"delivery_info": {"routing_key": "farmhaul"}, "delivery_tag": tag},
        "body": "",
        "content-type": "application/x-farmhaul",
        "content-encoding": "utf-8",
    }
    client.hset("unacked", tag, json.dumps([message, "farmhaul", "farmhaul"]))
    client.zadd("unacked_index", {tag: at})


def calls(client: Any, command: str) -> int:
    return int(client.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0))


def count_sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list to which each request to Redis of this process is added; a pipeline is one."""
    sent: list[Any] = []
    send: Any = redis.Connection.send_packed_command

    def noted(connection: Any, command: Any, *args: Any, **options: Any) -> Any:
        sent.append(command)
        return send(connection, command, *args, **options)

    monkeypatch.setattr(redis.Connection, "send_packed_command", noted)
    return sent


def test_a_channel_makes_one_client_for_its_connections(
    channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def client() -> Any:
        with channel.conn_or_acquire() as made:
            assert made.ping()
            return made

    shared = client()
    assert client() is shared
    monkeypatch.setattr(transport.Channel, "shared_redis", None)  # as in a process of the pool
    own = client()
    assert own is not shared
    assert client() is own

    channel._disconnect_pools()

    assert client() is not own


def test_overdue_messages_are_looked_for_when_one_may_be_overdue(
    channel: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(client, "young", time.time())
    take(client, "old", time.time() - LEASE_S + 20)
    restored: list[bytes] = []
    monkeypatch.setattr(channel.qos, "restore_by_tag", lambda tag, *_: restored.append(tag))
    began = time.monotonic()
    for late_s in (0, 2, 5):
        monkeypatch.setattr(time, "monotonic", lambda late_s=late_s: began + late_s)
        channel.qos.restore_visible(interval=1)
    assert calls(client, "zrange") == 1

    take(client, "old", time.time() - LEASE_S - 1)
    monkeypatch.setattr(time, "monotonic", lambda: began + 21)
    channel.qos.restore_visible(interval=1)

    assert restored == [b"old"]


@pytest.mark.parametrize("kind", ["text", "another's message", "nothing"])
def test_a_flood_of_garbage_costs_few_commands_to_remove(
    channel: Any, client: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    overdue_at = time.time() - LEASE_S - 1
    for number in range(1000):
        if kind == "text":
            client.hset("unacked", f"garbage{number}", "reboot, please")
        elif kind == "another's message":
            client.hset("unacked", f"garbage{number}", '[{"headers": {}}, "farmhaul", "farmhaul"]')
        client.zadd("unacked_index", {f"garbage{number}": overdue_at - 1})
    take(client, "good", overdue_at)
    restored: list[bytes] = []
    monkeypatch.setattr(channel.qos, "restore_by_tag", lambda tag, *_: restored.append(tag))
    sent = count_sent(monkeypatch)

    channel.qos.restore_visible(interval=1)

    assert restored == [b"good"]
    assert client.hkeys("unacked") == client.zrange("unacked_index", 0, -1) == ["good"]
    assert len(sent) < 100
    later = time.monotonic() + EVERY_S
    monkeypatch.setattr(time, "monotonic", lambda: later)
    channel.qos.restore_visible(interval=1)
    assert int(client.hget(TOTALS, "refused") or 0) == (0 if kind == "nothing" else 1000)


def test_an_overdue_message_of_another_key_is_left_to_other_nodes(
    channel: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = (Codec([Fernet.generate_key().decode()]) for _ in range(2))
    monkeypatch.setattr(seal, "_codec", ours)
    take(client, "theirs", time.time() - LEASE_S - 1, seal=theirs.encode("a digest"))
    restored: list[bytes] = []
    monkeypatch.setattr(channel.qos, "restore_by_tag", lambda tag, *_: restored.append(tag))

    channel.qos.restore_visible(interval=1)

    assert restored == [b"theirs"]
    assert client.hkeys("unacked") == ["theirs"]


def test_a_flood_of_garbage_in_a_queue_is_counted_together(
    channel: Any, client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    sent = count_sent(monkeypatch)
    for _ in range(1000):
        assert channel._readable((b"farmhaul", b"reboot, please")) is None
    assert len(sent) < 20
    assert client.hget(TOTALS, "refused") == "1"  # the first is noted at once

    monkeypatch.setattr(time, "monotonic", lambda: now + EVERY_S)
    channel.qos.restore_visible(interval=1)

    assert client.hget(TOTALS, "refused") == "1000"
    assert caplog.text.count("refuses a message: it is not JSON; find out") == 1
    assert caplog.text.count("refuses 999 messages: it is not JSON; find out") == 1


def test_what_is_refused_last_is_counted_when_the_channel_ends(channel: Any, client: Any) -> None:
    for _ in range(2):
        channel.refuse("it is not JSON")

    channel.close()

    assert client.hget(TOTALS, "refused") == "2"


def test_a_message_that_comes_later_is_found_within_a_lease(
    channel: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel.qos.restore_visible(interval=1)
    restored: list[bytes] = []
    monkeypatch.setattr(channel.qos, "restore_by_tag", lambda tag, *_: restored.append(tag))
    take(client, "old", time.time() - LEASE_S - 1)
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


def test_a_subscription_gets_one_ping_at_a_time(
    channel: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscription = channel.subclient
    subscription.subscribe("celery.pidbox")
    subscription.parse_response()
    subscription.connection.health_check_interval = HEALTH_CHECK_S
    before, began = calls(client, "ping"), time.monotonic()
    for late_s in (100, 200):
        monkeypatch.setattr(time, "monotonic", lambda late_s=late_s: began + late_s)
        channel.connection.cycle.maybe_check_subclient_health()
        while subscription.connection.can_read(timeout=0.2):
            subscription.parse_response()

    assert calls(client, "ping") == before + 2


def test_channels_share_a_connection_with_the_steps(
    client: Any, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Connections of other tests may be closed meanwhile.
    before = {connection["id"] for connection in client.client_list()}
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

        assert len({connection["id"] for connection in client.client_list()} - before) == 1
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


def test_a_worker_with_the_wrong_key_lets_another_one_reconcile(
    reconciler: Reconciler, client: Any
) -> None:
    """Such as the one that was first after a restart of all: nobody could open its wake-ups."""
    client.delete("farmhaul:reconciler")
    reconciler.run()
    assert IS_RECONCILING.is_set()
    client.pexpire("farmhaul:reconciler", 1000)
    KEY_IS_WRONG.set()
    try:
        assert reconciler.run() == LOCK_S
    finally:
        KEY_IS_WRONG.clear()

    assert not IS_RECONCILING.is_set()
    assert client.pttl("farmhaul:reconciler") <= 1000, "it is not renewed"


@pytest.mark.parametrize("waits_for", ["a retry", "a gate"])
def test_the_worker_that_reconciles_looks_when_something_is_due(
    waits_for: str, reconciler: Reconciler, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reconcile, "interval_s", 5000.0)
    client.delete("farmhaul:reconciler", RETRYING, *map(gate_key, SERVICES))
    assert reconciler.run() is None
    due = time.time() + 1000
    if waits_for == "a retry":
        client.zadd(RETRYING, {"long ago": 1, "an upload": due, "a later one": due + 1000})
    else:
        client.hset(gate_key("store"), mapping={"until": due, "closed": 1})
        client.hset(gate_key("ftrack"), mapping={"until": "none", "closed": 1})

    began = time.time()
    pause_s = reconciler.run()

    assert pause_s is not None
    assert due - time.time() - 0.01 < pause_s < due - began + 0.01
    monkeypatch.setattr(Reconcile, "interval_s", 1.0)
    assert reconciler.run() is None, "not before the next second"
    client.delete("farmhaul:reconciler", RETRYING, *map(gate_key, SERVICES))


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


def note(reconciler: str, held_s: float, **fields: Any) -> None:
    """Let Redis have said this just now."""
    given = {"is_new": False, "is_aside": False, "has_unread": False, **fields}
    pulse.note(pulse.Pulse(time.monotonic(), reconciler=reconciler, held_s=held_s, **given))


def test_the_lock_is_not_asked_for_while_a_pulse_says_who_has_it(
    reconciler: Reconciler, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.set("farmhaul:reconciler", "w2", px=5000)
    note("w2", 4.5)
    sent = count_sent(monkeypatch)

    pause_s = reconciler.run()

    assert sent == []
    assert pause_s is not None
    assert 0 < pause_s < pulse.EACH_S + pulse.LATE_S + 0.6


@pytest.mark.parametrize(
    ("holder", "held_s"), [("", -0.002), ("w1", 4.5), ("w2", 1.5), ("w2", -0.001), ("w2", 5000)]
)
def test_the_lock_is_asked_for_if_a_pulse_says_it_may_end(
    holder: str, held_s: float, reconciler: Reconciler, client: Any
) -> None:
    client.delete("farmhaul:reconciler")
    note(holder, held_s)

    assert reconciler.run() is None

    assert client.get("farmhaul:reconciler") == "w1"


def test_the_lock_is_asked_for_if_no_pulse_comes(
    reconciler: Reconciler, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.delete("farmhaul:reconciler")
    note("w2", 4.5)
    late = pulse.latest().at + pulse.EACH_S + pulse.LATE_S + 0.1
    monkeypatch.setattr(time, "monotonic", lambda: late)

    reconciler.run()

    assert client.get("farmhaul:reconciler") == "w1"


def test_a_pulse_tells_what_the_steps_need_to_know(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.delete("farmhaul:alive", "farmhaul:paused", "farmhaul:unread")
    client.set("farmhaul:reconciler", "w2", px=4000)
    monkeypatch.setattr(transport, "last_asked", time.monotonic())
    amqp = SimpleNamespace(queues=SimpleNamespace(consume_from={"farmhaul": None}))
    worker = SimpleNamespace(hostname="w1", app=SimpleNamespace(amqp=amqp), concurrency=1)
    health = Health(worker)

    health.act()
    first = pulse.latest()
    client.hset("farmhaul:paused", "w1", "{}")
    client.hset("farmhaul:unread", "0.0.1", "0")
    client.delete("farmhaul:reconciler")
    health.act()

    assert first[1:5] == (True, False, False, "w2")
    assert 0 < first.held_s <= 4
    assert pulse.latest()[1:] == (False, True, True, "", -0.002)
    client.delete("farmhaul:alive", "farmhaul:paused", "farmhaul:workers", "farmhaul:unread")


def idle_breaker(monkeypatch: pytest.MonkeyPatch) -> tuple[Breaker, list[float]]:
    """Return the breaker of a worker without tasks, and a list that grows when it looks."""
    amqp = SimpleNamespace(queues=SimpleNamespace(consume_from={"farmhaul": None}))
    step = Breaker(SimpleNamespace(hostname="w1", app=SimpleNamespace(amqp=amqp)))
    looks: list[float] = []
    monkeypatch.setattr(step, "_look", looks.append)
    monkeypatch.setattr(state, "reserved_requests", set())
    step._idle_check_at = math.inf
    return step, looks


@pytest.mark.parametrize("says", ["nothing", "that it is set aside", "that it is new"])
def test_a_worker_without_tasks_looks_when_a_pulse_tells_it_to(
    says: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, looks = idle_breaker(monkeypatch)
    note("w2", 4.5, is_aside=says == "that it is set aside", is_new=says == "that it is new")

    for _ in range(2):
        step.act()

    assert len(looks) == {"nothing": 0, "that it is set aside": 2, "that it is new": 1}[says]


def test_a_worker_looks_whether_it_was_set_aside_while_it_has_tasks(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, looks = idle_breaker(monkeypatch)
    step.act()
    assert looks == []
    monkeypatch.setattr(state, "reserved_requests", {object()})
    for _ in range(3):
        step.act()
    assert len(looks) == 3
