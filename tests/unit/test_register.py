"""Sequences as they come into ftrack: whole, by parts, and brought up to date."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tasks.transfer import existing, publish_posts, register_publish
from tasks.transfer.errors import (
    FileRefusedError,
    LeaseLostError,
    RequestRefusedError,
    UnexpectedAnswerError,
    UploadError,
)
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.models import Outcomes, Transfer
from tasks.transfer.operations import update
from tasks.transfer.register import after_joining, locate
from tasks.transfer.targets import Container, Publish, Target
from tests.sandbox import Sandbox, seed
from tests.unit.conftest import Frame, new_id

TARGET = Target.under_version(seed.VERSION_ID, "exr")
PUBLISH = Publish((Container(TARGET, ".exr", 4),))


@pytest.fixture
def ftrack(sandbox: Sandbox) -> FtrackClient:
    return FtrackClient(sandbox.ftrack_url, seed.API_USER, seed.API_KEY)


def frames(frame: Frame, numbers: Sequence[int], size: int) -> list[Transfer]:
    targets = {number: Target.frame(TARGET, str(number)) for number in numbers}
    content = b"x" * size
    return [frame(content, f"f.{number}.exr", target=one) for number, one in targets.items()]


def size_of(sandbox: Sandbox) -> int:
    [sequence] = sandbox.ftrack.entities("SequenceComponent")
    return int(sequence["size"])


def test_the_size_of_a_sequence_includes_frames_enqueued_before(
    sandbox: Sandbox, ftrack: FtrackClient, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register_publish, "FRAMES_A_PAGE", 4)
    whole = Transfer(new_id(), TARGET, "f.%04d.exr", publish=PUBLISH)
    register_publish.locate_publish(ftrack, whole, frames(frame, range(1, 9), 10))
    assert sandbox.ftrack.count_calls() == 2, "what is new costs no look at frames"
    assert size_of(sandbox) == 80

    register_publish.locate_publish(ftrack, whole, frames(frame, range(8, 11), 100))

    assert size_of(sandbox) == 7 * 10 + 3 * 100
    assert len(sandbox.ftrack.entities("FileComponent")) == 10


def test_the_size_of_a_sequence_follows_a_frame_named_by_its_id(
    sandbox: Sandbox, ftrack: FtrackClient, frame: Frame
) -> None:
    whole = Transfer(new_id(), TARGET, "f.%04d.exr", publish=PUBLISH)
    first, *_ = members = frames(frame, range(1, 4), 10)
    register_publish.locate_publish(ftrack, whole, members)
    by_id = frame(b"x" * 100, "f.1.exr", target=Target(first.component_id))
    alone = frame(b"x" * 7, "alone.exr", target=Target(sandbox.ftrack.add_component("alone.exr")))
    before = sandbox.ftrack.count_calls()

    assert all(isinstance(one, Transfer) for one in locate(ftrack, [alone]).values())
    assert sandbox.ftrack.count_calls() - before == 1, "others cost no call"
    for register in (locate, after_joined):
        ftrack.call([update("SequenceComponent", TARGET.component_id, {"size": 1})])
        [outcome] = register(ftrack, [by_id]).values()
        assert outcome == by_id
        assert size_of(sandbox) == 100 + 2 * 10


def after_joined(ftrack: FtrackClient, files: Sequence[Transfer]) -> Outcomes:
    return after_joining(ftrack, {file.upload_id: file for file in files})


@pytest.mark.timeout(30)
def test_a_server_that_repeats_its_first_page_is_not_asked_forever(
    sandbox: Sandbox, ftrack: FtrackClient, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register_publish, "FRAMES_A_PAGE", 4)
    whole = Transfer(new_id(), TARGET, "f.%04d.exr", publish=PUBLISH)
    register_publish.locate_publish(ftrack, whole, frames(frame, range(1, 9), 10))
    first_page = existing.frames_operations(TARGET.component_id, 0, 4)
    monkeypatch.setattr(register_publish, "frames_operations", lambda *_: first_page)

    with pytest.raises(UnexpectedAnswerError, match="the next page repeats"):
        register_publish.locate_publish(ftrack, whole, frames(frame, range(8, 11), 100))


def test_a_long_sequence_passes_a_proxy_that_takes_small_calls_alone(
    sandbox: Sandbox, ftrack: FtrackClient, frame: Frame
) -> None:
    sandbox.faults.add("ftrack", "status", 413, over_bytes=60_000, body="<html>nginx")
    whole = Transfer(new_id(), TARGET, "f.%04d.exr", publish=PUBLISH)
    files = frames(frame, range(1, 251), 1)
    shown: list[object] = []

    def look() -> None:
        shown.extend(one["version_id"] for one in sandbox.ftrack.entities("SequenceComponent"))

    register_publish.locate_publish(ftrack, whole, files, look)

    assert shown
    assert not any(shown)
    [sequence] = sandbox.ftrack.entities("SequenceComponent")
    assert (sequence["version_id"], sequence["size"]) == (seed.VERSION_ID, 250)
    located = {one["component_id"] for one in sandbox.ftrack.entities("ComponentLocation")}
    assert located == {TARGET.component_id, *(one.component_id for one in files)}


def test_a_proxy_that_takes_no_long_sequence_is_named_soon(
    sandbox: Sandbox, ftrack: FtrackClient, frame: Frame
) -> None:
    sandbox.faults.add("ftrack", "status", 413, over_bytes=20_000, body='{"message": "no"}')
    whole = Transfer(new_id(), TARGET, "f.%04d.exr", publish=PUBLISH)
    files = frames(frame, range(1, 101), 1)

    with pytest.raises(RequestRefusedError, match="a proxy before ftrack answers 413"):
        register_publish.locate_publish(ftrack, whole, files)

    assert sandbox.ftrack.count_calls() <= 10


def test_of_a_long_sequence_nothing_is_shown_before_the_last_call(
    sandbox: Sandbox, ftrack: FtrackClient, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_posts, "FRAMES_A_POST", 3)
    whole = Transfer(new_id(), TARGET, "f.%04d.exr", publish=PUBLISH)
    files = frames(frame, range(1, 9), 10)
    posts = 0

    def killed_before_the_last() -> None:
        nonlocal posts
        posts += 1
        if posts == 4:
            raise LeaseLostError(whole.upload_id)

    with pytest.raises(LeaseLostError):
        register_publish.locate_publish(ftrack, whole, files, killed_before_the_last)
    [sequence] = sandbox.ftrack.entities("SequenceComponent")
    assert not sequence["version_id"]
    assert len(sandbox.ftrack.entities("FileComponent")) == 8

    register_publish.locate_publish(ftrack, whole, files)

    [sequence] = sandbox.ftrack.entities("SequenceComponent")
    assert (sequence["version_id"], sequence["size"]) == (seed.VERSION_ID, 80)
    located = {one["component_id"] for one in sandbox.ftrack.entities("ComponentLocation")}
    assert located == {TARGET.component_id, *(one.component_id for one in files)}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("PermissionError", RequestRefusedError),
        # Somebody was quicker between our look and the call: it is looked up again.
        ("IntegrityError", UnexpectedAnswerError),
    ],
)
def test_what_ftrack_says_against_a_sequence_is_told_in_its_own_words(
    sandbox: Sandbox,
    ftrack: FtrackClient,
    frame: Frame,
    name: str,
    told: type[UploadError],
) -> None:
    sandbox.faults.add("ftrack", "error", name, action="create")
    whole = Transfer(new_id(), TARGET, "f.%04d.exr", publish=PUBLISH)

    with pytest.raises(told, match=name):
        register_publish.locate_publish(ftrack, whole, frames(frame, [1], 10))

    assert not sandbox.ftrack.entities("SequenceComponent")


@pytest.mark.parametrize("kind", ["Task", "Shot", "AssetBuild", "Project"])
def test_a_thumbnail_is_set_for_a_context_of_any_kind(
    sandbox: Sandbox, ftrack: FtrackClient, frame: Frame, kind: str
) -> None:
    context = sandbox.ftrack.create(kind, name=f"new {kind}")
    target = Target.under_version(
        seed.VERSION_ID, "thumbnail", thumbnail=True, task_id=context["id"]
    )
    # What ftrack refuses for another reason than a duplicate is tried again.
    refusal = sandbox.faults.add("ftrack", "error", "IntegrityError", entity_type=kind, times=1)
    file = frame(b"x", "a.png", target=target)
    [refused] = locate(ftrack, [file]).values()

    [located] = locate(ftrack, [file]).values()

    assert sandbox.faults.struck(refusal)
    assert isinstance(refused, UnexpectedAnswerError)
    assert located == file
    for entity_type, one in ((kind, context["id"]), ("AssetVersion", seed.VERSION_ID)):
        entity = sandbox.ftrack.get(entity_type, one)
        assert entity
        assert entity["thumbnail_id"] == target.component_id


def test_a_file_whose_name_is_a_sequence_in_ftrack_is_refused(
    ftrack: FtrackClient, frame: Frame
) -> None:
    whole = Transfer(new_id(), TARGET, "f.%04d.exr", publish=PUBLISH)
    register_publish.locate_publish(ftrack, whole, frames(frame, [1], 10))
    named = frame(b"x", "f.exr", target=TARGET)

    outcomes = locate(ftrack, [named])

    refused = outcomes[named.upload_id]
    assert isinstance(refused, FileRefusedError)
    assert "is a file, but exr is a sequence in ftrack" in str(refused)
