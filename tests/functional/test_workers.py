"""Workers start by celery's command or by ours, with any options, or say why they can not."""

from __future__ import annotations

import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import celery
import pytest

from tests.farm import BIN, Command, Farm, wait_until
from tests.functional.conftest import MakeFarm
from tests.sandbox.process import CHECKOUT

STAGES = {
    "farmhaul.compute_checksum",
    "farmhaul.get_put_metadata",
    "farmhaul.put_file",
    "farmhaul.create_component_location",
}


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("celery", ("-P", "solo")),
        ("celery", ("-c", "1", "--max-tasks-per-child=5", "--prefetch-multiplier=4")),
        ("farmhaul", ()),
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


def test_a_worker_that_is_told_its_queue_leaves_the_others_alone(make_farm: MakeFarm) -> None:
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
        (CELERY, {"FTRACK_API_KEY": None}, "FTRACK_API_KEY not set, though others of ftrack's are"),
        (FARMHAUL, {"FARMHAUL_LEASE_SECONDS": "soon"}, "FARMHAUL_LEASE_SECONDS"),
    ],
    ids=["no credentials", "no key", "a wrong number"],
)
def test_a_worker_whose_environment_is_wrong_says_so_in_a_line(
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


def test_a_worker_that_is_asked_to_stop_ends_what_it_does(make_farm: MakeFarm) -> None:
    farm = make_farm(options=("-c", "1"))
    farm.sandbox.faults.add("store", "latency_s", 0.7)
    upload_id = farm.upload().id
    wait_until(lambda: farm.record(upload_id).get("stage") == "3")
    farm.workers[0].stop()
    assert farm.workers[0].returncode == 0
    [put] = farm.sandbox.store.puts()
    assert put["status"] == 200

    farm.sandbox.faults.clear()
    farm.workers[0].restart()
    farm.wait_located([upload_id])
    assert len(farm.sandbox.store.puts()) == 1, "what was sent is not sent again"


def test_what_a_child_of_the_pool_did_when_it_was_killed_is_done_again(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "latency_s", 1.5, times=1)
    upload_id = farm.upload().id
    wait_until(lambda: farm.record(upload_id).get("stage") == "3")
    for worker in farm.workers:
        if farm.record(upload_id)["worker"].startswith(worker.name):
            worker.kill("child")
            worker.kill("child")
    farm.wait_located([upload_id], 40)
    [component_id] = {put["key"] for put in farm.sandbox.store.puts()}
    assert len(farm.sandbox.ftrack.locations(component_id)) == 1


# What Celery tells


@contextmanager
def events_of(farm: Farm) -> Iterator[list[dict[str, Any]]]:
    """Collect the events of the farm's workers, as Flower does."""
    seen: list[dict[str, Any]] = []
    listening = threading.Event()
    stop = threading.Event()
    broker = farm.env["FARMHAUL_REDIS_URL"]
    with celery.Celery(broker=broker, set_as_current=False) as app, app.connection() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": seen.append})

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


def test_a_task_whose_upload_failed_tells_the_reason_to_celery(farm: Farm) -> None:
    unknown = str(uuid.uuid4())
    with events_of(farm) as events:
        upload_id = farm.upload(component_id=unknown).id
        farm.wait_state([upload_id], "failed")
        wait_until(lambda: [event for event in events if event["type"] == "task-failed"])
    names = {event["name"] for event in events if event["type"] == "task-received"}
    assert names == STAGES
    [failed] = [event for event in events if event["type"] == "task-failed"]
    assert "UploadsFailedError" in failed["exception"]
    assert upload_id in failed["exception"]
    assert f"ftrack refused to register component {unknown}" in failed["exception"]

    key = f"celery-task-meta-{failed['uuid']}"
    assert unknown in str(farm.redis.get(key))
    assert 0 < farm.redis.ttl(key) <= 3600


def test_the_names_of_tasks_say_what_they_are(farm: Farm) -> None:
    registered = "\n".join(worker.log_text(all_starts=True) for worker in farm.workers)
    for name in STAGES:
        assert f"  . {name}\n" in registered


def test_workers_that_run_while_redis_is_flushed_take_what_comes_after(farm: Farm) -> None:
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
