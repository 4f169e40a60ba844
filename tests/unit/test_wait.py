"""How --wait waits: for a worker to take the request in, then for the upload to end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tasks.config.sealing import Codec
from tasks.intake.envelope import make_body, sign
from tasks.intake.inbox import INBOX, InboxError
from tasks.records.keys import TAKING, WORKERS, upload_key
from tasks.records.status import Status
from tasks.transfer.errors import FatalError
from tests.sandbox import RedisServer
from tests.sandbox.process import CHECKOUT
from workers.cli import wait, waiting
from workers.cli.wait import NOT_TAKEN_IN, REFUSED, wait_for
from workers.wording import NO_SHARING, NO_WORKER

ID = "5d27e920-0000-4000-8000-000000000001"
ENTRY = sign(make_body([{"path": "/mnt/a.exr"}], 1_795_651_200.0, "node7"), [])


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    with redis_server.client() as client:
        yield client


@pytest.fixture
def status(client: Any) -> Status:
    return Status(client, Codec([]))


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait, "LOOK_S", 0.1)
    monkeypatch.setattr(wait, "FIRST_LOOK_S", 0.1)


def later(*acts: Callable[[], object]) -> threading.Thread:
    """Do these one after the other, with pauses in which the wait polls."""

    def run() -> None:
        for act in acts:
            time.sleep(0.2)
            act()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def note_worker(client: Any) -> None:
    client.zadd(WORKERS, {"w1@node7": client.time()[0]})


def set_state(client: Any, state: str, **more: str) -> Callable[[], object]:
    return lambda: client.hset(upload_key(ID), mapping={"state": state, **more})


def test_it_waits_until_an_entry_is_taken_in_and_the_upload_ended(
    client: Any, status: Status, capsys: pytest.CaptureFixture[str]
) -> None:
    note_worker(client)
    client.lpush(INBOX, ENTRY)
    # An earlier attempt, which is no answer to this request.
    set_state(client, "failed", error="why")()
    worker = later(
        lambda: client.lmove(INBOX, TAKING, "RIGHT", "LEFT"),
        set_state(client, "pending"),
        lambda: client.lrem(TAKING, 0, ENTRY),
        set_state(client, "located"),
    )
    began = time.monotonic()

    assert wait_for(status, [ID], [ENTRY], 20) == [("located", "")]

    assert time.monotonic() - began >= 0.6
    worker.join()
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("key", [INBOX, TAKING])
def test_it_says_once_that_no_worker_has_taken_it_in(
    client: Any, status: Status, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client.lpush(key, ENTRY)
    note_worker(client)

    ended = wait_for(status, [ID], [ENTRY], 0.5)

    assert ended == [("queued", "not taken in by any worker")]
    assert capsys.readouterr().err == f"farmhaul: {NOT_TAKEN_IN}\n"


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("is_taken_in", [True, False])
def test_it_says_once_that_no_worker_runs(
    client: Any, status: Status, capsys: pytest.CaptureFixture[str], is_taken_in: bool
) -> None:
    if is_taken_in:
        set_state(client, "pending")()
    else:
        client.lpush(INBOX, ENTRY)

    wait_for(status, [ID], [ENTRY], 0.5)

    assert capsys.readouterr().err == f"farmhaul: {NO_WORKER}\n"


def test_it_says_soon_that_no_worker_runs(
    client: Any,
    status: Status,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The time for a worker to take an entry in need not be over."""
    monkeypatch.setattr(wait, "FIRST_LOOK_S", 0.1)
    client.lpush(INBOX, ENTRY)

    wait_for(status, [ID], [ENTRY], 2)

    assert capsys.readouterr().err == f"farmhaul: {NO_WORKER}\n"


@pytest.mark.usefixtures("soon")
def test_it_says_that_all_workers_take_their_own_hosts_files_alone(
    client: Any, status: Status, capsys: pytest.CaptureFixture[str]
) -> None:
    set_state(client, "pending")()
    client.zadd("farmhaul:workers", {"w1@node7 local": client.time()[0]})
    client.zadd("farmhaul:pending", {ID: 1})

    wait_for(status, [ID], [], 0.5)

    assert capsys.readouterr().err.startswith(f"farmhaul: {NO_SHARING}: run farmhaul worker")


@pytest.mark.usefixtures("soon")
def test_it_says_that_no_worker_runs_on_the_host_of_a_file(
    client: Any, status: Status, capsys: pytest.CaptureFixture[str]
) -> None:
    set_state(client, "pending")()
    note_worker(client)
    client.sadd("farmhaul:hosts", "node9")
    client.zadd("farmhaul:pending:node9", {ID: 1})

    wait_for(status, [ID], [], 0.5)

    assert capsys.readouterr().err.startswith("farmhaul: no worker on node9 takes tasks")


