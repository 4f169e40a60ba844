"""Who reaches Redis without our key makes no worker do anything, and stops none."""

from __future__ import annotations

import base64
import json
import pickle
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import celery
import pytest
from cryptography.fernet import Fernet
from kombu.serialization import unregister
from kombu.transport import _transport_cache

from tasks.codec import SERIALIZER, Codec
from tasks.settings import Settings
from tests.farm import Farm, wait_until
from tests.functional.conftest import MakeFarm

RING = "farmhaul\x06\x163"
PIDBOX = "/{db}.celery.pidbox"

Message = dict[str, Any]


def key_of(farm: Farm) -> str:
    return farm.env["FARMHAUL_SECRET_KEY"]


def enqueue(farm: Farm, **env: str) -> str:
    component_id = farm.sandbox.ftrack.add_component("main.exr")
    path = farm.make_file("main.exr", 1000)
    [upload] = farm.enqueue(path, "--component-id", component_id, env=env)
    return str(upload["upload_id"])


def refused(farm: Farm) -> int:
    return int(farm.redis.hget("farmhaul:totals", "refused") or 0)


def check_refused(farm: Farm, times: int = 1) -> None:
    """So many messages were dropped; the worker lives, works, and is free again."""
    worker = farm.workers[0]
    farm.wait_located([enqueue(farm)])
    wait_until(
        lambda: refused(farm) == times,
        describe=lambda: f"refused {refused(farm)} of {times}: {worker.log_text()[-2000:]}",
    )
    farm.wait_quiet()
    assert worker.alive
    log = worker.log_text()
    assert "message_refused" in log
    assert "Traceback" not in log


def a_ring(farm: Farm) -> Message:
    """A message as hooks send it: sealed by them."""
    farm.redis.delete(RING)
    with farm.frozen():
        # A worker that waits for messages has Redis send it the next one, frozen or not.
        for _ in range(3):
            enqueue(farm)
        wait_until(lambda: farm.redis.llen(RING))
        message: Message = json.loads(farm.redis.lindex(RING, 0))
    farm.wait_quiet()
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


@pytest.mark.parametrize("has_key", [True, False], ids=["with a key", "without one"])
def test_what_is_no_message_is_dropped(sealed: Farm, make_farm: MakeFarm, has_key: bool) -> None:
    farm = sealed if has_key else make_farm(options=("-c", "1", "--without-gossip"))

    for item in GARBAGE.values():
        farm.redis.lpush(RING, item)
        wait_until(partial(farm.redis.publish, pidbox(farm), item))
        farm.redis.hset("unacked", tag := str(uuid.uuid4()), item)
        farm.redis.zadd("unacked_index", {tag: 1})
    farm.wait_located([enqueue(farm)])
    farm.wait_quiet()

    assert farm.workers[0].alive, farm.workers[0].log_text()
    # Of the unacknowledged ones some are put back first, and dropped then.
    wait_until(lambda: refused(farm) >= 3 * len(GARBAGE) - 4, describe=lambda: str(refused(farm)))


def pidbox(farm: Farm) -> str:
    return PIDBOX.format(db=farm.redis.get_connection_kwargs()["db"])


