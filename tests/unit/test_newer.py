"""How a worker keeps what a newer version of farmhaul has sent, on a real Redis."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from importlib import import_module
from inspect import getsource
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from tasks.config.redis_client import worker_redis
from tasks.config.sealing import Codec
from tasks.config.settings import Settings
from tasks.intake import newer, wire
from tasks.intake.envelope import make_body, sign
from tasks.intake.from_wire import from_wire
from tasks.intake.inbox import INBOX
from tasks.intake.request import UploadRequest
from tasks.intake.wire import to_wire
from tasks.records import unread
from tasks.records.keys import RETURNED, TAKING, TOTALS, UNREAD, unread_key, upload_key
from tasks.records.scripts import Scripts
from tasks.records.status import Status
from tasks.transfer.targets import NewVersion, Target
from tests.sandbox import RedisServer
from workers.cli import wait
from workers.config import make_config
from workers.doctor.farm import CHECKS
from workers.doctor.finding import Farm
from workers.steps import entries, intake, refusals
from workers.steps.intake import TakeIn
from workers.wording import not_taken_in, troubles

REQUEST = UploadRequest("/mnt/a.exr", Target("5d27e920-0000-4000-8000-000000000001"), 1, 1)


@pytest.fixture
def client(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("FARMHAUL_REDIS_URL", redis_server.url)
    monkeypatch.setattr(intake, "PAUSE_S", 0)
    monkeypatch.setattr(intake, "WAIT_S", 0.05)
    monkeypatch.setattr(intake, "UNREAD_S", 0)
    monkeypatch.setattr(refusals, "VERSION", "1.9.0")
    with redis_server.client() as client:
        yield client


@pytest.fixture
def step(client: Any) -> TakeIn:
    app = Celery("farmhaul", set_as_current=False)
    app.conf.update(make_config(Settings.from_environment()))
    return TakeIn(SimpleNamespace(hostname="w1@node7", app=app))


@pytest.fixture
def scripts(client: Any) -> Scripts:
    return Scripts(worker_redis(Settings.from_environment()), Codec([]))


def entry(**more: Any) -> bytes:
    return sign(make_body([{**to_wire(REQUEST), **more}], time.time(), "node9"), ())


def of_newer_form(size: int = 0) -> bytes:
    return b"farmhaul/2 -\n" + bytes(size)


def upgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the worker be of a version that reads the new field."""

    def reads(values: dict[str, Any]) -> Any:
        return from_wire({key: value for key, value in values.items() if key != "colour"})

    monkeypatch.setattr(refusals, "VERSION", "1.10.0")
    monkeypatch.setattr(entries, "from_wire", reads)


NEWER = [
    entry(colour="red"),
    entry(new_version={"context": "p", "asset": "a", "asset_type": "b", "colour": "red"}),
    entry(publish="p", components=[{"path": "/mnt/a.exr", "name": "a", "colour": "red"}]),
    entry(only_in="x", also_in=5, colour="red"),
    entry(components=[], prune=True, colour=5),
    sign(make_body([to_wire(REQUEST)], 1.0, "node9")[:-1] + b',"colour":"red"}', ()),
    of_newer_form(),
    b"farmhaul/12 " + b"f" * 200,
]


