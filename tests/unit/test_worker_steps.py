"""The steps of a worker's main process: leases, health, the reconciler, and their threads."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kombu
import pytest
import redis
from celery.worker import WorkController, state
from celery.worker.components import Pool
from kombu.transport import redis as kombu_redis

from tasks import chain
from tasks.config.redis_client import worker_redis
from tasks.config.settings import Settings
from tasks.intake.request import UploadRequest
from tasks.records import keys, nodes
from tasks.records.commands import Commands
from tasks.records.record import open_record
from tasks.records.states import STAGES
from tasks.stage import shared
from tasks.transfer.targets import Target
from tests.farm import wait_until
from tests.sandbox import RedisServer
from workers import health, self_check
from workers.app import app
from workers.broker import transport
from workers.steps import breaker, lease, reconcile
from workers.steps.periodic import PeriodicStep
from workers.steps.reconcile import Reconciler
from workers.steps.spool import FlushSpool


@pytest.fixture
def worker(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The attributes of a worker that its steps read."""
    monkeypatch.setenv("FARMHAUL_REDIS_URL", redis_server.url)
    queues = SimpleNamespace(consume_from={chain.QUEUE: None}, deselect=lambda _queue: None)
    app = SimpleNamespace(amqp=SimpleNamespace(queues=queues))
    return SimpleNamespace(hostname="w1@node7", concurrency=1, app=app)


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    with redis_server.client() as client:
        yield client


# Lease


def test_the_locked_kombu_and_celery_have_the_internals_of_the_lease() -> None:
    assert lease.internals_unknown() == []


def test_a_kombu_of_another_release_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kombu, "__version__", "5.9.1")
    assert lease.internals_unknown() == ["kombu 5.9.1 is not 5.7.x"]


def test_a_kombu_with_other_internals_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kombu_redis.Channel, "unacked_index_key", "leases")
    monkeypatch.setattr(kombu_redis.QoS, "restore_visible", lambda _self: None)
    monkeypatch.delattr(state, "reserved_requests")
    assert lease.internals_unknown() == [
        "kombu's Channel.unacked_index_key is not 'unacked_index'",
        "kombu's QoS.restore_visible does not use unacked_index",
        "celery.worker.state has no reserved_requests",
    ]


def test_a_worker_logs_an_error_if_its_lease_is_unsure(
    worker: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kombu, "__version__", "6.0.0")
    step = lease.Lease(worker)
    monkeypatch.setattr(PeriodicStep, "start", lambda _step, _worker: None)
    with caplog.at_level(logging.ERROR):
        step.start(worker)
    assert "kombu 6.0.0 is not 5.7.x: tasks longer than the lease may run twice" in caplog.text


# Breaker


def test_a_worker_that_cannot_probe_goes_on_and_says_so(
    worker: SimpleNamespace, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "PROBE_S", 0.0)
    monkeypatch.setattr(self_check, "ftrack_fault", lambda _settings: None)  # there is none here
    client.set(keys.NOTICES_WANTED, 1)
    note = {"what": "store", "error": "no", "kind": "Refused", "since": 1}
    client.hset(keys.PAUSED, "w1@node7", json.dumps(note))
    client.zadd(keys.WORKERS, {"w1@node7": client.time()[0], "w2@node8": client.time()[0]})
    step = breaker.Breaker(worker)

    for _ in range(2):  # it is set aside, and probes
        step.act()

    [told] = client.zrange(keys.NOTICES, 0, -1)
    assert json.loads(told)["event"] == "node_back"


# Health


def test_a_worker_that_asks_for_tasks_is_healthy(worker: SimpleNamespace, client: Any) -> None:
    transport.last_asked = time.monotonic()
    health.Health(worker).act()
    assert health.main(["w1@node7"]) == 0


