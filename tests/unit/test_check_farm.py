"""farmhaul check --farm: the account that the command keeps of the tasks it has sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from cryptography.fernet import Fernet
from kombu.exceptions import OperationalError

from tasks.config.sealing import Codec
from tasks.config.settings import Settings
from tasks.records.checks import GIVEN_BACK, OPEN_S, Checks, Row
from tasks.records.scripts import Scripts
from tasks.transfer.compare import Compared, Pair
from tests.unit.records import Farm
from workers.cli import check_farm as module
from workers.cli.check_farm import (
    FILES,
    LIST,
    LONGEST_PAUSE_S,
    PAUSE_S,
    TASKS,
    Run,
    compare_by_farm,
)

SEALED = Codec([Fernet.generate_key().decode()])


@dataclass
class Check:
    """A check, what it has sent, and the results that it has."""

    client: Any
    count: int = 1
    lost_s: float = 100.0
    workers: list[str] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)
    results: dict[int, Compared] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.checks = Checks(Scripts(self.client, SEALED, lease_s=10), "a-check")
        pairs = {number: Pair(f"/mnt/{number}.exr", "id") for number in range(self.count)}
        self.run = Run(
            self.checks,
            pairs,
            self.send,
            workers=lambda: self.workers,
            on_result=self.results.__setitem__,
            lost_s=self.lost_s,
        )

    def send(self, **task: Any) -> None:
        self.sent.append(task)

    def tell(self, state: str, worker: str, task: int = -1) -> None:
        """Tell the same result for all files of a task, the last one unless told otherwise."""
        asked = self.sent[task]
        rows: list[Row] = [(one[0], state, 1, 1, "", worker) for one in asked["files"]]
        self.checks.tell(asked["number"], rows)
        self.run.step()

    def give_back(self) -> None:
        """Give the files of the last task back."""
        self.checks.tell(self.sent[-1]["number"], [], GIVEN_BACK)
        self.run.step()


@pytest.fixture
def client(farm: Farm) -> Any:
    return farm.client


def test_what_is_sent_at_a_time_is_bounded(client: Any) -> None:
    check = Check(client, count=FILES * TASKS + 1)
    check.run.step()
    assert len(check.sent) == TASKS
    check.tell("same", "w1", task=0)

    assert len(check.sent) == TASKS + 1
    assert check.run.left == FILES * (TASKS - 1) + 1
    assert [len(task["files"]) for task in (check.sent[0], check.sent[-1])] == [FILES, 1]


def test_another_worker_confirms_what_a_node_without_a_mount_says(client: Any) -> None:
    check = Check(client, count=2)
    check.run.step()
    check.tell("missing on disk", "w1")
    assert (check.results, [task["avoid"] for task in check.sent]) == ({}, ["", "w1"])
    check.tell("missing on disk", "w1")  # delivered twice
    assert check.results == {}

    check.tell("same", "w2")

    assert {result.state for result in check.results.values()} == {"same"}
    assert not check.run.left


def test_the_only_worker_of_a_farm_is_believed(client: Any) -> None:
    check = Check(client, workers=["w1"])
    check.run.step()
    check.tell("missing on disk", "w1")
    assert not check.results

    check.give_back()

    assert check.results[0].state == "missing on disk"
    assert not check.run.left


def test_a_node_without_a_mount_is_not_believed_while_others_are_busy(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    check = Check(client, workers=["w1", "w2"])
    check.run.step()
    check.tell("missing on disk", "w1")
    pauses = []
    for sent in range(2, 30):
        assert (len(check.sent), check.sent[-1]["avoid"]) == (sent, "w1")
        check.give_back()
        began = clock.now
        while len(check.sent) == sent and clock.now < began + 60:
            clock.now += 0.5
            check.run.step()
        pauses.append(clock.now - began)

    assert (pauses[0], pauses[-1]) == (PAUSE_S, LONGEST_PAUSE_S)
    assert pauses == sorted(pauses)
    check.tell("same", "w2")
    assert check.results[0].state == "same"
    assert not check.run.left


def test_a_user_who_may_not_send_tasks_learns_it_at_once(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = iter([redis.exceptions.NoPermissionError("NOPERM")])  # one, so no second try

    def refuse(**_: object) -> None:
        raise next(refusals)

    monkeypatch.setattr(module, "fail_fast_redis", lambda _: client)
    monkeypatch.setattr(module, "_sender", lambda **_: refuse)
    pairs = {0: Pair("/mnt/a.exr", "id")}

    with pytest.raises(redis.exceptions.NoPermissionError):
        compare_by_farm(
            Settings("redis://127.0.0.1:1/0"), pairs, download=False, on_result=lambda *_: None
        )


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (redis.TimeoutError("slow"), redis.TimeoutError),
        (redis.exceptions.NoPermissionError("NOPERM"), redis.exceptions.NoPermissionError),
        (OSError("gone"), redis.ConnectionError),
    ],
)
def test_what_keeps_a_message_from_redis_is_told_as_its_error(
    cause: Exception, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OperationalError("not sent") from cause

    monkeypatch.setattr(module, "open_app", lambda: SimpleNamespace(send_task=refuse))
    send = module._sender(download=False)

    with pytest.raises(kind):
        send(files=[])


def test_files_of_a_stopped_worker_or_a_lost_message_are_sent_again(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = Check(client, count=2, lost_s=0.0)
    client.rpush(LIST, "the message waits")
    check.run.step()
    check.run.step()
    assert len(check.sent) == 1
    client.delete(LIST)

    check.run.step()

    assert [task["files"] for task in check.sent] == [check.sent[0]["files"]] * 2
    rows: list[Row] = [(0, "same", 1, 1, "", "w1")]
    monkeypatch.setattr(check.run, "_lost_s", 100.0)
    check.checks.tell(check.sent[-1]["number"], rows, GIVEN_BACK)
    check.run.step()
    assert [one[0] for one in check.sent[-1]["files"]] == [1]
    check.tell("same", "w2")
    assert not check.run.left


def test_what_no_worker_of_this_farm_has_told_is_no_result(client: Any) -> None:
    check = Check(client)
    check.run.step()
    rows: list[Row] = [(0, "same", 1, 1, "", "w1")]
    other = Checks(Scripts(client, SEALED, lease_s=10), "another-check")
    other.tell(1, rows)
    told = next(value for name, value in client.hgetall(other.key).items() if "rows" in name)
    unsealed = Codec([]).encode({"check": "a-check", "rows": rows})
    client.hset(check.checks.key, mapping={"rows:1:z": told, "rows:1:x": unsealed, "rows:1:y": "?"})

    check.run.step()

    assert not check.results
    assert check.run.left == 1


def test_a_check_that_nobody_waits_for_is_closed(client: Any) -> None:
    check = Check(client)
    assert not check.checks.is_open()
    check.run.step()
    assert check.checks.is_open()
    assert 0 < client.ttl(check.checks.key) <= OPEN_S
    client.hset(check.checks.key, "open", int(client.hget(check.checks.key, "open")) - OPEN_S)
    assert not check.checks.is_open()