@pytest.mark.parametrize("number", range(len(NEWER)))
def test_what_a_newer_version_has_sent_waits_for_its_workers(
    step: TakeIn,
    client: Any,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client.lpush(INBOX, NEWER[number], good := entry())
    step.act()
    step.act()

    assert client.hget(upload_key(REQUEST.upload_id), "state") == "pending", good
    assert client.llen(INBOX) == client.llen(TAKING) == 0
    assert client.llen(unread_key("1.9.0")) == 1
    assert client.hgetall(UNREAD) == {"1.9.0": str(len(NEWER[number]))}
    assert client.hget(TOTALS, "refused_requests") is None
    [line] = caplog.messages
    assert line.startswith("requests_kept count=1 hosts=")

    monkeypatch.setattr(refusals, "VERSION", "1.10.0")
    step.act()

    assert client.llen(unread_key("1.9.0")) == 0, "the newer worker has looked at it"
    assert client.hkeys(UNREAD) == ["1.10.0"]


def test_a_newer_worker_takes_it_in(
    step: TakeIn, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.lpush(INBOX, entry(colour="red"))
    step.act()
    assert client.hgetall(upload_key(REQUEST.upload_id)) == {}

    upgrade(monkeypatch)
    step.act()

    assert client.hget(upload_key(REQUEST.upload_id), "state") == "pending"
    assert client.exists(UNREAD, unread_key("1.9.0"), INBOX, TAKING, RETURNED) == 0


def test_a_task_by_its_name_waits_where_only_ids_are_known(
    step: TakeIn, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(task: str) -> UploadRequest:
        new = NewVersion("demo", task, "Render", task=task)
        target = Target.under_version(new.version_id, "main", new_version=new)
        return UploadRequest("/mnt/a.exr", target, 1, 1)

    named, by_id = asked("lighting"), asked(REQUEST.component_id)
    for one in (named, by_id):
        client.lpush(INBOX, sign(make_body([to_wire(one)], time.time(), "node9"), ()))
    former = tuple(key for key in wire.NEW_VERSION if key != "task_name")
    with monkeypatch.context() as patch:
        patch.setattr("tasks.intake.from_wire.NEW_VERSION", former)
        patch.setattr(newer, "NEW_VERSION", former)
        step.act()

    assert client.hget(upload_key(by_id.upload_id), "state") == "pending"
    assert client.hgetall(upload_key(named.upload_id)) == {}
    assert client.llen(unread_key("1.9.0")) == 1
    assert client.hget(TOTALS, "refused_requests") is None

    monkeypatch.setattr(refusals, "VERSION", "1.10.0")
    step.act()

    assert client.hget(upload_key(named.upload_id), "state") == "pending"


def test_what_is_malformed_is_refused(step: TakeIn, client: Any) -> None:
    client.lpush(INBOX, entry(size="big"), b"farmhaul/0 -\n", b"farmhaul/x", b"farmhaul/99999 -\n")
    step.act()

    assert client.hget(TOTALS, "refused_requests") == "4"
    assert client.exists(UNREAD) == 0


def test_no_more_is_kept_than_there_is_room_for(
    step: TakeIn, client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody can verify is refused then, and keeps out no verified one."""
    monkeypatch.setattr(unread, "MOST_BYTES", 500)
    size = 480
    client.lpush(INBOX, *(of_newer_form(size) for _ in range(3)))
    step.act()
    assert client.llen(unread_key("1.9.0")) == 1
    assert client.hget(TOTALS, "refused_requests") == "2"

    client.lpush(INBOX, *(entry(colour="red" * 30) for _ in range(3)), entry())
    step.act()

    assert client.llen(unread_key("1.9.0")) == 4
    assert client.exists(INBOX, TAKING) == 0
    assert client.hget(upload_key(REQUEST.upload_id), "state") == "pending"
    assert client.hget(TOTALS, "refused_requests") == "2"


def test_what_is_malformed_next_to_it_is_counted_once(
    step: TakeIn, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{**to_wire(REQUEST), **more} for more in ({"size": "big"}, {"colour": "red"})]
    client.lpush(INBOX, sign(make_body(rows, time.time(), "node9"), ()))
    step.act()
    assert client.hget(TOTALS, "refused_requests") is None

    upgrade(monkeypatch)
    step.act()

    assert client.hget(upload_key(REQUEST.upload_id), "state") == "pending"
    assert client.hget(TOTALS, "refused_requests") == "1"


def test_what_is_malformed_is_counted_when_the_rest_is_written(step: TakeIn, client: Any) -> None:
    rows = [{**to_wire(REQUEST), **more} for more in ({"size": "big"}, {})]
    client.lpush(INBOX, sign(make_body(rows, time.time(), "node9"), ()))
    client.config_set("maxmemory", 1)
    try:
        step.act()
    finally:
        client.config_set("maxmemory", 0)
    assert client.hget(TOTALS, "refused_requests") is None
    assert client.llen(INBOX) == 1
    step.act()

    assert client.hget(upload_key(REQUEST.upload_id), "state") == "pending"
    assert client.hget(TOTALS, "refused_requests") == "1"


def test_people_are_told(
    step: TakeIn, client: Any, scripts: Scripts, capsys: pytest.CaptureFixture[str]
) -> None:
    status = Status(client, scripts.codec)
    client.lpush(INBOX, kept := entry(colour="red"))
    step.act()

    why = "1 entry of a hook waits for a worker of a newer version, the oldest from node9"
    assert troubles(status) == {"what 1.9.0 cannot read:": f"{why}; upgrade workers"}
    assert not_taken_in(status) == f"; what 1.9.0 cannot read: {why}; upgrade workers"
    found = [*CHECKS["inbox"](Farm(Settings.from_environment(), client))]
    assert [(one.level, one.says) for one in found][1:] == [
        ("fault", f"1.9.0 cannot read what hooks send: {why}")
    ]
    assert status.not_taken_in([kept, entry()]) == [kept]
    client.zadd("farmhaul:workers", {"w1@node7": client.time()[0]})
    assert wait.wait_for(status, [REQUEST.upload_id], [kept], 0.1) == [
        ("queued", "not taken in by any worker")
    ]


ODD = {"1.8.0": "nan", "nan": "nan", "\x1b[31m": 5, "99": "1e300", "2.0": 10**14}


@pytest.mark.parametrize("wrong", ["a text", "numbers"])
def test_what_somebody_else_writes_next_to_it_loses_nothing(
    step: TakeIn,
    client: Any,
    wrong: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client.lpush(INBOX, entry(colour="red"))
    step.act()
    kept = client.hgetall(UNREAD)
    if wrong == "numbers":
        client.hset(UNREAD, mapping={**ODD, "1.9.0": "x"})
    else:
        client.delete(UNREAD)
        client.set(UNREAD, "x")
    client.lpush(INBOX, of_newer_form())
    monkeypatch.setattr(refusals, "VERSION", "1.9.1")
    caplog.clear()
    step.act()
    step.act()

    found = client.hgetall(UNREAD)
    assert found.keys() == {"1.9.1"}, kept
    upgrade(monkeypatch)
    step.act()
    assert client.hget(upload_key(REQUEST.upload_id), "state") == "pending"
    assert any(line.startswith("keys_repaired keys=farmhaul:unread ") for line in caplog.messages)


def test_a_list_of_another_type_holds_up_no_other(
    step: TakeIn, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.lpush(INBOX, entry(colour="red"))
    step.act()
    client.hset(UNREAD, "1.8.0", 5)
    client.set(unread_key("1.8.0"), "x")

    upgrade(monkeypatch)
    step.act()

    assert client.hget(upload_key(REQUEST.upload_id), "state") == "pending"
    assert client.exists(UNREAD, unread_key("1.8.0"), unread_key("1.9.0")) == 0


def test_all_fields_of_a_request_are_known() -> None:
    """A field that is missing there would look as if it were of a newer version."""
    read = set(
        re.findall(r'(?:take|uuid)\("(\w+)"', getsource(import_module("tasks.intake.from_wire")))
    )
    assert read | {"metadata"} | set(wire.FLAGS) | set(wire.LOCATIONS) == newer.KNOWN
