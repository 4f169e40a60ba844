"""How a worker sends the events by which Flower shows tasks, with the hub's clock stopped."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.events.dispatcher import EventDispatcher
from kombu.asynchronous.hub import Hub

from workers.task_events import Together


@pytest.fixture
def consumer() -> Any:
    """A consumer without its connection to tasks: what it needs to send events."""
    app = Celery(broker="memory://", set_as_current=False)
    consumer: Any = object.__new__(Together)
    consumer.hub, consumer.controller, consumer.task_buckets = Hub(), None, {}
    consumer.event_dispatcher = EventDispatcher(
        app.connection_for_write(),
        app=app,
        buffer_group=["task"],
        on_send_buffered=consumer.on_send_event_buffered,
    )
    return consumer


@pytest.fixture
def messages(consumer: Any) -> list[list[str]]:
    """The messages that Flower would get: the types of the events in each."""
    got: list[list[str]] = []
    consumer.event_dispatcher._publish = lambda events, *_, **__: got.append(
        [event["type"] for event in events]
    )
    return got


def test_events_of_tasks_go_out_together(consumer: Any, messages: list[list[str]]) -> None:
    for kind in ("task-received", "task-started", "task-succeeded"):
        consumer.event_dispatcher.send(kind, uuid="1")
    [due] = consumer.hub.timer.queue
    assert messages == []

    due.entry()

    assert messages == [["task-received", "task-started", "task-succeeded"]]
    consumer.event_dispatcher.send("task-received", uuid="2")
    assert len(consumer.hub.timer.queue) == 2


def test_events_are_sent_before_a_connection_closes(
    consumer: Any, messages: list[list[str]]
) -> None:
    consumer.event_dispatcher.send("task-received", uuid="1")

    consumer.on_close()

    assert messages == [["task-received"]]
