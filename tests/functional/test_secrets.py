"""No API key and no signed URL is to be found; with a key of ours, no path either."""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import celery
import pytest
import redis
import requests
from cryptography.fernet import Fernet

from tasks.codec import UNREADABLE
from tests.farm import BIN, Farm, wait_until
from tests.functional.conftest import MakeFarm
from tests.sandbox import seed
from tests.sandbox.process import Child, free_ports

SIGNED_URL = "X-Amz-Signature"
STAGES = {
    "farmhaul.compute_checksum",
    "farmhaul.get_put_metadata",
    "farmhaul.put_file",
    "farmhaul.create_component_location",
}


class Wire:
    """All that went through a Redis, as text, and what of it was packed in base64."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @property
    def text(self) -> str:
        said = "\n".join(self.lines)
        packed = set(re.findall(r"[A-Za-z0-9+/]{24,}={0,2}", said))
        return "\n".join([said, *filter(None, map(_unpacked, packed))])


def _unpacked(text: str) -> str:
    # Message bodies are base64 inside of JSON.
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


@contextmanager
def everything_said_to(server: Any) -> Iterator[Wire]:
    """Collect every command and value: records, messages, events, results."""
    wire = Wire()
    listening = threading.Event()
    the_end = f"the end {uuid.uuid4()}"

    def listen() -> None:
        with server.monitor() as monitor:
            listening.set()
            for entry in monitor.listen():
                wire.lines.append(entry["command"])
                if the_end in entry["command"]:
                    break

    thread = threading.Thread(target=listen)
    thread.start()
    listening.wait(10)
    try:
        yield wire
    finally:
        server.echo(the_end)
        thread.join(10)


def values_of(server: Any) -> str:
    """All that Redis holds now, as text."""
    read = {
        "string": server.get,
        "hash": server.hgetall,
        "set": server.smembers,
        "zset": lambda key: server.zrange(key, 0, -1, withscores=True),
        "list": lambda key: server.lrange(key, 0, -1),
    }
    held = []
    for key in server.scan_iter("*"):
        with suppress(redis.ResponseError):  # it went meanwhile
            kind = server.type(key)
            held.append(f"{key} {read[kind](key) if kind in read else ''}")
    return "\n".join(held)


def run_with_trouble(farm: Farm, folder: str) -> list[str]:
    """Uploads that are located, fail, or are tried again; gives what the command line said."""
    ftrack, faults = farm.sandbox.ftrack, farm.sandbox.faults

    def enqueue_all(*component_ids: str) -> dict[str, str]:
        uploads = farm.enqueue_manifest(
            {"path": str(farm.make_file("main.exr", 1000, f"{folder}/{one}")), "component_id": one}
            for one in component_ids
        )
        return {upload["component_id"]: upload["upload_id"] for upload in uploads}

    # A batch of its own, as all URLs of a call run out together.
    expired = ftrack.add_component("main.exr")
    faults.add("ftrack", "url_lifetime_s", 0, times=1)
    farm.wait_located(enqueue_all(expired).values())

    kept = [ftrack.add_component("main.exr") for _ in range(6)]
    down, reset, digest, refused, forbidden, _ = kept
    unknown = str(uuid.uuid4())
    troubles = [
        faults.add("store", "status", 503, times=1, component_id=down),
        faults.add("store", "reset", times=1, component_id=reset),
        faults.add("store", "bad_digest", times=1, component_id=digest),
        faults.add("store", "status", 405, component_id=refused),
        faults.add("ftrack", "error", "PermissionError", action="create", component_id=forbidden),
    ]
    with farm.frozen():
        ids = enqueue_all(*kept, unknown)
        gone = farm.make_file("main.exr", 1000, f"{folder}/gone")
        component_id = ftrack.add_component("main.exr")
        [missing] = farm.enqueue(gone, "--component-id", component_id)
        gone.unlink()
    farm.wait_state([missing["upload_id"]], "waiting")
    failing = [ids.pop(one) for one in (refused, forbidden, unknown)]
    farm.wait_state(failing, "failed")
    farm.wait_located(ids.values())
    assert all(faults.struck(number) for number in troubles)
    options = [("--all",), (), ("--failed", "--json")]
    said = [farm.cli("status", *some) for some in options]
    farm.cli("cancel", missing["upload_id"])
    return [f"{done.stdout}{done.stderr}" for done in said]


def test_neither_api_key_nor_signed_url_is_to_be_found(farm: Farm) -> None:
    with everything_said_to(farm.redis) as wire:
        said = run_with_trouble(farm, uuid.uuid4().hex)
        farm.wait_quiet()
    places = {
        "the logs": "".join(worker.log_text(all_starts=True) for worker in farm.workers),
        "Redis, over time": wire.text,
        "Redis, now": values_of(farm.redis),
        "the command line": "".join(said),
    }
    assert "farmhaul.put_file" in wire.text, "messages were seen"
    assert '"type": "task-succeeded"' in wire.text.replace("\\", ""), "and events"
    for place, text in places.items():
        assert seed.API_KEY not in text, place
        assert SIGNED_URL not in text, place
        assert SIGNED_URL.lower() not in text.lower(), place


def test_with_a_key_of_ours_no_path_can_be_read_in_redis(sealed: Farm) -> None:
    key = sealed.env["FARMHAUL_SECRET_KEY"]
    with everything_said_to(sealed.redis) as wire:
        said = run_with_trouble(sealed, "secret-show")
        sealed.wait_quiet()
    assert "secret-show" in said[0], "who has the key can read it"
    places = {"over time": wire.text, "now": values_of(sealed.redis)}
    for place, text in places.items():
        assert "secret-show" not in text, place
    for text in (*places.values(), sealed.workers[0].log_text(), *said):
        assert key not in text
        assert seed.API_KEY not in text
        assert SIGNED_URL not in text


def test_with_a_key_of_ours_what_went_wrong_can_not_be_read(sealed: Farm) -> None:
    path = sealed.make_file("main.exr", 10, "secret-show")
    with sealed.frozen():
        component_id = sealed.sandbox.ftrack.add_component("main.exr")
        [upload] = sealed.enqueue(path, "--component-id", component_id)
        path.unlink()
    sealed.wait_state([upload["upload_id"]], "waiting")
    assert "secret-show" not in values_of(sealed.redis)


def test_who_has_no_key_sees_states_but_no_paths(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=0, env={"FARMHAUL_SECRET_KEY": Fernet.generate_key().decode()})
    [upload] = farm.enqueue(farm.make_file("main.exr", 10), "--component-id", str(uuid.uuid4()))
    for other in (None, Fernet.generate_key().decode()):
        done = farm.cli("status", upload["upload_id"], env={"FARMHAUL_SECRET_KEY": other})
        line = json.loads(done.stdout)
        assert (done.returncode, line["state"]) == (0, "pending")
        assert line["path"] == UNREADABLE


# Who has no key can make no worker do anything


def enqueue(farm: Farm, **env: str) -> dict[str, Any]:
    component_id = farm.sandbox.ftrack.add_component("main.exr")
    path = farm.make_file("main.exr", 1000)
    [upload] = farm.enqueue(path, "--component-id", component_id, env=env)
    return upload


@pytest.mark.parametrize("disguised", [False, True], ids=["plain JSON", "said to be sealed"])
def test_a_message_of_nobody_of_ours_is_refused(sealed: Farm, disguised: bool) -> None:
    from kombu.serialization import register, unregister

    register("disguised", json.dumps, json.loads, "application/x-farmhaul", "utf-8")
    try:
        with celery.Celery(
            broker=sealed.env["FARMHAUL_REDIS_URL"], set_as_current=False
        ) as stranger:
            sent = stranger.send_task(
                "farmhaul.compute_checksum",
                kwargs={"host": ""},
                queue="farmhaul",
                priority=3,
                ignore_result=True,
                serializer="disguised" if disguised else "json",
            )
    finally:
        unregister("disguised")
    wait_until(lambda: sealed.redis.hget("farmhaul:totals", "refused") == "1")
    assert sent.id not in sealed.workers[0].log_text()

    sealed.wait_located([enqueue(sealed)["upload_id"]])
    assert sealed.workers[0].alive


def error_of(farm: Farm, upload_id: str, **env: str) -> str:
    """What ``status`` says of an upload's error."""
    [line] = farm.cli("status", upload_id, "--json", env=env).stdout.splitlines()
    return str(json.loads(line)["error"])


