"""Who reaches Redis without our key makes no worker do anything, and stops none."""

from __future__ import annotations

import base64
import json
import pickle
import time
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import celery
import pytest
from cryptography.fernet import Fernet
from kombu.serialization import register, unregister

from tasks.config.sealing import CONTENT_TYPE, Codec
from tasks.intake.request import UploadRequest
from tasks.transfer.targets import Target
from tests.farm import Farm, wait_until
from tests.functional.conftest import MakeFarm
from tests.helpers.controller import controller

RING = "farmhaul\x06\x163"
PIDBOX = "/{db}.celery.pidbox"

Message = dict[str, Any]


def keys_of(farm: Farm) -> list[str]:
    """Its keys: the one that writes, and an old one."""
    return farm.env["FARMHAUL_SECRET_KEY"].split(",")


def refused(farm: Farm) -> int:
    return int(farm.redis.hget("farmhaul:totals", "refused") or 0)


def check_refused(farm: Farm, times: int = 1) -> None:
    """So many messages were dropped; the worker lives, works, and is free again."""
    worker = farm.workers[0]
    farm.wait_located([farm.upload().id])
    wait_until(
        lambda: refused(farm) == times,
        describe=lambda: f"refused {refused(farm)} of {times}: {worker.log_text()[-2000:]}",
    )
    farm.wait_quiet()
    assert worker.alive
    wait_until(lambda: "message_refused" in worker.log_text())
    assert "Traceback" not in worker.log_text()


@pytest.fixture(scope="module")
def wake(running_sealed: Farm) -> Message:
    """A message as hooks send it, sealed by them: for tests that change it, a copy each."""
    farm = running_sealed
    farm.start()
    with farm.frozen():
        # A worker that waits for messages has Redis send it the next one, frozen or not.
        for _ in range(2):
            farm.upload()
        wait_until(lambda: farm.redis.llen(RING))
        message: Message = json.loads(farm.redis.lindex(RING, 0))
    return message


GARBAGE: dict[str, str | bytes] = {
    "text": "reboot, please",
    "bytes": b"\xff\xfe\x00",
    "nothing": "",
    "a list": "[]",
    "a number": "5",
    "an empty object": "{}",
    "only properties": '{"properties": {}}',
    "a value of a type that it does not fit": '{"__type__": "datetime", "__value__": 5}',
    "a value of a type that nobody knows": '{"__type__": "x", "__value__": 5}',
    "nested too deep": "[" * 100_000,
    "headers that are none": '{"headers": 5, "properties": 5, "body": 5}',
}


@pytest.mark.parametrize("fixture", ["sealed", "farm"], ids=["with a key", "without one"])
def test_what_is_no_message_is_dropped(request: pytest.FixtureRequest, fixture: str) -> None:
    farm: Farm = request.getfixturevalue(fixture)

    for item in GARBAGE.values():
        farm.redis.lpush(RING, item)
        wait_until(partial(farm.redis.publish, pidbox(farm), item))
    farm.wait_located([farm.upload().id])
    farm.wait_quiet()

    for worker in farm.workers:
        assert worker.alive, worker.log_text()
    wait_until(lambda: refused(farm) >= 2 * len(GARBAGE) - 4, describe=lambda: str(refused(farm)))


