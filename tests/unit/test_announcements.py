"""The components that are announced to the event hub: all that the stage has located."""

from __future__ import annotations

from tasks.stage.registration import located_components
from tasks.transfer.errors import LeaseLostError
from tasks.transfer.ftrack import Outcomes
from tasks.transfer.models import SERVER_LOCATION_ID, Transfer
from tasks.transfer.targets import Container, Publish, Target
from tests.unit.conftest import new_id


def test_a_failure_holds_back_only_its_own_announcement() -> None:
    sequence, file, frame = (Target(new_id()) for _ in range(3))
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
