"""No secret is visible anywhere, whatever fails; with a secret key, no path in Redis either."""

from __future__ import annotations

import json
import re
import secrets
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from cryptography.fernet import Fernet

from tasks.config.sealing import UNREADABLE
from tasks.records.states import STAGES
from tests.farm import BIN, Farm, wait_until
from tests.helpers.exporter import exporter
from tests.helpers.redis_traffic import everything_said_to, values_of
from tests.sandbox import RedisServer, Sandbox, seed
from tests.sandbox.process import CLOSED_PORT, Child, free_ports

SIGNED_URL = "X-Amz-Signature"
FOLDER = "secret-show"
#: What servers quote where they should not.
QUOTED = "quoted-by-a-server"
QUOTED_URL = f"https://store.example/key?{SIGNED_URL}={QUOTED}"


@contextmanager
def command_lines(mark: str) -> Iterator[set[str]]:
    """Collect the command lines of all processes that have a text in their environment."""
    seen: set[str] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    if mark.encode() in (process / "environ").read_bytes():
                        line = (process / "cmdline").read_bytes()
                        seen.add(line.decode(errors="replace").replace("\0", " "))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


# A farm on which everything fails


@dataclass
class Trouble:
    """What can be read of a farm, by place, and the secrets that must not be there."""

    places: dict[str, str]
    secrets: dict[str, str]
    upload_ids: list[str]


def fail_unexpectedly(farm: Farm) -> str:
    """Run a task that raises an unexpected error and one that dies; return the latter's id."""
    # Alone in its batch, which lies until its claim counts as lost.
    stops = farm.upload(path=farm.make_file("stops.exr", 1000, FOLDER)).id
    wait_until(lambda: any("in a task" in worker.log_text() for worker in farm.workers))
    farm.cli("cancel", stops)
    dies = farm.make_file("dies.exr", 1000, FOLDER)
    upload = farm.upload(path=dies)
    wait_until(dies.with_suffix(".done").exists)
    return upload.id


def fail_and_recover(farm: Farm) -> list[str]:
    """Uploads that fail or wait, and those that are located in the end; gives the ids of these."""
    ftrack, faults = farm.sandbox.ftrack, farm.sandbox.faults
    names = ("good", "down", "reset", "digest", "forbidden", "slow", "breaks", "refused", "denied")
    made = {name: ftrack.add_component("main.exr") for name in names}
    key = f"the key {seed.API_KEY} may not use {QUOTED_URL}"
    faults.add("ftrack", "status", 500, times=1, body=key)
    faults.add("ftrack", "junk", times=1, body=f'[{{"url": "{QUOTED_URL}"')
    faults.add("store", "status", 503, times=1, component_id=made["down"], body=QUOTED_URL)
    faults.add("store", "reset", times=1, component_id=made["reset"])
    faults.add("store", "bad_digest", times=1, component_id=made["digest"])
    faults.add("store", "status", 403, times=1, component_id=made["forbidden"], body=QUOTED_URL)
    faults.add("store", "stall", 2, times=1, component_id=made["slow"])
    faults.add("store", "status", 413, component_id=made["refused"], body=QUOTED_URL)
    denied = {"action": "create", "component_id": made["denied"], "content": key}
    faults.add("ftrack", "error", "PermissionError", **denied)
    files = made | {"unknown": str(uuid.uuid4())}
    gone = farm.make_file("gone.exr", 1000, FOLDER)
    with farm.frozen():
        uploads = farm.enqueue_manifest(
            {"path": str(farm.make_file(f"{name}.exr", 1000, FOLDER)), "component_id": component_id}
            for name, component_id in files.items()
        )
        waiting = farm.upload(path=gone).id
        gone.unlink()
    ids = {Path(upload["path"]).stem: str(upload["upload_id"]) for upload in uploads}
    farm.wait_state([ids.pop(name) for name in ("refused", "denied", "unknown")], "failed", 60)
    farm.wait_state([waiting], "retrying")
    return list(ids.values())