@pytest.mark.slow
@pytest.mark.parametrize("fixture", ["sealed", "farm"], ids=["with a key", "without one"])
def test_what_is_taken_and_is_no_message_is_dropped(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    farm: Farm = request.getfixturevalue(fixture)

    for item in GARBAGE.values():
        farm.redis.hset("unacked", tag := str(uuid.uuid4()), item)
        farm.redis.zadd("unacked_index", {tag: 1})
    farm.wait_located([farm.upload().id])
    farm.wait_quiet(timeout_s=120)  # workers look when a lease may be over

    for worker in farm.workers:
        assert worker.alive, worker.log_text()
    # A lower bound: an unacknowledged message may be put back, and so be refused as a queued one.
    wait_until(lambda: refused(farm) >= len(GARBAGE) - 4, describe=lambda: str(refused(farm)))


def pidbox(farm: Farm) -> str:
    return PIDBOX.format(db=farm.redis.get_connection_kwargs()["db"])


def test_a_pickle_is_not_opened(wake: Message, sealed: Farm, tmp_path: Path) -> None:
    body = pickle.dumps(Bomb(str(tmp_path / "opened")))
    message = {
        **wake,
        "body": base64.b64encode(body).decode(),
        "content-type": "application/x-python-serialize",
        "content-encoding": "binary",
    }

    sealed.redis.lpush(RING, json.dumps(message))

    check_refused(sealed)
    assert not (tmp_path / "opened").exists()


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


CHANGES: dict[str, dict[str, Any]] = {
    "another task under an old body": {"task": "farmhaul.put_parts"},
    "another id": {"id": str(uuid.uuid4())},
    "another root": {"root_id": str(uuid.uuid4())},
    "a limit that kills": {"timelimit": [0.001, None]},
    "a time in the future": {"eta": "2999-01-01T00:00:00"},
    "a text for Flower": {"argsrepr": "click here"},
    "a callback queue": {"ignore_result": False},
}


def test_headers_that_were_changed_are_not_believed(wake: Message, sealed: Farm) -> None:
    def but(part: str, **changes: Any) -> str:
        return json.dumps({**wake, part: {**wake[part], **changes}})

    forged = [but("headers", **change) for change in CHANGES.values()]
    forged += [but("properties", reply_to=str(uuid.uuid4()))]
    # As messages were before they had seals.
    bare = {name: value for name, value in wake["headers"].items() if name != "seal"}
    forged += [json.dumps({**wake, "headers": bare})]
    sealed.redis.lpush(RING, *forged)

    check_refused(sealed, len(forged))


def test_what_another_celery_sends_is_dropped(sealed: Farm) -> None:
    """As plain JSON, and as plain JSON that calls itself sealed."""
    register("disguised", json.dumps, json.loads, CONTENT_TYPE, "utf-8")
    url = sealed.env["FARMHAUL_REDIS_URL"]
    try:
        with celery.Celery(broker=url, set_as_current=False) as stranger:
            sent = [
                stranger.send_task(
                    *("farmhaul.compute_checksum", None, {"host": ""}),
                    queue="farmhaul",
                    priority=3,
                    ignore_result=True,
                    serializer=serializer,
                ).id
                for serializer in ("json", "disguised")
            ]
    finally:
        unregister("disguised")

    check_refused(sealed, 2)
    assert [one for one in sent if one in sealed.workers[0].log_text()] == []


def test_an_identical_message_counts_as_a_redelivery(wake: Message, sealed: Farm) -> None:
    sealed.redis.lpush(RING, json.dumps(wake), json.dumps(wake))
    sealed.wait_quiet()

    assert sealed.sandbox.store.puts() == []
    assert refused(sealed) == 0


# Remote control


def operator(farm: Farm, key: str | None) -> AbstractContextManager[celery.Celery]:
    """An app as operators have it, in this process, with a key of its own or none."""
    return controller({**farm.env, "FARMHAUL_SECRET_KEY": key or ""})


def test_remote_control_takes_our_key(sealed: Farm) -> None:
    with operator(sealed, keys_of(sealed)[0]) as app:
        # Listening begins a moment after the worker is ready.
        wait_until(lambda: app.control.ping(timeout=1, limit=1))
    for key in (None, Fernet.generate_key().decode()):
        with operator(sealed, key) as app:
            app.control.shutdown()
            app.control.rate_limit("farmhaul.put_file", "1/h")

    check_refused(sealed, 4)


def test_a_shutdown_that_somebody_overheard_ends_no_worker_later(sealed: Farm) -> None:
    """What is said now is believed for a minute."""
    from workers.broker import seal

    sent = time.time() - 61
    codec = Codec(keys_of(sealed))
    message: Message = {
        "body": "",
        "content-type": "application/x-farmhaul",
        "content-encoding": "utf-8",
        "headers": {},
        "properties": {"delivery_tag": "1", "delivery_info": {"exchange": "celery.pidbox"}},
    }
    said = codec.encode({"method": "shutdown", "arguments": {}, "destination": None})
    message["body"] = base64.b64encode(said.encode()).decode()
    digest = seal._digest(message)
    message["headers"]["seal"] = (
        codec._fernet._fernets[0].encrypt_at_time(json.dumps(digest).encode(), int(sent)).decode()
    )

    # Listening begins a moment after the worker is ready.
    wait_until(lambda: sealed.redis.publish(pidbox(sealed), json.dumps(message)))

    check_refused(sealed)


# Records


def put_record(farm: Farm, fields: Mapping[str, Any]) -> str:
    """Write a record among the pending past our commands; gives its id."""
    upload_id = str(fields.get("id") or uuid.uuid4())
    rest = {name: value for name, value in fields.items() if name != "id"}
    farm.redis.hset(
        f"farmhaul:upload:{upload_id}",
        mapping={"state": "pending", "host": "", "score": 0, "size": 6, **rest},
    )
    farm.redis.zadd("farmhaul:state:pending", {upload_id: 0})
    farm.redis.zadd("farmhaul:pending", {upload_id: 0})
    return upload_id


def error_of(farm: Farm, upload_id: str, **env: str) -> str:
    """What ``status`` says of an upload's error."""
    [line] = farm.cli("status", upload_id, "--json", env=env).stdout.splitlines()
    return str(json.loads(line)["error"])


def check_not_run(farm: Farm, upload_id: str, why: str) -> None:
    """The record was refused, told of and counted, and nothing of it was sent."""
    farm.wait_located([farm.upload().id])
    farm.wait_state([upload_id], "failed")
    assert why in error_of(farm, upload_id)
    wait_until(lambda: refused(farm) == 1, describe=lambda: str(refused(farm)))
    assert farm.workers[0].log_text().count("upload_refused") == 1
    assert not farm.redis.zcard("farmhaul:pending")


def test_a_record_without_a_valid_seal_is_dropped_and_counted(sealed: Farm) -> None:
    """Its request is as good as any, as a hook without a key would write it."""
    component_id = sealed.sandbox.ftrack.add_component("stolen.exr")
    path = sealed.make_file("stolen.exr", b"secret")
    request = UploadRequest(str(path), Target(component_id), 6, 0)
    fields = {
        "id": request.upload_id,
        "component": component_id,
        "request": json.dumps(request.to_record()),
    }
    upload_id = put_record(sealed, fields)
    sealed.redis.zadd("farmhaul:pending", {"no record at all": 0})

    check_not_run(sealed, upload_id, "is not sealed with a key of this node")

    assert len(sealed.sandbox.store.puts()) == 1
    assert not sealed.sandbox.store.exists(component_id)


def test_a_sealed_request_does_not_fit_another_record(sealed: Farm) -> None:
    """What was sealed for one upload cannot be moved to another component's record."""
    upload_id = sealed.upload().id
    sealed.wait_located([upload_id])
    fields = {**sealed.record(upload_id), "component": str(uuid.uuid4()), "stored": ""}
    foreign = put_record(sealed, fields | {"state": "pending"})

    check_not_run(sealed, foreign, "belongs to another upload")

    assert len(sealed.sandbox.store.puts()) == 2


@pytest.mark.parametrize("key", ["", Fernet.generate_key().decode()], ids=["none", "other"])
def test_what_a_hook_with_another_key_asks_for_is_refused(sealed: Farm, key: str) -> None:
    """The log of the worker says why; the hook cannot know."""
    path = sealed.make_file("main.exr", 1000)
    component_id = sealed.sandbox.ftrack.add_component("main.exr")
    waited = sealed.cli(
        "enqueue", path, "--component-id", component_id, "--wait",
        env={"FARMHAUL_SECRET_KEY": key or None},
    )  # fmt: skip

    assert waited.returncode == 4
    assert "look for requests_refused in their logs" in waited.stderr
    line = sealed.workers[0].log_text().partition("requests_refused")[2]
    assert ("another key, or altered" if key else "it is not signed") in line
    assert sealed.redis.hget("farmhaul:totals", "refused_requests") == "1"
    assert sealed.sandbox.store.puts() == []
    status = sealed.cli("status")
    assert status.stderr.startswith("farmhaul: workers have refused requests (1 from ")
    assert status.stderr.count("\n") == 1


# Keys are changed


def test_what_hooks_with_the_old_or_the_new_key_enqueue_is_uploaded(sealed: Farm) -> None:
    new, old = keys_of(sealed)
    for key in (old, new):
        sealed.wait_located([sealed.upload(env={"FARMHAUL_SECRET_KEY": key}).id])
    assert refused(sealed) == 0


@pytest.mark.slow
def test_keys_are_changed_while_uploads_are_under_way(make_farm: MakeFarm) -> None:
    """Worker by worker, as in an upgrade; each finds messages and records of either key."""
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    # So slow that a restart finds uploads under way.
    env = {"FARMHAUL_SECRET_KEY": old, "FARMHAUL_BANDWIDTH": "300k"}
    farm = make_farm(workers=2, env=env, options=("-c", "1"))
    for of_hooks, of_workers in ((old, f"{old},{new}"), (old, f"{new},{old}"), (new, new)):
        farm.env["FARMHAUL_SECRET_KEY"] = of_hooks
        ids: list[str] = []
        for worker in farm.workers:
            paths = [str(farm.make_file("main.exr", 100_000)) for _ in range(8)]
            entries = [
                {"path": path, "component_id": farm.sandbox.ftrack.add_component("main.exr")}
                for path in paths
            ]
            ids += [one["upload_id"] for one in farm.enqueue_manifest(entries)]
            assert set(farm.states(ids)) != {"located"}
            worker.env["FARMHAUL_SECRET_KEY"] = of_workers
            worker.restart()
        # The old key is taken away when nothing is left that it has sealed.
        farm.wait_located(ids)
        farm.wait_quiet()  # wake-ups are messages, too
    assert refused(farm) == 0