def test_a_record_of_nobody_of_ours_is_dropped_and_not_run(sealed: Farm) -> None:
    component_id = sealed.sandbox.ftrack.add_component("stolen.exr")
    path = sealed.make_file("stolen.exr", b"secret")
    foreign = str(uuid.uuid4())
    request = {
        "id": foreign,
        "path": str(path),
        "target": {"component_id": component_id},
        "allow_empty": False,
    }
    fields: dict[str, Any] = {
        "component": component_id,
        "request": json.dumps(request),
        "state": "pending",
        "host": "",
        "score": 0,
        "size": 6,
    }
    sealed.redis.hset(f"farmhaul:upload:{foreign}", mapping=fields)
    sealed.redis.zadd("farmhaul:state:pending", {foreign: 0})
    sealed.redis.zadd("farmhaul:pending", {foreign: 0})

    sealed.wait_located([enqueue(sealed)["upload_id"]])
    sealed.wait_state([foreign], "failed")
    assert "is not sealed with a key of this node" in error_of(sealed, foreign)
    assert "upload_refused" in sealed.workers[0].log_text()
    assert len(sealed.sandbox.store.puts()) == 1
    assert not sealed.sandbox.store.exists(component_id)


def test_a_sealed_request_does_not_fit_another_record(sealed: Farm) -> None:
    """What was sealed for one upload can not be moved to another component's record."""
    upload = enqueue(sealed)
    sealed.wait_located([upload["upload_id"]])
    foreign = str(uuid.uuid4())
    fields: dict[str, Any] = {
        **sealed.record(upload["upload_id"]),
        "component": str(uuid.uuid4()),
        "state": "pending",
        "stored": "",
    }
    sealed.redis.hset(f"farmhaul:upload:{foreign}", mapping=fields)
    sealed.redis.zadd("farmhaul:pending", {foreign: 0})
    sealed.wait_state([foreign], "failed")
    assert "belongs to another upload" in error_of(sealed, foreign)
    assert len(sealed.sandbox.store.puts()) == 1


