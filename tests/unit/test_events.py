"""Events for ftrack's event hub, and what happens to them while the hub is away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from tasks.config.settings import FtrackSettings
from tasks.stage import events
from tasks.stage.events import Events
from tasks.transfer.models import SERVER_LOCATION_ID
from tests.farm import wait_until
from tests.functional.event_hub import EventHub

KEY = "the-api-key-of-a-test"


@pytest.fixture
def hub() -> Iterator[EventHub]:
    with EventHub() as hub:
        yield hub


@pytest.fixture
def dropped() -> list[int]:
    return []


@pytest.fixture
def sender(hub: EventHub, dropped: list[int]) -> Events:
    return Events(FtrackSettings(hub.url, "farm@studio.com", KEY), dropped.append)


def test_an_event_looks_like_one_of_the_official_client(hub: EventHub, sender: Events) -> None:
    sender.located(["c1"])
    wait_until(lambda: hub.events)
    [event] = hub.events
    assert event["topic"] == "ftrack.location.component-added"
    assert event["data"] == {"component_id": "c1", "location_id": SERVER_LOCATION_ID}
    assert event["source"]["user"] == {"username": "farm@studio.com"}
    [handshake] = hub.handshakes
    assert (handshake["ftrack-user"], handshake["ftrack-api-key"]) == ("farm@studio.com", KEY)


def test_many_events_use_one_connection_in_order(hub: EventHub, sender: Events) -> None:
    names = [f"c{number}" for number in range(250)]
    sender.located(names)
    wait_until(lambda: len(hub.events) == 250)
    assert hub.component_ids == names
    assert len(hub.handshakes) == 1
    wait_until(lambda: hub.heartbeats == 1)


def test_a_connection_that_the_hub_closed_is_opened_again(
    hub: EventHub, sender: Events, dropped: list[int]
) -> None:
    sender.located(["c1"])
    wait_until(lambda: hub.events)
    hub.hang_up()
    sender.located(["c2"])
    wait_until(lambda: hub.component_ids == ["c1", "c2"])
    assert len(hub.handshakes) == 2
    assert not dropped


def test_an_idle_connection_is_closed(
    hub: EventHub, sender: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "IDLE_S", 0.05)
    sender.located(["c1"])
    wait_until(lambda: hub.events)
    wait_until(lambda: sender._hub is None)


@pytest.mark.parametrize("fault", ["away", "refuse", "silent"])
def test_refused_events_are_dropped_and_counted_and_logged_once(
    hub: EventHub,
    sender: Events,
    dropped: list[int],
    *,
    fault: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(events, "RETRY_S", 0.0)
    monkeypatch.setattr(events, "TIMEOUT_S", 0.3)
    setattr(hub, fault, True)
    sender.located(["c1", "c2"])
    wait_until(lambda: sum(dropped) == 2)
    sender.located(["c3"])
    wait_until(lambda: sum(dropped) == 3)
    setattr(hub, fault, False)
    sender.located(["c4"])
    wait_until(lambda: hub.component_ids == ["c4"])
    wait_until(lambda: "events_back" in caplog.text)
    assert caplog.text.count("events_away") == 1
    assert KEY not in caplog.text


def test_a_hub_that_is_away_is_not_asked_again_for_each_event(
    hub: EventHub, sender: Events, dropped: list[int]
) -> None:
    hub.away = True
    sender.located(["c1"])
    wait_until(lambda: sum(dropped) == 1)
    hub.away = False
    sender.located(["c2"])
    wait_until(lambda: sum(dropped) == 2)
    assert not hub.handshakes


def test_events_beyond_the_queue_are_dropped_without_waiting(
    hub: EventHub, dropped: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_QUEUED", 3)
    run, begun = Events._run, threading.Event()
    monkeypatch.setattr(Events, "_run", lambda sender: begun.wait() and run(sender))
    sender = Events(FtrackSettings(hub.url, "farm", KEY), dropped.append)
    sender.located(f"c{number}" for number in range(10))
    assert not dropped, "Redis may be slow, so the thread counts"
    begun.set()
    wait_until(lambda: sum(dropped) == 7)
    wait_until(lambda: hub.component_ids == ["c0", "c1", "c2"])


def test_a_drop_that_cannot_be_counted_does_no_harm(hub: EventHub) -> None:
    def away(_: int) -> None:
        raise ConnectionError

    hub.away = True
    sender = Events(FtrackSettings(hub.url, "farm", KEY), away)
    sender.located(["c1"])
    wait_until(lambda: sender._away)
    assert sender._thread is not None
    assert sender._thread.is_alive()
