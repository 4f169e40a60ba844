"""How workers take in what hooks have pushed, on a real Redis."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery
from celery._state import _task_stack

from tasks import chain
from tasks.chain import enqueue, wake
from tasks.config.hook_key import derive_hook_key, hook_key_text
from tasks.config.redis_client import worker_redis
from tasks.config.sealing import Codec
from tasks.config.settings import Settings
from tasks.intake.envelope import host_in, make_body, sign
from tasks.intake.from_wire import from_wire
from tasks.intake.inbox import INBOX
from tasks.intake.request import UploadRequest
from tasks.intake.wire import to_wire
from tasks.records.commands import Commands
from tasks.records.delivery import Outcome, Settlement
from tasks.records.inbox import (
    MAX_BYTES,
    MAX_ENTRIES,
    MAX_RETURNS,
    OVERDUE_S,
    Inbox,
    Overdue,
    waiting,
)
from tasks.records.keys import ALIVE, PAUSED, RETURNED, TAKING, TOTALS, WORKERS, upload_key
from tasks.records.record import Record
from tasks.records.scripts import Scripts
from tasks.records.states import STAGES
from tasks.records.status import Status
from tasks.transfer.targets import Target
from tests.farm import wait_until
from tests.sandbox import RedisServer
from workers.config import make_config
from workers.self_check import note_keys
from workers.steps import entries, intake
from workers.steps.entries import Intake, Left
from workers.steps.intake import TakeIn
from workers.steps.reconcile import Reconciler

SECRET_KEY = "m1zHLZqkDnWsDq8kFYsRNPYbqBoH2PV2vPcnvYUbEOU="
KEY = derive_hook_key(SECRET_KEY)


@pytest.fixture
def client(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client whose answers are text."""
    monkeypatch.setenv("FARMHAUL_REDIS_URL", redis_server.url)
    with redis_server.client() as client:
        yield client
        client.config_set("maxmemory", 0)


@pytest.fixture
def scripts(client: Any) -> Scripts:
    """The scripts of a worker, whose answers are bytes."""
    return Scripts(worker_redis(Settings.from_environment(), intake.ANSWER_S), Codec([]))


@pytest.fixture
def app(client: Any) -> Celery:
    """An app of this test's own: that of the process may belong to another test's Redis."""
    app = Celery("farmhaul", set_as_current=False)
    app.conf.update(make_config(Settings.from_environment()))
    return app


@pytest.fixture
def step(app: Celery) -> TakeIn:
    return TakeIn(SimpleNamespace(hostname="w1@node7", app=app))


@pytest.fixture
def signing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers of this farm have a key."""
    monkeypatch.setenv("FARMHAUL_HOOK_KEY", hook_key_text(KEY))


def upload(size: int | None = 10, **options: Any) -> UploadRequest:
    mtime_ns = None if size is None else 1
    return UploadRequest(f"/mnt/{uuid.uuid4()}.exr", Target(new_id()), size, mtime_ns, **options)


def new_id() -> str:
    return str(uuid.uuid4())


def entry_of(
    *requests: UploadRequest, keys: Sequence[bytes] = (), asked_at: float = 0, host: str = "node7"
) -> bytes:
    return sign(make_body([*map(to_wire, requests)], asked_at or time.time(), host), keys)


def push(client: Any, *entries: bytes) -> None:
    client.lpush(INBOX, *entries)


def states(client: Any, *requests: UploadRequest) -> list[str | None]:
    return [client.hget(upload_key(request.upload_id), "state") for request in requests]


def lengths(client: Any) -> tuple[int, int]:
    return client.llen(INBOX), client.llen(TAKING)


# Taking in


def test_the_requests_of_an_entry_become_pending_and_wake_workers(
    step: TakeIn, client: Any
) -> None:
    first, second = upload(), upload(None)
    push(client, entry_of(first, second))

    step.act()

    assert states(client, first, second) == ["pending", "pending"]
    assert lengths(client) == (0, 0)
    assert client.llen("farmhaul\x06\x163") == 1


def test_what_others_wake_meanwhile_is_not_woken_again(
    app: Celery, scripts: Scripts, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers take in at the same time, and the reconciler sends wake-ups, too."""

    def with_others(app: Celery, chains: int, host: str) -> bool:
        return wake(app, chains + 40, host)

    monkeypatch.setattr(chain, "wake", with_others)

    enqueue(app, Commands(scripts), [upload() for _ in range(1000)])

    assert client.llen("farmhaul\x06\x163") == 2 + 40, "20 suffice"