@pytest.fixture(scope="module")
def farm_in_trouble(
    running_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Farm]:
    """Two workers that log everything, one as text and one as JSON, on a Redis with a password."""
    folder = tmp_path_factory.mktemp("trouble")
    server = RedisServer(folder / "redis", password=secrets.token_urlsafe(16))
    server.start()
    options = ("-c1", "--without-gossip", "--without-mingle", "-lDEBUG")
    env = {
        "FARMHAUL_SECRET_KEY": Fernet.generate_key().decode(),
        "FARMHAUL_REDIS_URL": server.url,
        "FARMHAUL_SPOOL": str(folder / "spool"),
    }
    include = ("-I", "tests.functional.blurting")
    farm = Farm(running_sandbox, folder, 2, options=(*options, *include), env=env)
    farm.redis = server.client()
    farm.workers[1].env["FARMHAUL_LOG_FORMAT"] = "json"
    try:
        with farm:
            yield farm
    finally:
        server.stop()


@pytest.fixture(scope="module")
def trouble(farm_in_trouble: Farm, tmp_path_factory: pytest.TempPathFactory) -> Trouble:
    """All that can be read of a farm on which much goes wrong."""
    farm = farm_in_trouble
    farm.sandbox.reset()
    key, url = farm.env["FARMHAUL_SECRET_KEY"], farm.env["FARMHAUL_REDIS_URL"]
    away = {"FARMHAUL_REDIS_URL": url.rpartition(":")[0] + f":{CLOSED_PORT}/0"}
    other = {"FARMHAUL_REDIS_URL": url.replace(":", ":not", 2).replace(":not//", "://")}
    with everything_said_to(farm.redis) as wire, command_lines(key) as seen:
        dies = fail_unexpectedly(farm)
        located = fail_and_recover(farm)
        spooled = farm.upload(path=farm.make_file("spooled.exr", 10, FOLDER), env=away)
        spool = [path.read_text() for path in Path(farm.env["FARMHAUL_SPOOL"]).iterdir()]
        outputs = [
            farm.cli("status", "--all"),
            farm.cli("status", "--failed", "--json", env=other),
            farm.cli("status", "--failed", "--json"),
            farm.cli("doctor", "--json"),
            farm.cli("doctor", env=away),
        ]
        with exporter(farm, tmp_path_factory.mktemp("exporter")) as address:
            metrics = requests.get(address, timeout=10).text
        outputs.append(farm.cli("flush-spool"))
        farm.wait_located([dies, *located, spooled.id], 60)
        assert all(fault["struck"] for fault in farm.sandbox.faults.list())
    targets = [put["path"] for put in farm.sandbox.store.puts()]
    signed = [dict(parse_qsl(urlsplit(target).query)) for target in targets]
    return Trouble(
        {
            "Redis, over time": wire.text,
            "Redis, now": values_of(farm.redis),
            "the log as text": farm.workers[0].log_text(),
            "the log as JSON": farm.workers[1].log_text(),
            "the command line": "".join(f"{done.stdout}{done.stderr}" for done in outputs),
            "the exporter's page": metrics,
            "the spool": "".join(spool),
            "ps": "\n".join(seen),
        },
        {
            "the API key": seed.API_KEY,
            "the secret key": key,
            "the password of Redis": str(urlsplit(url).password),
            "the name of a signature": SIGNED_URL,
            "what a server has quoted": QUOTED,
            **{f"signature {n}": query[SIGNED_URL] for n, query in enumerate(signed)},
        },
        located,
    )


SHOWN = {
    "Redis, over time": ["farmhaul.put_file", "task-succeeded", "task-failed", "celery-task-meta"],
    "Redis, now": ["farmhaul:upload:", "farmhaul:totals"],
    "the command line": [FOLDER, "EntityTooLarge|413", "PermissionError", "doctor|redis", "Redis"],
    "the exporter's page": ["farmhaul_redis_up 1.0"],
    "the spool": [FOLDER],
    "ps": ["celery -A workers", "farmhaul status", "farmhaul exporter"],
}
LOGGED = ["unexpected_error", "RuntimeError", "upload_retrying", "upload_failed", "DEBUG|debug"]


@pytest.mark.parametrize("place", [*SHOWN, "the log as text", "the log as JSON"])
def test_no_place_shows_a_secret_when_everything_fails(trouble: Trouble, place: str) -> None:
    text = trouble.places[place]
    for expected in SHOWN.get(place, []):
        assert re.search(expected, text), "this place was not read"
    assert len(trouble.secrets) > 10
    found = [name for name, secret in trouble.secrets.items() if secret.lower() in text.lower()]
    assert found == []


def test_the_logs_report_everything_that_failed(trouble: Trouble) -> None:
    logged = trouble.places["the log as text"] + trouble.places["the log as JSON"]
    for expected in (
        *LOGGED,
        "WorkerLostError",
        "ReadTimeout",
        "UrlRefused|signed again",
        r"\*{3}",
    ):
        assert re.search(expected, logged), expected