@pytest.mark.usefixtures("soon")
def test_it_says_that_a_gate_is_closed(
    client: Any, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_state(client, "pending")()
    note_worker(client)
    now = float(client.time()[0])
    client.hset("farmhaul:gate:store", mapping={"since": now - 60, "until": now + 1000})
    said = []

    def say(text: str) -> None:
        said.append(text)
        set_state(client, "located")()

    monkeypatch.setattr(wait, "say", say)
    wait_for(status, [ID], [], 60)

    [line] = said
    assert line.startswith("the gate of store is closed since ")


@pytest.mark.usefixtures("soon")
def test_it_says_nothing_while_workers_take_tasks(
    client: Any, status: Status, capsys: pytest.CaptureFixture[str]
) -> None:
    set_state(client, "pending")()
    note_worker(client)

    assert wait_for(status, [ID], [], 0.5) == [("pending", "pending: not finished yet")]
    assert capsys.readouterr().err == ""


def test_an_earlier_failure_is_not_the_end_of_what_waits(client: Any, status: Status) -> None:
    client.lpush(INBOX, ENTRY)
    set_state(client, "failed", error="why")()

    assert wait_for(status, [ID], [ENTRY], 0.1) == [("queued", "not taken in by any worker")]


def test_what_workers_have_refused_has_no_record(client: Any, status: Status) -> None:
    client.lpush(INBOX, ENTRY)
    worker = later(lambda: client.delete(INBOX))

    assert wait_for(status, [ID], [ENTRY], 20) == [("queued", REFUSED)]
    worker.join()


def test_a_record_that_vanishes_is_an_error(client: Any, status: Status) -> None:
    set_state(client, "active")()
    worker = later(lambda: client.delete(upload_key(ID)))

    with pytest.raises(FatalError, match="is no longer in Redis"):
        wait_for(status, [ID], [ENTRY], 20)
    worker.join()


def test_a_user_who_may_not_read_is_told_that_it_is_queued(
    client: Any, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.execute_command("ACL SETUSER hook on >pw resetkeys %W~farmhaul:inbox -@all +lpush")
    url = redis_server.url.replace("redis://", "redis://hook:pw@")
    monkeypatch.setenv("FARMHAUL_REDIS_URL", url)
    try:
        assert waiting.prepare()([ID, ID], [ENTRY], 5) == [("queued", wait.NOT_READABLE)] * 2
    finally:
        client.execute_command("ACL DELUSER hook")


def test_what_waits_is_imported_when_the_requests_are_sent() -> None:
    """Workers take them in while redis is imported, which takes longer than the hook itself."""
    code = "import sys, workers.cli.waiting as one; one.prepare(); sys.exit('redis' in sys.modules)"

    assert (
        subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, env=os.environ).returncode == 0
    )


def test_many_entries_are_looked_at_in_groups(client: Any, status: Status) -> None:
    entries = [ENTRY + str(number).encode() for number in range(250)]
    client.lpush(INBOX, *entries)
    waiting = wait._not_taken_in(status, entries)
    client.ltrim(INBOX, 0, 9)  # the oldest are taken first

    assert (len(waiting), wait._not_taken_in(status, waiting)) == (250, entries[240:])


def test_a_poll_looks_at_the_first_uploads_alone(client: Any, status: Status) -> None:
    ids = [f"{ID[:-3]}{number:03}" for number in range(100)]
    for upload_id in ids:
        client.hset(upload_key(upload_id), "state", "active")
    client.config_resetstat()
    assert wait._not_ended(status, ids) == ids
    polled = client.info("commandstats")["cmdstat_hmget"]["calls"]
    for upload_id in ids[:90]:
        client.hset(upload_key(upload_id), "state", "located")

    assert (polled, wait._not_ended(status, ids)) == (wait.UPLOADS_AT_ONCE, ids[90:])


def test_the_same_upload_named_twice_has_one_answer_each(client: Any, status: Status) -> None:
    set_state(client, "located")()

    assert wait_for(status, [ID, ID], [ENTRY], 5) == [("located", "")] * 2


def test_of_uploads_that_ended_well_only_the_states_are_read(client: Any, status: Status) -> None:
    ids = [f"{ID[:-3]}{number:03}" for number in range(3)]
    for upload_id, state, job in zip(
        ids, ["located", "stored", "located"], ["done", "", "failed"], strict=True
    ):
        client.hset(upload_key(upload_id), mapping={"state": state, "job_state": job})
    client.config_resetstat()

    (*well, (state, why)) = wait_for(status, ids, [ENTRY], 5)

    assert well == [("located", ""), ("stored", "")]
    assert (state, why) == (
        "located",
        "located, but ftrack could not encode it; see the job in ftrack",
    )
    assert client.info("commandstats")["cmdstat_hgetall"]["calls"] == 1


def test_a_wait_ends_though_redis_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("FARMHAUL_REDIS_URL", url)
        began = time.monotonic()

        with pytest.raises(InboxError, match="Redis is not reachable"):
            waiting.prepare()([ID], [ENTRY], 0.1)

    assert time.monotonic() - began < 6