def test_a_pickle_is_not_opened(sealed: Farm, tmp_path: Path) -> None:
    message = a_ring(sealed)
    body = pickle.dumps(Bomb(str(tmp_path / "opened")))
    message |= {
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


def test_headers_that_were_changed_are_not_believed(sealed: Farm) -> None:
    message = a_ring(sealed)

    for change in CHANGES.values():
        forged = {**message, "headers": {**message["headers"], **change}}
        sealed.redis.lpush(RING, json.dumps(forged))
    other = {**message["properties"], "reply_to": str(uuid.uuid4())}
    sealed.redis.lpush(RING, json.dumps({**message, "properties": other}))

    check_refused(sealed, len(CHANGES) + 1)


def test_the_very_same_message_again_is_one_that_redis_may_have_delivered_again(
    sealed: Farm,
) -> None:
    message = a_ring(sealed)
    puts = len(sealed.sandbox.store.puts())

    sealed.redis.lpush(RING, json.dumps(message))
    sealed.wait_quiet()

    assert len(sealed.sandbox.store.puts()) == puts
    assert refused(sealed) == 0


# Remote control


@contextmanager
def operator(farm: Farm, key: str | None) -> Iterator[celery.Celery]:
    """An app as operators have it, in this process, with a key of its own or none."""
    env = {**farm.env, "FARMHAUL_SECRET_KEY": key or ""}
    # Imported late: importing it reads this process' environment.
    from workers import seal
    from workers.config import make_config

    settings = Settings.from_environment(env)
    # As in a process that has not connected yet: tests before may have used kombu's own.
    _transport_cache.clear()
    with celery.Celery(set_as_current=False) as app:
        app.conf.update(make_config(settings))
        try:
            yield app
        finally:
            seal.use(Codec(()))
            unregister(SERIALIZER)


def test_remote_control_takes_our_key(sealed: Farm) -> None:
    with operator(sealed, key_of(sealed)) as app:
        # Listening begins a moment after the worker is ready.
        wait_until(lambda: app.control.ping(timeout=1, limit=1))
    for key in (None, Fernet.generate_key().decode()):
        with operator(sealed, key) as app:
            app.control.shutdown()
            app.control.rate_limit("farmhaul.put_file", "1/h")

    check_refused(sealed, 4)


def test_a_shutdown_that_somebody_overheard_ends_no_worker_later(sealed: Farm) -> None:
    """What is said now is believed for a minute."""
    from workers import seal

    sent = time.time() - 61
    codec = Codec([key_of(sealed)])
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


def test_what_somebody_else_puts_among_the_pending_is_dropped_and_counted(sealed: Farm) -> None:
    upload_id = str(uuid.uuid4())
    foreign: dict[str, Any] = {
        "component": str(uuid.uuid4()),
        "request": json.dumps({"path": "/etc/passwd"}),
        "state": "pending",
        "host": "",
        "score": 0,
        "size": 6,
    }
    sealed.redis.hset(f"farmhaul:upload:{upload_id}", mapping=foreign)
    sealed.redis.zadd("farmhaul:pending", {upload_id: 0, "no record at all": 0})

    sealed.wait_located([enqueue(sealed)])
    sealed.wait_state([upload_id], "failed")
    wait_until(lambda: refused(sealed) == 1, describe=lambda: str(refused(sealed)))

    assert sealed.workers[0].log_text().count("upload_refused") == 1
    assert not sealed.redis.zcard("farmhaul:pending")
    assert len(sealed.sandbox.store.puts()) == 1


# Versions and keys


def test_what_was_queued_before_messages_had_seals_is_uploaded_all_the_same(
    make_farm: MakeFarm,
) -> None:
    key = Fernet.generate_key().decode()
    farm = make_farm(workers=0, env={"FARMHAUL_SECRET_KEY": key})
    uploads = [enqueue(farm) for _ in range(3)]
    rings = [json.loads(one) for one in farm.redis.lrange(RING, 0, -1)]
    farm.redis.delete(RING)
    for message in rings:
        del message["headers"]["seal"]
        farm.redis.rpush(RING, json.dumps(message))

    farm.add(options=("-c", "1"))

    farm.wait_located(uploads)
    assert refused(farm) == len(rings) > 0


@pytest.mark.chaos
def test_keys_are_changed_while_uploads_are_under_way(make_farm: MakeFarm) -> None:
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    farm = make_farm(env={"FARMHAUL_SECRET_KEY": f"{old},{new}"}, options=("-c", "1"))
    farm.workers[0].stop()
    uploads = [enqueue(farm, FARMHAUL_SECRET_KEY=old) for _ in range(3)]
    queued = farm.redis.llen(RING)
    farm.workers[0].env["FARMHAUL_SECRET_KEY"] = f"{new},{old}"
    farm.start()
    uploads += [enqueue(farm, FARMHAUL_SECRET_KEY=f"{new},{old}")]
    farm.wait_located(uploads)
    farm.workers[0].stop()
    farm.workers[0].env["FARMHAUL_SECRET_KEY"] = new
    farm.start()

    farm.wait_located([enqueue(farm, FARMHAUL_SECRET_KEY=new)])

    assert queued, "something was under way"
    assert refused(farm) == 0