def test_few_uploads_after_many_wake_for_all(app: Celery, scripts: Scripts, client: Any) -> None:
    """The wake-ups of the first 100 claim 100; nothing would claim the last one."""
    for count in (100, 1):
        enqueue(app, Commands(scripts), [upload() for _ in range(count)])

    assert client.llen("farmhaul\x06\x163") == 3


def test_workers_begin_while_later_files_are_written(
    app: Celery, scripts: Scripts, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending: list[int] = []

    def noted(app: Celery, chains: int, host: str) -> bool:
        pending.append(client.zcard("farmhaul:pending"))
        return wake(app, chains, host)

    monkeypatch.setattr(chain, "wake", noted)

    enqueue(app, Commands(scripts), [upload() for _ in range(250)])

    assert pending == [100, 200, 250]
    assert client.llen("farmhaul\x06\x163") == 5


@pytest.mark.parametrize(("queued", "more"), [(0, 1), (1, 1), (2, 0), (3, 0)])
def test_what_goes_back_wakes_if_few_wake_ups_are_queued(
    queued: int, more: int, app: Celery, scripts: Scripts, client: Any
) -> None:
    Commands(scripts).enqueue([upload() for _ in range(70)])
    wake(app, queued)

    chain.wake_if_few(app, scripts.client)

    assert client.llen("farmhaul\x06\x163") == queued + more


def test_a_wake_up_that_a_task_sends_has_a_root_of_its_own(app: Celery, client: Any) -> None:
    """Its claim, which is named after its first task, is found by the root of its messages."""
    task: Any = app.tasks["celery.chain"]
    task.push_request(id="sender", root_id="the sender's root", called_directly=False)
    _task_stack.push(task)
    try:
        wake(app, 2)
    finally:
        _task_stack.pop()
        task.pop_request()

    sent = [json.loads(text)["headers"] for text in client.lrange("farmhaul\x06\x163", 0, -1)]
    ids = [headers["id"] for headers in sent]
    assert [headers["root_id"] for headers in sent] == ids
    assert len({*ids}) == 2
    assert {headers["parent_id"] for headers in sent} == {"sender"}


def test_a_round_takes_so_many_entries_and_bytes_and_not_more(
    scripts: Scripts, client: Any
) -> None:
    inbox = Inbox(scripts)
    push(client, *(b"%d" % number for number in range(MAX_ENTRIES + 1)))
    assert inbox.take(1) == [b"%d" % number for number in range(MAX_ENTRIES)]
    assert lengths(client) == (1, MAX_ENTRIES)
    assert inbox.take(1) == [b"500"]

    half = bytes(MAX_BYTES // 2)
    push(client, b"x", half, half, b"not any more")
    assert inbox.take(1) == [b"x", half, half]
    push(client, bytes(MAX_BYTES))
    assert inbox.take(1) == [b"not any more", bytes(MAX_BYTES)]
    push(client, bytes(MAX_BYTES), b"waits")
    assert inbox.take(1) == [bytes(MAX_BYTES)]


def test_a_record_says_who_asked_and_each_host_is_counted(
    step: TakeIn, client: Any, scripts: Scripts
) -> None:
    first, second, other = (upload() for _ in range(3))
    body = make_body([to_wire(first), to_wire(second)], time.time(), "node7", "ada")
    push(client, sign(body, ()), entry_of(other, host="node8"))

    step.act()

    found = Status(client, scripts.codec).find([first.upload_id, other.upload_id])
    assert [(one.asked_host, one.asked_user) for one in found if one] == [
        ("node7", "ada"),
        ("node8", ""),
    ]
    assert client.zrange("farmhaul:asked", 0, -1, withscores=True) == [("node8", 1), ("node7", 2)]


def test_an_empty_inbox_is_waited_for(scripts: Scripts) -> None:
    began = time.monotonic()

    assert Inbox(scripts).take(0.3) == []

    assert time.monotonic() - began >= 0.25


def test_the_time_of_asking_decides_which_file_is_newer(step: TakeIn, client: Any) -> None:
    component = Target(new_id())
    older, newer = (UploadRequest(f"/mnt/{n}.exr", component, 1, n) for n in (1, 2))
    now = time.time()
    push(client, entry_of(newer, asked_at=now - 60), entry_of(older, asked_at=now - 600))

    step.act()

    assert states(client, newer, older) == ["pending", "superseded"]


def test_a_clock_that_is_ahead_wins_only_until_now(step: TakeIn, client: Any) -> None:
    component = Target(new_id())
    first, second = (UploadRequest(f"/mnt/{n}.exr", component, 1, n) for n in (1, 2))
    push(client, entry_of(first, asked_at=time.time() + 86400))
    step.act()
    time.sleep(0.01)
    push(client, entry_of(second, asked_at=time.time()))

    step.act()

    assert states(client, first, second) == ["superseded", "pending"]


# Taking in twice


def test_an_upload_that_is_taken_in_twice_is_not_sent_twice(
    step: TakeIn, scripts: Scripts, client: Any
) -> None:
    """Not even one whose file nobody has looked at, or one that an operator has cancelled."""
    unseen, cancelled = upload(None), upload()
    entry = entry_of(unseen, cancelled)
    push(client, entry)
    step.act()
    Commands(scripts).cancel(cancelled.upload_id)
    locate(Record(scripts))
    before = [client.hgetall(upload_key(one.upload_id)) for one in (unseen, cancelled)]
    assert [fields["state"] for fields in before] == ["located", "cancelled"]

    push(client, entry)
    step.act()

    assert [client.hgetall(upload_key(one.upload_id)) for one in (unseen, cancelled)] == before
    push(client, entry_of(unseen, cancelled))  # somebody asks for them again
    step.act()
    assert states(client, unseen, cancelled) == ["pending", "pending"]


def locate(record: Record) -> None:
    for stage in STAGES:
        transfers = record.deliver("claim", stage, "w1").transfers
        outcome: Outcome = "located" if stage == STAGES[-1] else "advanced"
        record.settle([Settlement(one, outcome) for one in transfers])


def test_entries_of_a_dead_worker_come_back_after_ten_seconds(
    scripts: Scripts, client: Any
) -> None:
    now = 100.0
    overdue = Overdue(scripts, lambda: now)
    push(client, b"small", bytes(1_000_000))
    Inbox(scripts).take(1)

    assert overdue.give_back().entries == 0
    now += OVERDUE_S - 0.1
    assert overdue.give_back().entries == 0
    now += 0.2
    assert overdue.give_back().entries == 1
    assert client.lrange(INBOX, 0, -1) == ["small"]
    now += 40.0
    assert overdue.give_back().entries == 1, "a large entry has more time"
    assert lengths(client) == (2, 0)


def test_numbers_of_hundreds_of_digits_stop_no_reconciler(scripts: Scripts, client: Any) -> None:
    now = 0.0
    overdue = Overdue(scripts, lambda: now)
    huge = "9" * 400
    entries = [f'"{huge}-{huge}"', f'"1-{huge}"', f'"{huge}-1"', f'"1-5{huge}",{"x" * 600}']
    client.lpush(TAKING, *entries)

    assert overdue.give_back().entries == 0
    now = 1000.0  # 16 MiB, as which the largest of them count, take 681 s
    assert overdue.give_back().entries == len(entries)
    assert client.llen(INBOX) == len(entries)


def test_what_is_taken_in_meanwhile_has_ten_seconds_of_its_own(
    scripts: Scripts, client: Any
) -> None:
    now = 100.0
    overdue, inbox = Overdue(scripts, lambda: now), Inbox(scripts)
    for _ in range(3):
        push(client, b"again and again")
        entries = inbox.take(1)
        assert overdue.give_back().entries == 0
        inbox.remove(entries)
        now += 5
        assert overdue.give_back().entries == 0
    push(client, b"again and again")
    inbox.take(1)
    overdue.give_back()
    overdue.forget()
    now += OVERDUE_S + 1
    assert overdue.give_back().entries == 0, "another process held the lock"


def test_an_entry_that_kills_each_worker_is_refused_alone(
    step: TakeIn, scripts: Scripts, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    overdue = Overdue(scripts, lambda: now)
    poison, others = upload(), [upload() for _ in range(5)]
    genuine = from_wire

    def dies(values: Any) -> Any:
        if values["path"] == poison.path:
            raise SystemExit  # nothing of this worker goes on, as after a kill
        return genuine(values)

    monkeypatch.setattr(entries, "from_wire", dies)
    push(client, *map(entry_of, [*others[:2], poison, *others[2:]]))
    deaths, refused = 0, []
    while client.llen(INBOX):
        try:
            step.act()
        except SystemExit:
            deaths += 1
        overdue.give_back()
        now += OVERDUE_S + 1
        refused += overdue.give_back().refused

    assert deaths == MAX_RETURNS
    assert [host_in(start) for start in refused] == ["node7"]
    assert states(client, *others) == ["pending"] * 5
    assert states(client, poison) == [None]
    assert lengths(client) == (0, 0)
    assert client.hget(TOTALS, "refused_requests") == "1"


def test_a_refused_entry_is_logged(
    app: Celery, scripts: Scripts, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    reconciler = Reconciler(app, Record(scripts))
    client.lpush(TAKING, entry := entry_of(upload(), host="node9"))
    client.hset(RETURNED, hashlib.sha1(entry[:512]).hexdigest(), MAX_RETURNS)
    reconciler.overdue = Overdue(scripts, iter([100.0, 200.0]).__next__)

    reconciler.run()
    reconciler.run()

    assert caplog.messages == [
        "requests_refused count=1 hosts=node9 5 workers died while they took it in"
    ]


@pytest.mark.parametrize("count", ["x", "nan", "1.5", "3.5", "[]"])
def test_a_count_of_returns_by_somebody_else_holds_up_no_entry(
    step: TakeIn, scripts: Scripts, client: Any, count: str
) -> None:
    now = 100.0
    overdue = Overdue(scripts, lambda: now)
    entries = [entry_of(one := upload()), entry_of(other := upload()), entry_of(late := upload())]
    marks = [hashlib.sha1(entry[:512]).hexdigest() for entry in entries]
    client.hset(RETURNED, mapping=dict.fromkeys(marks, count))
    push(client, *entries[:2])
    client.lpush(TAKING, entries[2])  # its worker has died

    overdue.give_back()
    now += OVERDUE_S + 1
    overdue.give_back()
    for _ in range(3):
        if client.exists(INBOX):
            step.act()

    assert states(client, one, other, late) == ["pending"] * 3
    assert lengths(client) == (0, 0)


def test_a_redis_that_refuses_a_record_is_no_death_of_a_worker(
    step: TakeIn, scripts: Scripts, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, genuine = 100.0, enqueue
    overdue = Overdue(scripts, lambda: now)
    broken = upload()

    def refused(*_: Any) -> list[str]:
        raise redis.ResponseError("ERR no")

    monkeypatch.setattr(entries, "enqueue", refused)
    push(client, entry_of(broken))
    for _ in range(MAX_RETURNS + 1):
        step.act()
        overdue.give_back()
        now += OVERDUE_S + 1
        assert overdue.give_back() == (1, [])

    monkeypatch.setattr(entries, "enqueue", genuine)
    step.act()
    assert states(client, broken) == ["pending"]


def test_a_round_writes_only_so_many_files_at_once(
    step: TakeIn, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "MAX_FILES", 2)
    monkeypatch.setattr(entries, "ROUND_FILES", 2)
    sizes, genuine = [], enqueue

    def counting(app: Celery, commands: Commands, requests: Sequence[Any]) -> list[str]:
        sizes.append(len(requests))
        return genuine(app, commands, requests)

    monkeypatch.setattr(entries, "enqueue", counting)
    good, greedy = [upload() for _ in range(5)], [upload() for _ in range(3)]
    push(client, *map(entry_of, good[:3]), entry_of(*greedy), *map(entry_of, good[3:]))

    while client.llen(INBOX):
        step.act()

    assert sizes == [2, 2, 1]
    assert states(client, *good, *greedy) == [*["pending"] * 5, *[None] * 3]
    assert lengths(client) == (0, 0)
    assert client.hget(TOTALS, "refused_requests") == "1"


def test_frames_that_nobody_has_looked_at_have_time(scripts: Scripts, client: Any) -> None:
    """They are a few bytes, and take as long as others."""
    now = 100.0
    overdue = Overdue(scripts, lambda: now)
    entry = b'{"requests":[{"frames":["1-50000","60001-100000"]},{"frames":["1-9","11"]}]}'
    push(client, entry, b'{"frames":["1-999999999999999"]}')
    Inbox(scripts).take(1)
    overdue.give_back()

    now += OVERDUE_S + 90_000 * 28 / 25_000 - 1
    assert overdue.give_back().entries == 0
    now += 3
    assert overdue.give_back().entries == 1
    now += 700
    assert overdue.give_back().entries == 1, "nobody is believed for ever"


def test_entries_that_were_there_when_workers_died_stay(scripts: Scripts, client: Any) -> None:
    now = 100.0
    overdue = Overdue(scripts, lambda: now)
    push(client, b"one", b"two", b"three")
    for _ in range(MAX_RETURNS + 1):
        Inbox(scripts).take(1)
        overdue.give_back()
        now += OVERDUE_S + 1
        assert overdue.give_back() == (3, [])


def test_a_slow_worker_removes_nothing_that_was_given_back(scripts: Scripts, client: Any) -> None:
    push(client, b"one", b"two")
    inbox = Inbox(scripts)
    entries = inbox.take(1)
    inbox.give_back(entries[:1])

    inbox.remove(entries)

    assert client.lrange(INBOX, 0, -1) == ["one"]
    assert lengths(client) == (1, 0)


# What is refused

BODY = b'{"host":"node9","id":"%s","asked_at":1.0,"requests":%s}'


def bad_entries() -> list[bytes]:
    good = entry_of(upload(), keys=[KEY])
    return [
        entry_of(upload(), host="node9"),
        good.replace(b"/mnt/", b"/etc/"),
        b"\x00\xff",
        sign(BODY % (b"a" * 32, b"[{}]"), [KEY]),
        sign(BODY % (b"b" * 32, b'[{"path":"relative"}]'), [KEY]),
        sign(BODY % (b"c" * 32, b'"\xff"'), [KEY]),
    ]


@pytest.mark.usefixtures("signing")
def test_what_is_refused_is_counted_logged_and_not_run(
    step: TakeIn, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = bad_entries(), upload()
    push(client, *bad[:3], entry_of(good, keys=[KEY]), *bad[3:])

    step.act()

    assert states(client, good) == ["pending"]
    assert len(client.keys("farmhaul:upload:*")) == 1
    assert client.hget(TOTALS, "refused_requests") == str(len(bad))
    assert lengths(client) == (0, 0)
    assert "requests_refused count=1 hosts=node9 it is not signed" in caplog.text
    assert "hosts=unknown it is not an entry of this version of farmhaul" in caplog.text


@pytest.mark.usefixtures("signing")
def test_a_malformed_request_does_not_lose_the_others_of_its_entry(
    step: TakeIn, client: Any
) -> None:
    good = upload()
    values: list[Any] = [to_wire(good), {"path": 5}]
    push(client, sign(make_body(values, time.time(), "node7"), [KEY]))

    step.act()

    assert states(client, good) == ["pending"]
    assert client.hget(TOTALS, "refused_requests") == "1"


@pytest.mark.usefixtures("signing")
def test_a_flood_of_refused_entries_fills_no_log(
    step: TakeIn, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    push(client, *(entry_of(upload(), host=f"node{number}") for number in range(400)))

    step.act()

    [line] = caplog.messages
    assert line.startswith("requests_refused count=400 hosts=node0,node1,node10,node100,node101,…")


@pytest.mark.parametrize("what", ["from_wire", "enqueue"])
def test_an_unexpected_error_loses_only_the_request_that_caused_it(
    what: str,
    step: TakeIn,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    requests = [upload() for _ in range(3)]
    culprit = requests[1]
    genuine = getattr(entries, what)

    def breaks(*arguments: Any) -> Any:
        if culprit.path in repr(arguments):
            raise ZeroDivisionError("by nought")
        return genuine(*arguments)

    monkeypatch.setattr(entries, what, breaks)
    push(client, *map(entry_of, requests))

    step.act()

    assert states(client, *requests) == ["pending", None, "pending"]
    assert lengths(client) == (0, 0)
    assert client.hget(TOTALS, "refused_requests") == "1"
    assert "ZeroDivisionError" in caplog.text


def test_a_record_of_another_type_is_replaced_and_holds_up_no_other(
    step: TakeIn, client: Any
) -> None:
    broken, good = upload(), upload()
    client.set(upload_key(broken.upload_id), "not a hash")
    push(client, entry_of(broken), entry_of(good))

    step.act()

    assert states(client, broken, good) == ["pending", "pending"]
    assert lengths(client) == (0, 0)


def test_a_worker_without_a_key_leaves_signed_requests_to_others(
    client: Any, app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(intake, "PAUSE_S", 0)
    step = TakeIn(SimpleNamespace(hostname="w1@node7", app=app))
    signed, unsigned = upload(), upload()
    push(client, entry_of(signed, keys=[KEY]), entry_of(unsigned))

    step.act()
    step.act()

    assert states(client, signed, unsigned) == [None, "pending"]
    assert lengths(client) == (1, 0)
    [line] = caplog.messages
    assert line.startswith("no_hook_key requests are signed with no key of this worker: set FARMH")


@pytest.mark.parametrize("evidence", ["worker", "records"])
@pytest.mark.parametrize("keys", [[KEY], []], ids=["signed", "unsigned"])
def test_a_worker_that_may_have_the_wrong_key_refuses_no_request(
    client: Any, app: Celery, monkeypatch: pytest.MonkeyPatch, evidence: str, keys: list[bytes]
) -> None:
    """Such as the first one that runs again after a restart of all, with a full inbox."""
    monkeypatch.setattr(intake, "PAUSE_S", 0)
    farms_key = [SECRET_KEY] if keys else []
    farms = Settings("", secret_keys=tuple(farms_key))
    if evidence == "worker":
        client.zadd(ALIVE, {"0.1.0 w2@node8": time.time()})
        note_keys(farms, client, "w2@node8")
    else:
        scripts = Scripts(worker_redis(Settings.from_environment()), Codec(farms_key))
        enqueue(app, Commands(scripts), [upload()])
    wrong = "4nQOq9UNnWZY6Qp5Yg1w2kYj5WBrVtAq4ooUlpkTmXg="
    monkeypatch.setenv("FARMHAUL_SECRET_KEY", wrong)
    step = TakeIn(SimpleNamespace(hostname="w1@node7", app=app))
    push(client, entry_of(upload(), keys=keys))

    step.act()
    assert lengths(client) == (1, 0)

    # What is set aside takes no requests: nobody waits for it.
    client.hset(PAUSED, "w2@node8", "{}")
    step.act()
    assert lengths(client) == ((0, 0) if evidence == "worker" else (1, 0))


def test_a_worker_leaves_a_place_that_seems_taken_to_another(
    client: Any, app: Celery, scripts: Scripts
) -> None:
    client.zadd(WORKERS, dict.fromkeys(("stale", "good"), time.time()))
    path_map = [("P:", "/mnt/prod")]
    steps = [TakeIn(SimpleNamespace(hostname=name, app=app)) for name in ("stale", "good")]
    steps[1].intake = Intake(app, scripts, (), path_map, "good")
    target = Target.under_version(new_id(), "main")
    [first, again] = [
        UploadRequest(path, target, size, 1)
        for size, path in enumerate(("/mnt/prod/a.exr", "P:/a.exr"), start=1)
    ]
    push(client, entry_of(first))
    steps[0].act()
    other = upload()
    push(client, entry_of(other, again))

    steps[0].act()

    assert states(client, other, again) == ["pending", None]
    assert lengths(client) == (1, 0)
    steps[1].act()
    assert states(client, other, first, again) == ["pending", "superseded", "pending"]
    assert lengths(client) == (0, 0)


def test_signed_junk_delays_nothing_on_a_farm_without_a_key(
    client: Any, app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(intake, "PAUSE_S", 3600)
    step = TakeIn(SimpleNamespace(hostname="w1@node7", app=app))
    push(client, entry_of(upload(), keys=[KEY]))
    step.start(None)
    wait_until(lambda: "no_hook_key" in caplog.text)
    good = upload()
    push(client, entry_of(good))

    wait_until(lambda: states(client, good) == ["pending"])

    step.stop(None)


def test_a_worker_without_a_key_takes_signed_requests_ever_less_often(
    client: Any, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than it takes at once: what others have the key for is not taken away from them."""
    step = TakeIn(SimpleNamespace(hostname="w1@node7", app=app))
    waits: list[float] = []
    monkeypatch.setattr(step, "_stopped", SimpleNamespace(wait=waits.append))
    push(client, *(entry_of(upload(), keys=[KEY]) for _ in range(MAX_ENTRIES + 100)))
    for _ in range(6):
        step.act()
    assert waits == [0.25, 0.5, 1, 2, 4, 5]

    good = upload()
    push(client, entry_of(good))
    step.act()
    step.act()

    assert states(client, good) == ["pending"]
    assert waits[6:] == [5, 0.25]
    assert lengths(client) == (MAX_ENTRIES + 100, 0)


@pytest.mark.usefixtures("signing")
def test_a_full_redis_keeps_requests_and_lets_refused_ones_go(
    client: Any, app: Celery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(intake, "PAUSE_S", 0)
    step = TakeIn(SimpleNamespace(hostname="w1@node7", app=app))
    good = upload()
    push(client, *bad_entries(), entry_of(good, keys=[KEY]))
    client.config_set("maxmemory", 1)

    step.act()
    step.act()

    assert states(client, good) == [None]
    assert lengths(client) == (1, 0)
    assert client.hget(TOTALS, "refused_requests") == "6"
    assert [line for line in caplog.messages if line.startswith("redis_full")] == [
        "redis_full requests wait in the inbox: raise maxmemory"
    ]
    client.config_set("maxmemory", 0)
    step.act()
    assert states(client, good) == ["pending"]


# The thread


def test_a_worker_takes_in_at_once_and_until_it_is_stopped(step: TakeIn, client: Any) -> None:
    step.start(None)
    first, second = upload(), upload()
    time.sleep(0.2)
    push(client, entry_of(first))
    wait_until(lambda: states(client, first) == ["pending"], 3)

    step.stop(None)
    push(client, entry_of(second))

    # It was waiting for an entry, and puts the one back that it gets.
    wait_until(lambda: lengths(client) == (1, 0), 3)
    time.sleep(0.2)
    assert states(client, second) == [None]


def test_a_warm_shutdown_finishes_what_is_being_taken_in(
    step: TakeIn, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = upload()
    busy, genuine = threading.Event(), Intake.take_in

    def slow(self: Intake, entries: Sequence[bytes]) -> Left:
        busy.set()
        time.sleep(0.3)
        return genuine(self, entries)

    monkeypatch.setattr(Intake, "take_in", slow)
    step.start(None)
    push(client, entry_of(request))
    assert busy.wait(3)

    step.stop(None)

    assert states(client, request) == ["pending"]


def test_the_step_goes_on_after_redis_was_killed(
    step: TakeIn, client: Any, redis_server: RedisServer
) -> None:
    step.start(None)
    time.sleep(0.2)
    redis_server.kill()
    redis_server.start()
    request = upload()
    push(client, entry_of(request))

    wait_until(lambda: states(client, request) == ["pending"], 20)
    step.stop(None)


def test_a_long_sequence_holds_up_no_other_request(
    step: TakeIn, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "LARGE_BYTES", 1000)
    large, small = upload()._replace(path="/mnt/" + "x" * 1500), upload()
    go_on, genuine = threading.Event(), Intake.take_in

    def slow(self: Intake, entries: Sequence[bytes]) -> Left:
        if len(entries[0]) > 1000:
            go_on.wait(10)
        return genuine(self, entries)

    monkeypatch.setattr(Intake, "take_in", slow)
    push(client, entry_of(large), entry_of(small))
    step.act()
    push(client, entry_of(later := upload()))
    step.act()

    assert states(client, large, small, later) == [None, "pending", "pending"]
    go_on.set()
    step.stop(None)
    assert states(client, large) == ["pending"]
    assert lengths(client) == (0, 0)


def test_a_silent_redis_does_not_hold_a_worker_for_ever(scripts: Scripts) -> None:
    options = scripts.client.connection_pool.connection_kwargs

    assert intake.WAIT_S + 3 <= options["socket_timeout"] <= 30
    assert options["socket_keepalive"]


@pytest.mark.slow
@pytest.mark.usefixtures("signing")
def test_ten_thousand_requests_are_taken_in(client: Any, app: Celery) -> None:
    """Prints the time; it is below 2 s on an idle machine."""
    step = TakeIn(SimpleNamespace(hostname="w1@node7", app=app))
    pipeline = client.pipeline(transaction=False)
    for _ in range(10_000):
        pipeline.lpush(INBOX, entry_of(upload(), keys=[KEY]))
    pipeline.execute()
    began, cpu_s = time.monotonic(), time.process_time()
    while client.llen(INBOX):
        step.act()

    print(
        f"10,000 requests: {time.monotonic() - began:.2f} s, "
        f"{time.process_time() - cpu_s:.2f} s of CPU time in the worker"
    )
    assert client.zcard("farmhaul:pending") == 10_000
    assert lengths(client) == (0, 0)


# Counts


def test_what_is_not_taken_in_yet_is_counted_with_its_age(scripts: Scripts, client: Any) -> None:
    assert waiting(client) == (0, None)
    push(client, entry_of(upload(), asked_at=time.time() - 100), entry_of(upload()))
    assert waiting(client).entries == 2
    assert waiting(client).oldest_s == pytest.approx(100, abs=3)

    Inbox(scripts).take(1)
    push(client, b"junk")

    assert waiting(client).entries == 3
    assert waiting(scripts.client).oldest_s == pytest.approx(100, abs=3)
