"""Downloads that have a record, and no message: the reconciler sends it, on a real Redis."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from cryptography.fernet import Fernet
from kombu.transport import redis as kombu_redis

from tasks.chain import FETCH_PRIORITY, QUEUE
from tasks.config.sealing import Codec
from tasks.config.settings import Settings
from tasks.download import MAX_AGE_S
from tasks.records.fetches import Fetches
from tasks.records.scripts import Scripts
from tasks.stage.download_progress import Progress
from tests.sandbox import RedisServer
from workers.cli.fetch_task import fetch_line
from workers.config import make_config
from workers.downloads import send_message
from workers.steps import lost_downloads
from workers.steps.lost_downloads import LostDownloads

DOWNLOADS = f"{QUEUE}{kombu_redis.Channel.sep}{FETCH_PRIORITY}"


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    with redis_server.client() as client:
        yield client


@pytest.fixture
def app(redis_server: RedisServer) -> Celery:
    app = Celery("farmhaul", set_as_current=False)
    app.conf.update(make_config(Settings(redis_server.url)))
    return app


@pytest.fixture
def fetches(client: Any) -> Fetches:
    return Fetches(Scripts(client, Codec([])))


@pytest.fixture
def lost(app: Celery, fetches: Fetches, monkeypatch: pytest.MonkeyPatch) -> LostDownloads:
    """Looks at each call, however lately a record has moved."""
    monkeypatch.setattr(lost_downloads, "SEARCH_S", 0.0)
    monkeypatch.setattr(lost_downloads, "SILENT_S", 0.0)
    monkeypatch.setattr(lost_downloads, "MESSAGES", 2)
    return LostDownloads(app, fetches.scripts)


def ask(fetches: Fetches, asked_at: float | None = None) -> tuple[str, str, str, float]:
    """Write a record as somebody does who dies before the message is sent."""
    asked = (str(uuid.uuid4()), str(uuid.uuid4()), "/mnt/plates")
    asked_at = asked_at or time.time()
    fetches.ask(*asked, "ada on ws12", asked_at)
    return (*asked, asked_at)


def sent(client: Any) -> list[str]:
    """Return the downloads that have a message."""
    return [json.loads(text)["headers"]["id"] for text in client.lrange(DOWNLOADS, 0, -1)]


def look(lost: LostDownloads, times: int = 2) -> None:
    for _ in range(times):
        lost.start_again()


def test_a_download_without_a_message_gets_one(
    lost: LostDownloads, fetches: Fetches, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fetch_id, *_ = ask(fetches)
    look(lost, 1)
    assert sent(client) == []  # its message may have been on its way

    look(lost, 3)

    assert sent(client) == [fetch_id]
    assert caplog.messages == [f"download_lost fetch_id={fetch_id} start again"]


def test_one_whose_worker_has_begun_it_gets_one_too(
    lost: LostDownloads, fetches: Fetches, client: Any
) -> None:
    fetch_id, component_id, folder, asked_at = ask(fetches)
    assert Progress(fetches, fetch_id, asked_at).begin(component_id, folder, "w1@node7")

    look(lost)

    assert sent(client) == [fetch_id]


def test_one_that_is_queued_or_with_a_worker_is_left_alone(
    app: Celery, lost: LostDownloads, fetches: Fetches, client: Any
) -> None:
    asked = [ask(fetches) for _ in range(6)]  # more than are read at once
    for one in asked:
        send_message(app, *one)
    taken = client.rpop(DOWNLOADS)
    client.hset("unacked", "a tag", json.dumps([json.loads(taken), "farmhaul", "farmhaul"]))

    look(lost, 3)

    assert client.llen(DOWNLOADS) == len(asked) - 1


def test_one_that_has_ended_is_left_alone(
    lost: LostDownloads, fetches: Fetches, client: Any
) -> None:
    for state in ("fetched", "failed"):
        fetches.note(ask(fetches)[0], {"state": state})
    fetches.cancel(ask(fetches)[0], "ada")
    again, *_ = ask(fetches)
    fetches.note(again, {"state": "failed"})
    look(lost)
    assert sent(client) == []

    fetches.note(again, {"state": "queued"})
    client.zincrby("farmhaul:fetches", -0.5, again)  # no other move of it has this time
    look(lost)

    assert sent(client) == [again]


def test_one_that_is_refused_says_so_and_is_sent_again_later(
    lost: LostDownloads, fetches: Fetches, client: Any
) -> None:
    fetch_id, component_id, folder, asked_at = ask(fetches)
    waits: list[float] = []
    for _ in range(6):
        look(lost, 4)
        client.delete(DOWNLOADS)  # as a worker with another key does
        now, state = float(client.time()[0]), fetches.find([fetch_id])[fetch_id]
        waits.append(state.next_try - float(client.hget(f"farmhaul:fetch:{fetch_id}", "updated")))
        look(lost)
        assert state.next_try > now
        assert sent(client) == []
        client.hset(f"farmhaul:fetch:{fetch_id}", "due", now - 1)
    assert waits == [60, 120, 240, 480, 600, 600]
    assert state.error == "no worker has taken its message, which was sent again 6 times"
    assert state.error in fetch_line(state, human=True)

    client.hset("farmhaul:refusals", "node7", json.dumps({"at": time.time(), "why": "its key"}))
    look(lost)
    error = fetches.find([fetch_id])[fetch_id].error
    assert error.endswith("7 times; node7 refused messages: compare keys (farmhaul doctor)")

    assert Progress(fetches, fetch_id, asked_at).begin(component_id, folder, "w1@node7")
    state = fetches.find([fetch_id])[fetch_id]
    assert (state.error, state.lost, state.next_try) == ("", 0, 0.0)


def test_a_time_and_a_count_of_somebody_else_hold_up_nothing(
    lost: LostDownloads, fetches: Fetches, client: Any
) -> None:
    fetch_id, *_ = ask(fetches)
    client.hset(f"farmhaul:fetch:{fetch_id}", mapping={"lost": 10**15, "due": 9e15})

    look(lost)

    assert sent(client) == [fetch_id]
    assert fetches.find([fetch_id])[fetch_id].next_try <= float(client.time()[0]) + 600


def test_one_that_is_too_old_fails(lost: LostDownloads, fetches: Fetches, client: Any) -> None:
    fetch_id, *_ = ask(fetches, time.time() - MAX_AGE_S - 1)

    look(lost, 3)

    state = fetches.find([fetch_id])[fetch_id]
    assert (state.state, state.error) == ("failed", "no worker took it within 2 days")
    assert sent(client) == []


def test_one_of_another_key_is_left_alone(
    lost: LostDownloads, fetches: Fetches, client: Any, app: Celery
) -> None:
    ask(fetches)
    look(LostDownloads(app, Scripts(client, Codec([Fernet.generate_key().decode()]))))

    assert sent(client) == []
