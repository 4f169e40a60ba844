"""What a version gets with its components: asked for by name, and made once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tasks.transfer import register
from tasks.transfer.errors import FileRefusedError, TargetRefusedError
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.models import Transfer
from tasks.transfer.register_publish import locate_publish
from tasks.transfer.targets import Container, OfVersion, Publish, Target
from tasks.transfer.version_data import version_data_operations
from tests.sandbox import Sandbox, seed
from tests.unit.conftest import Frame, new_id

METADATA = OfVersion(metadata=(("job", "7"),))
SEQUENCE = Target.under_version(seed.VERSION_ID, "exr", of_version=METADATA)


@pytest.fixture
def ftrack(sandbox: Sandbox) -> Iterator[FtrackClient]:
    client = FtrackClient(sandbox.ftrack_url, seed.API_USER, seed.API_KEY)
    with client.session:
        yield client


def target(**of_version: Any) -> Target:
    return Target.under_version(seed.VERSION_ID, "main", of_version=OfVersion(**of_version))


def metadata(sandbox: Sandbox) -> list[str]:
    rows = sandbox.ftrack.entities("Metadata")
    return [str(row["value"]) for row in rows if row["parent_id"] == seed.VERSION_ID]


def test_another_programs_sequence_brings_its_data_once(
    sandbox: Sandbox, ftrack: FtrackClient, frame: Frame
) -> None:
    sandbox.ftrack.create("SequenceComponent", name="exr", version_id=seed.VERSION_ID, padding=4)
    publish = Publish((Container(SEQUENCE, ".exr", 4),))
    whole = Transfer(new_id(), SEQUENCE, "f.%04d.exr", publish=publish)

    locate_publish(ftrack, whole, [frame(target=Target.frame(SEQUENCE, "1001"))])

    assert metadata(sandbox) == ["7"]


def test_a_publish_of_several_pages_brings_its_data_once(
    sandbox: Sandbox, ftrack: FtrackClient, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register, "LOOKED_UP_AT_ONCE", 1)
    named = [Target.under_version(seed.VERSION_ID, name, of_version=METADATA) for name in "ab"]
    whole = Transfer(new_id(), named[0], "a", publish=Publish())

    locate_publish(ftrack, whole, [frame(target=one) for one in named])

    assert metadata(sandbox) == ["7"]


def test_a_refused_file_brings_its_version_nothing(
    sandbox: Sandbox, ftrack: FtrackClient, frame: Frame
) -> None:
    taken, free = (Target.under_version(seed.VERSION_ID, name) for name in ("taken", "free"))
    sequence = {"id": taken.component_id, "name": "taken", "version_id": seed.VERSION_ID}
    sandbox.ftrack.create("SequenceComponent", **sequence, padding=4)
    refused = frame(target=taken._replace(of_version=OfVersion(metadata=(("job", "8"),))))
    accepted = frame(target=free._replace(of_version=METADATA))

    outcomes = register.locate(ftrack, [refused, accepted])

    assert isinstance(outcomes[refused.upload_id], FileRefusedError)
    assert outcomes[accepted.upload_id] == accepted
    assert metadata(sandbox) == ["7"]


def test_what_is_named_by_its_name_and_its_id_is_made_once(
    sandbox: Sandbox, ftrack: FtrackClient
) -> None:
    place = {"name": "dailies", "project_id": seed.PROJECT_ID}
    listed = str(sandbox.ftrack.create("AssetVersionList", **place)["id"])
    review = str(sandbox.ftrack.create("ReviewSession", **place)["id"])
    both = target(lists=("dailies", listed), reviews=(review, "dailies"))

    operations = version_data_operations(ftrack, [both])

    assert [one["entity_type"] for one in operations] == ["ListObject", "ReviewSessionObject"]


def test_ftrack_is_asked_only_for_what_is_named(sandbox: Sandbox, ftrack: FtrackClient) -> None:
    [operation] = version_data_operations(ftrack, [target(metadata=(("job", "7"),))])

    assert operation["entity_type"] == "Metadata"
    asked = [one["expression"] for call in sandbox.ftrack.calls() for one in call["operations"]]
    assert not [one for one in asked if "ReviewSession " in one or "CustomAttributeConf" in one]


def attribute(sandbox: Sandbox, kind: str) -> None:
    """Make the custom attribute ``x`` of versions."""
    type_id = sandbox.ftrack.create("CustomAttributeType", name=kind)["id"]
    fields = {"key": "x", "entity_type": "assetversion", "type_id": type_id, "config": "{}"}
    kind = "CustomAttributeConfiguration"
    sandbox.ftrack.api({"action": "create", "entity_type": kind, "entity_data": fields})


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("date", "gestern"),
        ("date", "26.11.2026"),
        ("number", "nan"),
        ("number", "inf"),
        ("number", "1e999"),
        ("number", "1_000"),
        ("number", "many"),
    ],
)
def test_a_value_of_another_type_is_refused(
    kind: str, text: str, sandbox: Sandbox, ftrack: FtrackClient
) -> None:
    attribute(sandbox, kind)
    with pytest.raises(TargetRefusedError, match=f"cannot be '{text}': a {kind} is written as"):
        version_data_operations(ftrack, [target(attributes=(("x", text),))])


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("number", "64", 64),
        ("number", "-1.5", -1.5),
        ("number", "1e-05", 1e-05),
        ("date", "2026-11-26", {"__type__": "datetime", "value": "2026-11-26T00:00:00"}),
        ("number", "", None),
        ("date", "", None),
        ("text", "", ""),
    ],
)
def test_a_value_has_the_type_of_its_attribute(
    kind: str, text: str, value: Any, sandbox: Sandbox, ftrack: FtrackClient
) -> None:
    attribute(sandbox, kind)
    [operation] = version_data_operations(ftrack, [target(attributes=(("x", text),))])
    assert operation["entity_data"]["value"] == value