def test_with_a_secret_key_no_path_is_readable_in_redis(trouble: Trouble) -> None:
    assert FOLDER not in trouble.places["Redis, now"]
    # Requests of hooks are signed, not encrypted: a hook key opens nothing.
    lines = trouble.places["Redis, over time"].splitlines()
    assert not [line for line in lines if FOLDER in line and "farmhaul/1 " not in line]
    assert FOLDER in trouble.places["the command line"], "with the key it is readable"


def test_without_the_key_status_shows_states_but_no_paths(
    trouble: Trouble, farm_in_trouble: Farm
) -> None:
    for other in (None, Fernet.generate_key().decode()):
        done = farm_in_trouble.cli(
            "status", trouble.upload_ids[0], env={"FARMHAUL_SECRET_KEY": other}
        )
        line = json.loads(done.stdout)
        assert (done.returncode, line["state"]) == (0, "located")
        assert line["path"] == UNREADABLE


def test_signed_urls_are_unreadable_even_without_a_secret_key(farm: Farm) -> None:
    refused, reset = (farm.sandbox.ftrack.add_component("main.exr") for _ in range(2))
    farm.sandbox.faults.add("store", "status", 413, component_id=refused, body=QUOTED_URL)
    farm.sandbox.faults.add("store", "reset", component_id=reset)
    with everything_said_to(farm.redis) as wire:
        path = farm.make_file("main.exr", 1000)
        ids = [
            farm.upload(path=path, component_id=component_id).id
            for component_id in ("", refused, reset)
        ]
        farm.wait_located(ids[:1])
        farm.wait_state(ids[1:2], "failed")
        wait_until(lambda: farm.record(ids[2]).get("error"))
        farm.cli("cancel", ids[2])
        farm.wait_quiet()
    logs = "".join(worker.log_text(all_starts=True) for worker in farm.workers)
    assert "farmhaul.put_file" in wire.text
    assert "waiting for store: ConnectionError" in wire.text
    for text in (wire.text, values_of(farm.redis), logs):
        for secret in (seed.API_KEY, SIGNED_URL, QUOTED):
            assert secret.lower() not in text.lower()


# Flower


@pytest.fixture
def flower(farm: Farm, tmp_path: Path) -> Iterator[str]:
    """Start Flower for the workers, and return its address."""
    [port] = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    child = Child(
        "flower",
        [BIN / "celery", "-A", "workers", "flower", "--address=127.0.0.1", f"--port={port}"],
        tmp_path / "flower.log",
        env={**farm.env, "FLOWER_UNAUTHENTICATED_API": "true"},
    )
    try:
        child.wait_ready(lambda: requests.get(f"{address}/healthcheck", timeout=5).ok)
        yield address
    finally:
        child.stop()


def test_flower_shows_the_four_tasks_and_no_secret(farm: Farm, flower: str) -> None:
    def tasks() -> dict[str, Any]:
        found: dict[str, Any] = requests.get(f"{flower}/api/tasks", timeout=10).json()
        return found

    # Flower may listen a moment later than it answers.
    farm.wait_located([farm.upload().id])
    failed = farm.upload(component_id=str(uuid.uuid4()))
    farm.wait_state([failed.id], "failed")
    wait_until(lambda: any(task["state"] == "FAILURE" for task in tasks().values()))

    assert {task["name"] for task in tasks().values()} == {f"farmhaul.{stage}" for stage in STAGES}
    assert {task["state"] for task in tasks().values()} == {"SUCCESS", "FAILURE"}
    [failure] = [task for task in tasks().values() if task["state"] == "FAILURE"]
    assert failed.component_id in failure["exception"]
    pages = ["", "tasks", "workers", "broker", "metrics", "api/workers", "api/tasks"]
    pages += ["api/queues/length", *(f"task/{uuid}" for uuid in tasks())]
    pages += [f"api/task/info/{uuid}" for uuid in tasks()]
    pages += [f"worker/{name}" for name in requests.get(f"{flower}/api/workers", timeout=10).json()]
    for page in pages:
        answer = requests.get(f"{flower}/{page}", timeout=10)
        assert answer.status_code == 200, page
        assert SIGNED_URL not in answer.text, page
        assert seed.API_KEY not in answer.text, page