def test_a_worker_is_unlisted_after_half_a_minute_of_silence(
    worker: SimpleNamespace, client: Any
) -> None:
    client.zadd("farmhaul:workers", {"w1@node7": client.time()[0] - 31, "w2@node7": 0})
    assert health.main(["w1@node7"]) == 1
    transport.last_asked = time.monotonic()
    health.Health(worker).act()
    assert client.zrange("farmhaul:workers", 0, -1) == ["w1@node7"]


def test_a_worker_for_the_files_of_its_host_alone_says_so(
    worker: SimpleNamespace, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport.last_asked = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(worker.app.amqp.queues, "consume_from", {chain.queue_of("node7"): None})
        health.Health(worker).act()
    assert client.zrange("farmhaul:workers", 0, -1) == ["w1@node7 local"]
    assert health.main(["w1@node7"]) == 0


def test_a_worker_notes_its_version_even_if_it_takes_no_tasks(
    worker: SimpleNamespace, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.zadd("farmhaul:alive", {"0.0.9 w1@node7": client.time()[0] - 31})
    monkeypatch.setattr(transport, "last_asked", time.monotonic() - 60)
    health.Health(worker).act()
    assert client.zrange("farmhaul:alive", 0, -1) == [f"{health.VERSION} w1@node7"]
    assert not client.exists("farmhaul:workers")


def test_a_worker_that_asks_for_no_tasks_is_unhealthy(
    worker: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transport, "last_asked", time.monotonic() - 60)
    health.Health(worker).act()
    assert health.main(["w1@node7"]) == 1
    assert "not_consuming silent_s=60" in caplog.text


def test_a_worker_that_took_long_to_start_is_healthy(
    worker: SimpleNamespace,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(transport, "last_asked", time.monotonic() - 60)
    step = health.Health(worker)
    step.start(worker)
    wait_until(lambda: client.exists("farmhaul:alive"))
    assert client.exists("farmhaul:workers")
    step.stop(worker)
    assert "not_consuming" not in caplog.text


def test_a_worker_that_shuts_down_takes_no_tasks_and_may_come_back(
    worker: SimpleNamespace, client: Any
) -> None:
    transport.last_asked = time.monotonic()
    step = health.Health(worker)
    step.start(worker)
    wait_until(lambda: health.main(["w1@node7"]) == 0)

    step.stop(worker)

    wait_until(lambda: health.main(["w1@node7"]) == 1, 2)
    silent_s = client.time()[0] - client.zscore(keys.WORKERS, "w1@node7")
    assert nodes.WORKER_S - 1 <= silent_s < nodes.RETURN_S


def test_a_worker_whose_processes_are_all_busy_is_healthy(
    worker: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "last_asked", time.monotonic() - 60)
    monkeypatch.setattr(state, "reserved_requests", [object()])
    shared.note_moved()
    health.Health(worker).act()
    assert health.main(["w1@node7"]) == 0


def test_a_worker_whose_busy_processes_do_not_move_is_unhealthy(
    worker: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a minute: it takes back what it has noted before."""
    health.Health(worker).act()
    assert health.main(["w1@node7"]) == 0
    monkeypatch.setattr(transport, "last_asked", time.monotonic() - 60)
    monkeypatch.setattr(state, "reserved_requests", [object()])
    monkeypatch.setattr(shared, "moved_s_ago", lambda: 60 - health.Health.interval_s)
    health.Health(worker).act()
    assert health.main(["w1@node7"]) == 1


def test_the_health_check_reports_why_it_cannot_ask(
    worker: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FARMHAUL_REDIS_URL", "redis://127.0.0.1:1/0")
    assert health.main([]) == 3
    monkeypatch.setenv("FARMHAUL_REDIS_URL", "nonsense")
    assert health.main([]) == 2
    away, wrong = capsys.readouterr().err.splitlines()
    assert away.startswith("farmhaul: Redis is not reachable")
    assert wrong.startswith("farmhaul: FARMHAUL_REDIS_URL")


def test_the_health_check_is_a_command(worker: SimpleNamespace) -> None:
    command = [sys.executable, "-m", "workers.health", "nobody@nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    says = "farmhaul: nobody@nowhere takes no tasks; no worker does\n"
    assert (done.returncode, done.stderr) == (1, says)


def test_the_health_check_names_the_workers_to_who_mistypes_one(
    worker: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    health.Health(worker).act()
    name = worker.hostname

    assert health.main([name.upper()]) == 1
    assert capsys.readouterr().err.endswith(f"takes no tasks; these workers do: {name}\n")


def test_systemd_hears_of_a_worker_that_takes_tasks_or_has_no_redis(
    worker: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    step = health.Health(worker)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "@1"))
        systemd.settimeout(0)  # what is sent on this machine has arrived when it is sent
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "@1"))
        transport.last_asked = time.monotonic()
        step.act()
        assert systemd.recv(99) == b"WATCHDOG=1"

        monkeypatch.setattr(transport, "last_asked", time.monotonic() - 60)
        step.act()
        with pytest.raises(BlockingIOError):
            systemd.recv(99)

        queues = worker.app.amqp.queues
        with monkeypatch.context() as patch:
            # It has only the shared queue, and is set aside.
            patch.setattr(queues, "consume_from", {})
            step.act()
        assert systemd.recv(99) == b"WATCHDOG=1"

        def away(*_: object, **__: object) -> None:
            raise redis.ConnectionError

        with monkeypatch.context() as patch:
            patch.setattr(step.record.scripts, "run", away)
            with pytest.raises(redis.ConnectionError):
                step.act()
        assert systemd.recv(99) == b"WATCHDOG=1"
    transport.last_asked = time.monotonic()
    step.act()  # nobody listens any more


# Reconciler


def test_a_queue_of_another_type_costs_no_other_host_anything(
    redis_server: RedisServer, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody repairs it where no worker waits on it, as with ``celery worker -Q farmhaul``."""
    settings = Settings(redis_server.url)
    woken: list[str] = []
    monkeypatch.setattr(reconcile, "wake", lambda _app, _count, host: woken.append(host))
    client.set(chain.list_key(chain.queue_of("node7"), STAGES[0]), "x")

    reconciler = Reconciler(None, open_record(settings, worker_redis(settings)), "w1")
    reconciler._wake({"node7": 1, "": 1, "node8": 1})

    assert woken == ["", "node8"]
    message = json.dumps({"headers": {"root_id": "carried"}})
    client.lpush(chain.list_key(chain.queue_of("node8"), STAGES[0]), message)
    assert "carried" in reconciler._claims_in_messages({"node7": 1, "node8": 1})


@pytest.mark.parametrize("broken", ["repair", "entries", "sample", "lost", "due", "claims"])
def test_a_part_that_fails_stops_no_other_of_the_reconciler(
    broken: str,
    worker: SimpleNamespace,
    client: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings.from_environment()
    record = open_record(settings, worker_redis(settings))
    reconciler = Reconciler(None, record, "w1")
    done: list[str] = []
    fails = [broken]

    def stand_in(name: str, answer: Any = None) -> Any:
        def act(*_: Any) -> Any:
            done.append(name)
            if name in fails:
                raise redis.ResponseError("WRONGTYPE")
            return answer

        return act

    monkeypatch.setattr(record.scripts, "repair", stand_in("repair"))
    monkeypatch.setattr(reconciler, "_give_back_entries", stand_in("entries"))
    monkeypatch.setattr(reconciler, "_note_sample", stand_in("sample"))
    monkeypatch.setattr(reconciler, "_find_lost", stand_in("lost"))
    monkeypatch.setattr(record, "apply_due", stand_in("due", ({}, ["a-claim"])))
    monkeypatch.setattr(reconciler, "_take_back", stand_in("claims"))
    monkeypatch.setattr(reconciler, "_wake", stand_in("wake-ups"))
    everything = ["repair", "entries", "sample", "lost", "due", "claims", "wake-ups"]
    expected = everything[:5] if broken == "due" else everything

    for _ in range(2):
        done.clear()
        reconciler.reconcile()
        assert done == expected
    assert caplog.text.count(f"redis_away step=Reconcile.{broken}") == 1
    fails.clear()
    reconciler.reconcile()
    fails.append(broken)
    reconciler.reconcile()
    assert caplog.text.count(f"redis_away step=Reconcile.{broken}") == 2


def test_without_redis_no_part_of_the_reconciler_waits_for_it(
    worker: SimpleNamespace, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.from_environment()
    record = open_record(settings, worker_redis(settings))
    reconciler = Reconciler(None, record, "w1")
    done: list[str] = []

    def away() -> None:
        raise redis.ConnectionError

    monkeypatch.setattr(record.scripts, "repair", away)
    monkeypatch.setattr(reconciler, "_give_back_entries", lambda: done.append("entries"))
    with pytest.raises(redis.ConnectionError):
        reconciler.reconcile()
    assert done == []


def test_foreign_messages_do_not_stop_the_reconciler(
    worker: SimpleNamespace, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    record = open_record(Settings.from_environment(), worker_redis(Settings.from_environment()))
    Commands(record.scripts).enqueue(
        [UploadRequest("/mnt/a.exr", Target("2c5e0000-0000-4000-8000-000000000001"), 1)]
    )
    record.deliver("a-claim", "compute_checksum", "w1")
    client.zadd("farmhaul:claims", {"a-claim": 1})
    junk = ("junk", "5", "[]", '{"headers": 5}', '{"headers": {}}', "[" * 5000)
    client.rpush("farmhaul\x06\x163", *junk)
    client.hset("unacked", mapping=dict(enumerate(junk)))
    Reconciler(None, record, "w1").reconcile()  # so no wake-up is missing, and no app is needed
    assert "claim_lost claim_id=a-claim uploads=1" in caplog.text
    assert client.zcard("farmhaul:pending") == 1


# Steps


class Counting(PeriodicStep):
    interval_s = 0.01

    def __init__(self, worker: Any, errors: list[Exception]) -> None:
        super().__init__(worker)
        self.errors = errors
        self.done = threading.Event()

    def act(self) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.done.set()


def test_a_worker_logs_an_unreadable_spool_once(
    worker: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spool = tmp_path / "spool"
    spool.touch()
    monkeypatch.setenv("FARMHAUL_SPOOL", str(spool))
    step = FlushSpool(worker)
    step.act()
    step.act()
    assert caplog.messages == [f"spool_not_readable path={spool} Not a directory"]


def test_a_step_continues_after_errors_and_logs_an_outage_once(
    worker: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    away = [redis.ConnectionError("refused"), redis.TimeoutError("silent")]
    step = Counting(worker, [*away, RuntimeError("a bug")])
    step.start(worker)
    assert step.done.wait(10)
    step.stop(worker)
    assert caplog.text.count("redis_away step=Counting") == 1
    assert "unexpected_error step=Counting" in caplog.text
    wait_until(lambda: "Counting" not in [thread.name for thread in threading.enumerate()])


def test_a_step_must_define_what_it_does(worker: SimpleNamespace) -> None:
    with pytest.raises(NotImplementedError):
        PeriodicStep(worker).act()


def test_no_step_runs_while_the_pool_forks() -> None:
    # A process that is forked while a thread imports a module waits for that import for ever.
    blueprint = WorkController.Blueprint(steps=app.steps["worker"])
    order = list(blueprint._finalize_steps(blueprint.claim_steps()))
    steps = {order.index(step) for step in order if issubclass(step, PeriodicStep)}
    assert len(steps) == len(app.steps["worker"])
    assert order.index(Pool) < min(steps)


def test_a_step_has_imported_what_it_unseals_with() -> None:
    # A process of the pool that replaces a dead one is forked while the threads of the steps run.
    code = "import sys, workers.steps.periodic; print('cryptography.fernet' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
