"""The components that are announced to the event hub: all that the stage has located."""

from __future__ import annotations

from dataclasses import replace

from tasks.stage.registration import located_components
from tasks.transfer.errors import LeaseLostError
from tasks.transfer.models import SERVER_LOCATION_ID, Outcomes, Transfer
from tasks.transfer.targets import Container, Publish, Target
from tests.unit.conftest import new_id


def test_a_failure_holds_back_only_its_own_announcement() -> None:
    sequence, file = (Target(new_id()) for _ in range(2))
    frame = Target.frame(sequence, "1")
    publish = Publish((Container(sequence, ".exr", 4),))
    outcomes: Outcomes = {
        "publish": Transfer("publish", Target(new_id()), "exr", publish=publish),
        "failed": LeaseLostError("failed"),
        "file": Transfer("file", file, "/mnt/a.exr"),
    }
    members = {"publish": [Transfer("frame", frame, "/mnt/b.1.exr")]}

    announced = [*located_components(outcomes, members)]

    ids = [one.component_id for one in (sequence, frame, file)]
    assert announced == [(one, SERVER_LOCATION_ID) for one in ids]


def test_of_a_publish_that_was_there_only_what_was_sent_is_announced() -> None:
    beauty, depth = (Target(new_id()) for _ in range(2))
    publish = Publish(tuple(Container(one, ".exr", 4) for one in (beauty, depth)))
    whole = Transfer("publish", Target(new_id()), "exr", publish=publish, was_located=True)
    outcomes: Outcomes = {"publish": whole}
    frames = [
        Transfer(str(number), Target.frame(one, str(number)), "/mnt/a.exr", was_located=True)
        for one in (beauty, depth)
        for number in (1, 2)
    ]
    assert [*located_components(outcomes, {"publish": frames})] == []
    frames[1] = replace(frames[1], was_located=False)

    announced = [one for one, _ in located_components(outcomes, {"publish": frames})]

    assert announced == [beauty.component_id, frames[1].component_id]


def test_the_sequences_of_a_publish_that_is_new_are_announced() -> None:
    """Another publish may have sent its frames."""
    sequence = Target(new_id())
    publish = Publish((Container(sequence, ".exr", 4),))
    outcomes: Outcomes = {"publish": Transfer("publish", Target(new_id()), "exr", publish=publish)}
    frame = Transfer("1", Target.frame(sequence, "1"), "/mnt/a.exr", was_located=True)

    announced = [one for one, _ in located_components(outcomes, {"publish": [frame]})]

    assert announced == [sequence.component_id]
