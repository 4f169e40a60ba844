"""Which Celery tasks the page of an upload lists, by what Flower has seen."""

from __future__ import annotations

from celery.events.state import State

from workers.web.tasks_seen import MOST_TASKS, tasks_of


class Events:
    """What workers tell Flower."""

    def __init__(self) -> None:
        self.state = State()
        self._clock = 0

    def receive(self, uuid: str, name: str, root: str, parent: str | None = None) -> None:
        self._clock += 1
        fields = {"name": f"farmhaul.{name}", "root_id": root, "parent_id": parent}
        times = dict.fromkeys(("timestamp", "local_received", "clock"), self._clock)
        self.state.event(
            {"type": "task-received", "uuid": uuid, "hostname": "w1", **times, **fields}
        )

    def of(self, claim: str) -> list[str]:
        return [task.uuid for task in tasks_of(self.state.tasks, claim)]


def _batch() -> Events:
    """A batch that one upload has left after its MD5, and another while the rest was sent."""
    events = Events()
    events.receive("b1", "compute_checksum", "b1")
    events.receive("a2", "get_put_metadata", "a2", "b1")
    events.receive("b2", "get_put_metadata", "b1", "b1")
    events.receive("a3", "put_file", "a2", "a2")
    events.receive("b3", "put_file", "b1", "b2")
    events.receive("c4", "create_component_location", "c4", "b3")
    events.receive("a4", "create_component_location", "a2", "a3")
    events.receive("b4", "create_component_location", "b1", "b3")
    return events


def test_an_upload_that_goes_on_alone_shows_all_its_tasks() -> None:
    events = _batch()
    assert events.of("a2") == ["b1", "a2", "a3", "a4"]
    assert events.of("c4") == ["b1", "b2", "b3", "c4"]
    assert [(task.name, task.state) for task in tasks_of(events.state.tasks, "c4")][-2:] == [
        ("put_file", "RECEIVED"),
        ("create_component_location", "RECEIVED"),
    ]


def test_the_rest_of_a_batch_shows_no_task_of_what_went_on() -> None:
    assert _batch().of("b1") == ["b1", "b2", "b3", "b4"]


def test_a_wake_up_belongs_to_no_task_that_has_sent_it() -> None:
    events = _batch()
    events.receive("d1", "compute_checksum", "d1", "b1")
    events.receive("d2", "get_put_metadata", "d1", "d1")
    assert events.of("d1") == ["d1", "d2"]
    assert events.of("b1") == ["b1", "b2", "b3", "b4"]


def test_what_flower_has_not_seen_or_cannot_be_ends_the_list() -> None:
    events = Events()
    assert events.of("a2") == []
    events.receive("a2", "get_put_metadata", "a2", "forgotten")
    assert events.of("a2") == ["a2"]
    events.receive("x", "put_file", "y", "y")
    events.receive("y", "put_file", "x", "x")
    assert events.of("x")[:2] == ["y", "x"]
    assert len(events.of("x")) == MOST_TASKS
    events.state.tasks["y"].children = 5
    assert events.of("y") == ["x", "y"]