def test_a_hook_with_another_key_is_told_by_status_what_is_wrong(sealed: Farm) -> None:
    other = Fernet.generate_key().decode()
    upload = enqueue(sealed, FARMHAUL_SECRET_KEY=other)
    sealed.wait_state([upload["upload_id"]], "failed")
    for key in (other, sealed.env["FARMHAUL_SECRET_KEY"]):
        error = error_of(sealed, upload["upload_id"], FARMHAUL_SECRET_KEY=key)
        assert "is FARMHAUL_SECRET_KEY the same on all nodes?" in error
    assert sealed.sandbox.store.puts() == []


@pytest.mark.chaos
def test_keys_are_changed_without_a_stop(make_farm: MakeFarm) -> None:
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    farm = make_farm(env={"FARMHAUL_SECRET_KEY": f"{new},{old}"}, options=("-c", "1"))
    farm.wait_located([enqueue(farm, FARMHAUL_SECRET_KEY=old)["upload_id"]])
    farm.wait_located([enqueue(farm, FARMHAUL_SECRET_KEY=new)["upload_id"]])


# Flower


@pytest.fixture
def flower(farm: Farm, tmp_path: Path) -> Iterator[str]:
    """Flower beside the workers; its address."""
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


def test_flower_shows_the_four_tasks_by_name_and_no_secret(farm: Farm, flower: str) -> None:
    def tasks() -> dict[str, Any]:
        found: dict[str, Any] = requests.get(f"{flower}/api/tasks", timeout=10).json()
        return found

    # Flower may listen a moment later than it answers.
    farm.wait_located([enqueue(farm)["upload_id"]])
    failed = farm.enqueue(farm.make_file("main.exr", 10), "--component-id", str(uuid.uuid4()))
    farm.wait_state([failed[0]["upload_id"]], "failed")
    wait_until(lambda: any(task["state"] == "FAILURE" for task in tasks().values()))

    assert {task["name"] for task in tasks().values()} == STAGES
    assert {task["state"] for task in tasks().values()} == {"SUCCESS", "FAILURE"}
    [failure] = [task for task in tasks().values() if task["state"] == "FAILURE"]
    assert failed[0]["component_id"] in failure["exception"]
    pages = ["", "tasks", "workers", "broker", "metrics", "api/workers", "api/tasks"]
    pages += ["api/queues/length", *(f"task/{uuid}" for uuid in tasks())]
    pages += [f"api/task/info/{uuid}" for uuid in tasks()]
    pages += [f"worker/{name}" for name in requests.get(f"{flower}/api/workers", timeout=10).json()]
    for page in pages:
        answer = requests.get(f"{flower}/{page}", timeout=10)
        assert answer.status_code == 200, page
        assert SIGNED_URL not in answer.text, page
        assert seed.API_KEY not in answer.text, page
