"""Workers start by celery's command or by farmhaul's, or report why they cannot."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import celery
import pytest

from tasks.chain import task_name
from tasks.records.states import STAGES
from tests.farm import BIN, Command, Farm, wait_until
from tests.functional.conftest import MakeFarm
from tests.sandbox.process import CHECKOUT

#: How the records write a stage: by its number in the chain.
PUT_FILE = str(STAGES.index("put_file") + 1)
TASKS = {task_name(stage) for stage in STAGES}


@pytest.mark.parametrize(
    ("command", "options"),
    [
        pytest.param("celery", ("-P", "solo"), marks=pytest.mark.slow),
        ("celery", ("-c", "1", "--max-tasks-per-child=5", "--prefetch-multiplier=4")),
        pytest.param("farmhaul", (), marks=pytest.mark.slow),
        ("farmhaul", ("-P", "threads", "-c", "2", "--without-heartbeat")),
    ],
    ids=[
        "solo",
        "one child for five tasks",
        "farmhaul worker",
        "farmhaul worker, threads",
    ],
)
def test_a_worker_works_with_any_options(
    make_farm: MakeFarm, command: Command, options: tuple[str, ...]
) -> None:
    farm = make_farm(command=command, options=options)
    farm.wait_located(upload.id for upload in farm.upload_many(3))
    puts = farm.sandbox.store.puts()
    assert [put["status"] for put in puts] == [200] * 3
    worker = farm.workers[0]
    worker.stop()
    assert worker.returncode == 0
    assert "Traceback" not in worker.log_text()


def test_a_worker_takes_tasks_only_from_its_queues(make_farm: MakeFarm) -> None:
    farm = make_farm(options=("-Q", "farmhaul", "-c", "1"))
    local = farm.upload("--node-local").id
    farm.wait_located([farm.upload().id])
    assert farm.states([local]) == ["pending"]

    farm.add(options=("-Q", f"farmhaul.{socket.gethostname()}", "-c", "1"))
    farm.wait_located([local])


CELERY, FARMHAUL = ("celery", "-A", "workers", "worker"), ("farmhaul", "worker")


@pytest.mark.parametrize(
    ("command", "env", "says"),
    [
        (
            FARMHAUL,
            dict.fromkeys(("FTRACK_SERVER", "FTRACK_API_USER", "FTRACK_API_KEY")),
            "FTRACK_SERVER, FTRACK_API_USER and FTRACK_API_KEY are not set",
        ),
        (CELERY, {"FTRACK_API_KEY": None}, "FTRACK_API_KEY is not set; "),
        (FARMHAUL, {"FARMHAUL_LEASE_SECONDS": "soon"}, "FARMHAUL_LEASE_SECONDS"),
    ],
    ids=["no credentials", "no key", "a wrong number"],
)
def test_a_worker_reports_a_wrong_environment_in_a_line(
    hook: Farm, command: tuple[str, ...], env: dict[str, str | None], says: str
) -> None:
    name, *arguments = command
    done = subprocess.run(
        [BIN / name, *arguments],
        env=hook.environment(env),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2, done
    assert done.stdout == ""
    [line] = [line for line in done.stderr.splitlines() if "farmhaul: " in line]
    assert line.startswith("farmhaul: ")
    assert says in line
    assert "Traceback" not in done.stderr


def test_a_stopping_worker_finishes_its_task(make_farm: MakeFarm) -> None:
    farm = make_farm(options=("-c", "1"))
    farm.sandbox.faults.add("store", "latency_s", 0.7)
    upload_id = farm.upload().id
    wait_until(lambda: farm.record(upload_id).get("stage") == PUT_FILE)
    farm.workers[0].stop()
    assert farm.workers[0].returncode == 0
    [put] = farm.sandbox.store.puts()
    assert put["status"] == 200

    farm.sandbox.faults.clear()
    farm.workers[0].restart()
    farm.wait_located([upload_id])
    assert len(farm.sandbox.store.puts()) == 1, "a stored file is not sent again"


def test_the_task_of_a_killed_pool_child_runs_again(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "latency_s", 1.5, times=1)
    upload_id = farm.upload().id
    wait_until(lambda: farm.record(upload_id).get("stage") == PUT_FILE)
    [worker] = [
        worker
        for worker in farm.workers
        if farm.record(upload_id)["worker"].startswith(worker.name)
    ]
    worker.freeze()
    before = farm.record(upload_id)
    assert (before["state"], before["stage"]) == ("active", PUT_FILE)
    for pid in worker.pool_pids():
        os.kill(pid, signal.SIGKILL)
    worker.thaw()
    farm.wait_located([upload_id], 40)
    # Each of these increases the fence: put_file again, the last stage, the end.
    assert int(farm.record(upload_id)["fence"]) >= int(before["fence"]) + 3
    [component_id] = {put["key"] for put in farm.sandbox.store.puts()}
    assert len(farm.sandbox.ftrack.locations(component_id)) == 1


# What Celery shows


@contextmanager
def events_of(farm: Farm) -> Iterator[list[dict[str, Any]]]:
    """Collect the events of the farm's workers, as Flower does."""
    seen: list[dict[str, Any]] = []
    begun = time.time()

    def see(event: dict[str, Any]) -> None:
        if event["timestamp"] >= begun:  # workers send them late, also those of tests before
            seen.append(event)

    listening = threading.Event()
    stop = threading.Event()
    broker = farm.env["FARMHAUL_REDIS_URL"]
    with celery.Celery(broker=broker, set_as_current=False) as app, app.connection() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": see})

        def listen() -> None:
            with receiver.consumer_context() as (own_connection, _, _):
                listening.set()
                while not stop.is_set():
                    with suppress(TimeoutError):
                        own_connection.drain_events(timeout=0.2)

        thread = threading.Thread(target=listen)
        thread.start()
        listening.wait(10)
        try:
            yield seen
        finally:
            stop.set()
            thread.join()


