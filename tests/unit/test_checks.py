"""What ftrack has for a target is asked in the POST that signs: before a byte is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tasks.config.remedies import explained
from tasks.transfer.checks import Known, refusal_of
from tasks.transfer.errors import TargetRefusedError, UploadError
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.models import Transfer
from tasks.transfer.register import locate
from tasks.transfer.register_publish import locate_publish
from tasks.transfer.signing import sign
from tasks.transfer.targets import Container, Publish, Target
from tests.sandbox import Sandbox, seed
from tests.unit.conftest import Frame, new_id

MAIN = Target.under_version(seed.VERSION_ID, "main")
WAYS = "use another --name, --replace, or another version"
OF_VERSION = f'component "main" of version {seed.VERSION_ID}'


@pytest.fixture
def ftrack(sandbox: Sandbox) -> Iterator[FtrackClient]:
    client = FtrackClient(sandbox.ftrack_url, seed.API_USER, seed.API_KEY)
    with client.session:
        yield client


def refusal(ftrack: FtrackClient, sandbox: Sandbox, transfer: Transfer) -> str:
    """Return why a transfer is not signed; empty if it is."""
    before = sandbox.ftrack.count_calls()
    outcome = sign(ftrack, [transfer])[transfer.upload_id]
    assert sandbox.ftrack.count_calls() == before + 1
    if isinstance(outcome, UploadError):
        return explained(outcome)
    assert outcome.signed is not None
    return ""


def test_a_component_that_does_not_exist_is_refused(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    transfer = frame()

    assert refusal(ftrack, sandbox, transfer) == (
        f"component {transfer.component_id} does not exist in ftrack; "
        "give another id, or fix it in ftrack, then: farmhaul retry ID"
    )


@pytest.mark.parametrize(
    ("entity_type", "kind"),
    [("SequenceComponent", "sequence"), ("ContainerComponent", "container")],
)
def test_a_component_that_is_no_file_is_refused(
    entity_type: str, kind: str, ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    fields = {"name": "exr", "version_id": seed.VERSION_ID}
    made = sandbox.ftrack.create(entity_type, **fields)

    for replace in (False, True):
        transfer = frame(target=Target(made["id"], replace=replace))
        assert f"is a {kind} in ftrack, not a file; " in refusal(ftrack, sandbox, transfer)


@pytest.mark.parametrize(
    ("known", "name", "fits"),
    [
        (".mov", "a.mp4", False),
        (".mov", "a.MOV", True),
        ("mov", "a.mov", True),
        (".jpeg", "a.jpg", True),
        ("", "a.mov", True),
        (".mov", "a", True),
        (".vdb.gz", "a.gz", True),
        (".mov", "a.ov", False),
    ],
)
def test_a_component_of_another_file_type_is_refused(
    known: str, name: str, fits: bool, ftrack: FtrackClient, sandbox: Sandbox, *, frame: Frame
) -> None:
    target = Target(sandbox.ftrack.add_component("a", file_type=known, size=5))
    said = refusal(ftrack, sandbox, frame(name=name, target=target))

    assert (said == "") is fits, said
    if not fits:
        assert f"is of type {known} in ftrack, but the file is " in said
        assert said.endswith("; use --replace, or another component")
    assert not refusal(ftrack, sandbox, frame(name=name, target=target._replace(replace=True)))


def test_an_empty_component_takes_a_file_of_any_type(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    target = Target(sandbox.ftrack.add_component("a", file_type=".mov"))
    assert not refusal(ftrack, sandbox, frame(name="a.mp4", target=target))


def test_a_task_that_does_not_exist_is_refused(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    missing = new_id()
    target = MAIN._replace(thumbnail=True, task_id=missing)
    said = refusal(ftrack, sandbox, frame(target=target))
    assert said.startswith(f"task {missing} does not exist in ftrack; give another id")
    for there in (seed.TASK_ID, seed.SHOT_ID, seed.PROJECT_ID):
        assert not refusal(ftrack, sandbox, frame(target=target._replace(task_id=there)))


def test_a_version_that_does_not_exist_is_refused(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    version_id = new_id()
    transfer = frame(target=Target.under_version(version_id, "main"))

    assert f"version {version_id} does not exist" in refusal(ftrack, sandbox, transfer)


def another_programs(sandbox: Sandbox) -> str:
    component_id = sandbox.ftrack.add_component("main.exr", size=5)
    add_location(sandbox, component_id)
    return component_id


def add_location(sandbox: Sandbox, component_id: str) -> None:
    where = {"location_id": seed.SERVER_LOCATION_ID, "resource_identifier": component_id}
    sandbox.ftrack.create("ComponentLocation", component_id=component_id, **where)


def a_sequence(sandbox: Sandbox) -> str:
    fields: dict[str, Any] = {"id": MAIN.component_id, "name": "main", "padding": 4}
    return str(
        sandbox.ftrack.create(
            "SequenceComponent", version_id=seed.VERSION_ID, file_type=".exr", **fields
        )["id"]
    )


def another_type(sandbox: Sandbox) -> str:
    return sandbox.ftrack.add_component("main.mov", id=MAIN.component_id)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (another_programs, "exists in ftrack already, made by another program ("),
        (a_sequence, "is a sequence in ftrack, and "),
        (another_type, "is of type .mov in ftrack, but the file is "),
    ],
)
def test_a_name_that_is_taken_in_ftrack_is_refused_or_replaced(
    make: Any, why: str, ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    there = make(sandbox)
    transfer = frame(target=MAIN)
    said = refusal(ftrack, sandbox, transfer)
    assert said.startswith(f"{OF_VERSION} {why}")
    assert said.endswith(f"; {WAYS}")
    # Another name of the same version is free.
    assert not refusal(
        ftrack, sandbox, frame(target=Target.under_version(seed.VERSION_ID, "other"))
    )

    replacing = frame(target=MAIN._replace(replace=True))
    assert not refusal(ftrack, sandbox, replacing)
    for _ in range(2):  # it may be registered twice
        assert isinstance(locate(ftrack, [replacing])[replacing.upload_id], Transfer)

    [component] = sandbox.ftrack.entities("Component")
    assert component["id"] == MAIN.component_id
    assert component["__entity_type__"] == "FileComponent"
    assert (component["file_type"], component["size"]) == (".exr", 6)
    assert there == MAIN.component_id or sandbox.ftrack.get("Component", there) is None
    assert len(sandbox.ftrack.locations(MAIN.component_id)) == 1


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (another_programs, "exists in ftrack already, made by another program ("),
        (lambda box: box.ftrack.add_component("main.exr", id=MAIN.component_id), "is a file in"),
    ],
)
def test_a_frame_is_refused_if_the_name_of_its_sequence_is_taken(
    make: Any, why: str, ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    make(sandbox)
    said = refusal(ftrack, sandbox, frame(target=Target.frame(MAIN, "1001")))
    assert said.startswith(f"{OF_VERSION} {why}")
    assert said.endswith(WAYS)

    target = MAIN._replace(replace=True)
    file = frame(target=Target.frame(target, "1001"))
    assert not refusal(ftrack, sandbox, file)
    whole = Transfer(new_id(), target, "f", publish=Publish((Container(target, ".exr", 4),)))
    for _ in range(2):
        locate_publish(ftrack, whole, [file])

    [sequence] = sandbox.ftrack.entities("SequenceComponent")
    assert sequence["id"] == MAIN.component_id
    [member] = sandbox.ftrack.entities("FileComponent")
    assert member["container_id"] == MAIN.component_id


@pytest.mark.parametrize(
    ("padding", "number", "fits"),
    [
        (4, "0999", True),
        (4, "10000", True),
        (4, "999", False),
        (4, "00999", False),
        (0, "1", True),
        (0, "0", True),
        (0, "01", False),
    ],
)
def test_a_frame_whose_number_has_another_padding_is_refused(
    padding: int, number: str, fits: bool, ftrack: FtrackClient, sandbox: Sandbox, *, frame: Frame
) -> None:
    fields = {"id": MAIN.component_id, "name": "main", "file_type": ".exr", "padding": padding}
    sandbox.ftrack.create("SequenceComponent", version_id=seed.VERSION_ID, **fields)
    said = refusal(ftrack, sandbox, frame(target=Target.frame(MAIN, number)))

    assert (said == "") is fits, said
    if not fits:
        why = f"has frame numbers of padding {padding} in ftrack, but the file is "
        assert said.startswith(f"{OF_VERSION} {why}")
        assert said.endswith(WAYS)
    replacing = Target.frame(MAIN._replace(replace=True), number)
    assert not refusal(ftrack, sandbox, frame(target=replacing))


def test_an_empty_component_of_the_name_is_used(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    there = sandbox.ftrack.add_component("main.mov")
    transfer = filled = frame(target=MAIN)

    for _ in range(2):  # then it is one that farmhaul has filled
        [signed] = sign(ftrack, [transfer]).values()
        assert isinstance(signed, Transfer)
        assert (signed.component_id, signed.target.own_id) == (there, MAIN.component_id)
        assert isinstance(locate(ftrack, [signed])[transfer.upload_id], Transfer)
        filled = signed

    [component] = sandbox.ftrack.entities("FileComponent")
    assert (component["id"], component["file_type"], component["size"]) == (there, ".exr", 6)
    # When it is deleted, a new one is made under the id that farmhaul derives.
    sandbox.ftrack.delete("FileComponent", there)
    [again] = sign(ftrack, [filled]).values()
    assert isinstance(again, Transfer)
    assert again.component_id == MAIN.component_id


def test_an_empty_sequence_of_the_name_is_used_with_its_frames(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    there = sandbox.ftrack.create(
        "SequenceComponent", version_id=seed.VERSION_ID, name="main", padding=4
    )["id"]
    files = [frame(target=Target.frame(MAIN, name)) for name in ("1001", "1002")]
    for name in ("1001", "1003"):
        sandbox.ftrack.create("FileComponent", container_id=there, name=name)
    whole = Transfer(new_id(), MAIN, "f", publish=Publish((Container(MAIN, ".exr", 4),)))

    for file in files:
        assert not refusal(ftrack, sandbox, file)
    for _ in range(2):
        locate_publish(ftrack, whole, files)

    [sequence] = sandbox.ftrack.entities("SequenceComponent")
    assert (sequence["id"], sequence["file_type"], sequence["size"]) == (there, ".exr", 12)
    frames = sandbox.ftrack.entities("FileComponent")
    assert sorted(one["name"] for one in frames) == ["1001", "1002", "1003"]
    assert {one["container_id"] for one in frames} == {there}
    assert len(sandbox.ftrack.locations(there)) == 1


def test_a_frame_that_another_program_has_made_is_refused_or_replaced(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    fields = {"id": MAIN.component_id, "name": "main", "padding": 4}
    sandbox.ftrack.create("SequenceComponent", version_id=seed.VERSION_ID, **fields)
    there = sandbox.ftrack.create(
        "FileComponent", container_id=MAIN.component_id, name="1001", size=5
    )["id"]
    add_location(sandbox, there)

    def register(target: Target) -> None:
        file = frame(target=Target.frame(target, "1001"))
        publish = Publish((Container(target, ".exr", 4),))
        locate_publish(ftrack, Transfer(new_id(), target, "f", publish=publish), [file])

    with pytest.raises(TargetRefusedError) as raised:
        register(MAIN)
    said = f'frame 1001 of "main" of version {seed.VERSION_ID} exists in ftrack already, made by'
    assert explained(raised.value).startswith(said)
    assert explained(raised.value).endswith(WAYS)

    register(MAIN._replace(replace=True))
    [component] = sandbox.ftrack.entities("FileComponent")
    assert (component["name"], component["size"]) == ("1001", 6)
    assert component["id"] != there


def test_a_sequence_that_replaces_another_leaves_nothing_of_it(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.transfer.publish_posts.FRAMES_A_POST", 2)

    def register(target: Target, suffix: str, padding: int, numbers: range) -> None:
        names = [f"{number:0{padding}d}" for number in numbers]
        files = [
            frame(b"x" * 10, f"f.{name}{suffix}", target=Target.frame(target, name))
            for name in names
        ]
        publish = Publish((Container(target, suffix, padding),))
        whole = Transfer(new_id(), target, "f", publish=publish)
        locate_publish(ftrack, whole, files)

    register(MAIN, ".exr", 4, range(1, 8))
    register(MAIN._replace(replace=True), ".jpg", 5, range(7, 9))

    [sequence] = sandbox.ftrack.entities("SequenceComponent")
    assert (sequence["file_type"], sequence["padding"], sequence["size"]) == (".jpg", 5, 20)
    assert sorted(one["name"] for one in sandbox.ftrack.entities("FileComponent")) == [
        "00007",
        "00008",
    ]


def test_a_name_with_quotes_breaks_no_query(
    ftrack: FtrackClient, sandbox: Sandbox, frame: Frame
) -> None:
    named = ['a"b', "a'b", "a\\", 'x") or (id is not "']
    transfers = [frame(target=Target.under_version(seed.VERSION_ID, name)) for name in named]
    transfers.append(frame(target=MAIN._replace(replace=True)))

    assert all(isinstance(one, Transfer) for one in sign(ftrack, transfers).values())
    assert sandbox.ftrack.count_calls() == 1


@pytest.mark.parametrize("version_id", [[1], {"a": 1}, 7, "x"])
def test_a_component_in_an_odd_version_is_refused(version_id: object, frame: Frame) -> None:
    row = {"id": MAIN.component_id, "name": "main", "version_id": version_id}
    known = Known(frozenset({seed.VERSION_ID}), {MAIN.component_id: row}, {}, frozenset(), {})

    refused = refusal_of(frame(target=MAIN), known)

    assert f'"main" is in version {version_id} in ftrack, not in version' in str(refused)