def test_the_task_of_a_failed_upload_shows_celery_the_reason(farm: Farm) -> None:
    unknown = str(uuid.uuid4())
    with events_of(farm) as events:
        upload_id = farm.upload(component_id=unknown).id
        farm.wait_state([upload_id], "failed")
        wait_until(lambda: [event for event in events if event["type"] == "task-failed"])
        # Each worker sends its events together: those of another one may come later.
        wait_until(lambda: len({e["name"] for e in events if e["type"] == "task-received"}) > 1)
    names = {event["name"] for event in events if event["type"] == "task-received"}
    assert names == {"farmhaul.compute_checksum", "farmhaul.get_put_metadata"}
    [failed] = [event for event in events if event["type"] == "task-failed"]
    assert "UploadsFailedError" in failed["exception"]
    assert upload_id in failed["exception"]
    assert f"component {unknown} does not exist in ftrack" in failed["exception"]

    key = f"celery-task-meta-{failed['uuid']}"
    assert unknown in str(farm.redis.get(key))
    assert 0 < farm.redis.ttl(key) <= 3600


def test_a_worker_registers_the_four_stages(farm: Farm) -> None:
    registered = "\n".join(worker.log_text(all_starts=True) for worker in farm.workers)
    for name in TASKS:
        assert f"  . {name}\n" in registered


def test_workers_continue_after_redis_is_flushed(farm: Farm) -> None:
    farm.wait_located([farm.upload().id])
    farm.redis.flushall()
    farm.wait_located([farm.upload().id], 10)


def test_a_worker_started_elsewhere_finds_its_code(make_farm: MakeFarm, tmp_path: Path) -> None:
    farm = make_farm(workers=0)
    done = subprocess.run(
        [BIN / "celery", "-A", "workers", "report"],
        env=farm.environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert "farmhaul" in done.stdout


def test_each_idle_connection_of_a_worker_is_probed(farm: Farm) -> None:
    farm.wait_located([farm.upload().id])
    pids = [pid for worker in farm.workers for pid in (worker.pid, *worker.pool_pids())]

    wait_until(lambda: set(probed_within_s(pids)) and max(probed_within_s(pids)) <= 30)


def probed_within_s(pids: list[int]) -> list[float]:
    """Return in how many seconds the system probes each connection; infinity if it never does."""
    sockets = set()
    for file in [file for pid in pids for file in Path(f"/proc/{pid}/fd").iterdir()]:
        with suppress(FileNotFoundError):  # closed meanwhile
            sockets.add(os.readlink(file))
    found = []
    # The columns: https://www.kernel.org/doc/Documentation/networking/proc_net_tcp.txt
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, _, _, state, _, timer, _, _, _, inode, *_ = row.split()
        if state == "01" and f"socket:[{inode}]" in sockets:
            kind, _, ticks = timer.partition(":")
            found.append(int(ticks, 16) / 100 if kind == "02" else float("inf"))
    return found
