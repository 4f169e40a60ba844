"""Which files may follow each other in a component of a version, on a real Redis."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.config.settings import Settings
from tasks.intake.build import Options, build_requests
from tasks.intake.manifest import Entry
from tasks.intake.request import PublishRequest, Request, UploadRequest
from tasks.records import keys
from tasks.records.commands import LEFT, Commands, Enqueued
from tasks.records.places import places_of
from tasks.records.states import STAGES
from tasks.records.status import Status
from tasks.transfer.targets import Container, Publish, Target
from tests.unit.records import Farm

MTIME = 1


@pytest.fixture
def version() -> str:
    return str(uuid.uuid4())


def file(version: str, path: str, name: str = "main", **options: Any) -> UploadRequest:
    asked = {key: options.pop(key) for key in ("size_bytes", "asked_at") if key in options}
    asked.setdefault("size_bytes", 7)
    return UploadRequest(
        path, Target.under_version(version, name, **options), mtime_ns=MTIME, **asked
    )


def sequence(
    version: str, head: str, tail: str = ".exr", count: int = 2, name: str = "main", **options: Any
) -> PublishRequest:
    target = Target.under_version(version, name, **options)
    frames = [Target.frame(target, str(number)) for number in range(1, count + 1)]
    files = [
        UploadRequest(f"{head}{frame.name}{tail}", frame, 7, MTIME, is_member=True)
        for frame in frames
    ]
    container = Container(target, tail, 0, f"{head}%d{tail}")
    path = f"{head}%d{tail} [1-{count}]"
    return PublishRequest(path, target.component_id, Publish((container,)), tuple(files))


def publish(version: str, *parts: Request) -> PublishRequest:
    """Return a publish of sequences and files."""
    containers = [part.publish.containers for part in parts if isinstance(part, PublishRequest)]
    files = [
        one
        for part in parts
        for one in (
            part.files if isinstance(part, PublishRequest) else (part._replace(is_member=True),)
        )
    ]
    component_id = str(uuid.uuid5(uuid.UUID(version), "v3"))
    return PublishRequest("v3", component_id, Publish(sum(containers, ())), tuple(files))


def state_of(farm: Farm, request: Request) -> str:
    [(state, _)] = farm.commands.enqueue([request])
    assert state == farm.state(request.upload_id)
    return state


def error_of(farm: Farm, request: Request) -> str:
    [found] = Status(farm.client, farm.record.scripts.codec).find([request.upload_id])
    assert found is not None
    return found.error


def locate(farm: Farm, request: UploadRequest) -> None:
    assert state_of(farm, request) == "pending"
    [transfer] = farm.pass_stages(STAGES[-1], claim=str(uuid.uuid4()))
    farm.settle(transfer, "located")


OTHERS: dict[str, tuple[Callable[[str], Request], Callable[[str], Request]]] = {
    "another type": (lambda v: file(v, "/p/sh010.mov"), lambda v: file(v, "/p/sh010.mp4")),
    "another folder": (lambda v: file(v, "/p/beauty/f.exr"), lambda v: file(v, "/p/depth/f.exr")),
    "another type of frames": (
        lambda v: sequence(v, "/p/b."),
        lambda v: sequence(v, "/p/b.", ".jpg"),
    ),
    "the other eye": (
        lambda v: sequence(v, "/p/b.", "_left.exr"),
        lambda v: sequence(v, "/p/b.", "_right.exr"),
    ),
    "a sequence after a file": (lambda v: file(v, "/p/b.exr"), lambda v: sequence(v, "/p/b.")),
    "a file after a sequence": (lambda v: sequence(v, "/p/b."), lambda v: file(v, "/p/b.exr")),
    "in a publish": (lambda v: sequence(v, "/p/b."), lambda v: publish(v, sequence(v, "/q/b."))),
    "a file in a publish": (
        lambda v: publish(v, sequence(v, "/p/b."), file(v, "/p/a.mov", "movie")),
        lambda v: publish(v, sequence(v, "/p/b."), file(v, "/q/a.mov", "movie")),
    ),
    "after a publish": (
        lambda v: publish(v, sequence(v, "/p/b."), file(v, "/p/a.mov", "movie")),
        lambda v: file(v, "/q/a.mov", "movie"),
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_files_under_a_name_that_is_taken_are_refused(
    farm: Farm, version: str, case: str
) -> None:
    first, other = (make(version) for make in OTHERS[case])
    before = state_of(farm, first)
    pending = farm.client.zrange(keys.PENDING, 0, -1)

    assert state_of(farm, other) == "failed"

    assert farm.state(first.upload_id) == before
    assert farm.client.zrange(keys.PENDING, 0, -1) == pending
    assert farm.counted("failed") == {"PlaceTaken": 1}
    error = error_of(farm, other)
    assert f"holds other files (upload {first.upload_id}); use another --name, --replace" in error
    if case != "a file in a publish":  # its request does not name its single files
        assert error.startswith(f'component "{other_name(other)}" of version {version} holds')
    assert 0 < farm.client.ttl(keys.upload_key(other.upload_id)) <= farm.ttl_s
    assert farm.client.zcard(keys.state_key("failed")) == 1


@pytest.mark.parametrize("case", OTHERS)
def test_other_files_take_over_with_replace(farm: Farm, version: str, case: str) -> None:
    first, other = (make(version) for make in OTHERS[case])
    state_of(farm, first)

    assert state_of(farm, with_replace(other)) in {"pending", "storing"}

    assert farm.state(first.upload_id) == "superseded"
    assert farm.field(first.upload_id, "error").startswith("superseded by ")
    assert state_of(farm, first) == "failed", "and the first ones are the others now"


def other_name(request: Request) -> str | None:
    if isinstance(request, UploadRequest):
        return request.target.name
    return request.publish.containers[0].target.name


def with_replace(request: Any) -> Any:
    if isinstance(request, UploadRequest):
        return request._replace(target=request.target._replace(replace=True))
    containers = [
        one._replace(target=one.target._replace(replace=True)) for one in request.publish.containers
    ]
    files = [one if one.target.container_id else with_replace(one) for one in request.files]
    return request._replace(publish=Publish(tuple(containers)), files=tuple(files))


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (file("V", "/p/a.mov"), file("V", "/p/a.mov", size_bytes=8)),
        (file("V", "/p/a.mov"), file("V", "/p/a.mov", thumbnail=True)),
        (sequence("V", "/p/b.", count=2), sequence("V", "/p/b.", count=5)),
        (
            sequence("V", "/p/b.", count=2),
            publish("9d1ad1a2-5b1c-4a0e-9a55-0a1b2c3d4e5f", sequence("V", "/p/b.", count=3)),
        ),
        (file("V", "P:/Prod/A.mov"), file("V", "p:/prod/a.mov", size_bytes=8)),
    ],
    ids=["newer", "other options", "more frames", "with its movie", "another case on Windows"],
)
def test_files_of_the_same_place_are_let_in(farm: Farm, first: Request, again: Request) -> None:
    state_of(farm, first)

    assert state_of(farm, again) in {"pending", "storing"}


def test_a_place_is_known_by_any_of_its_names(farm: Farm, version: str) -> None:
    linux = Commands(farm.record.scripts, [("P:", "/mnt/prod")])
    macos = Commands(farm.record.scripts, [("P:", "/Volumes/prod")])
    size = iter(range(1, 99))

    def enqueued(commands: Commands, path: str) -> str:
        return commands.enqueue([file(version, path, size_bytes=next(size))])[0].state

    assert enqueued(linux, "P:/a.mov") == "pending"
    assert enqueued(macos, "P:/a.mov") == "pending"
    assert enqueued(linux, "/mnt/prod/a.mov") == "pending"
    assert enqueued(linux, "/Volumes/prod/a.mov") == "pending"
    assert enqueued(linux, "P:/b.mov") == "failed"


PATH_MAP = [("P:", "/mnt/prod")]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (lambda v: file(v, "P:/a.mov"), lambda v: file(v, "/mnt/prod/a.mov")),
        (lambda v: sequence(v, "P:/b."), lambda v: sequence(v, "/mnt/prod/b.")),
        (
            lambda v: publish(v, sequence(v, "P:/b."), file(v, "P:/a.mov", "movie")),
            lambda v: publish(v, sequence(v, "/mnt/prod/b."), file(v, "/mnt/prod/a.mov", "movie")),
        ),
    ],
    ids=["file", "sequence", "publish"],
)
def test_a_place_that_a_node_without_the_path_map_wrote(
    farm: Farm, version: str, theirs: Callable[[str], Request], ours: Callable[[str], Request]
) -> None:
    stale = farm.commands
    here = Commands(farm.record.scripts, PATH_MAP)
    assert stale.enqueue([theirs(version)])[0].is_new

    assert stale.enqueue([ours(version)._replace(asked_at=farm.now())])[0].state == "failed"
    assert here.enqueue([ours(version)._replace(asked_at=farm.now())])[0].is_new


def test_a_place_whose_upload_nobody_can_read_is_taken(farm: Farm, version: str) -> None:
    first = file(version, "P:/a.mov")
    state_of(farm, first)
    farm.client.hset(keys.upload_key(first.upload_id), "request", "[]")

    here = Commands(farm.record.scripts, PATH_MAP)

    assert here.enqueue([file(version, "/mnt/prod/a.mov")])[0].state == "failed"


class TestANodeThatWouldRefuse:
    @pytest.fixture
    def stale(self, farm: Farm) -> Commands:
        farm.take_tasks("stale", "good")
        return Commands(farm.record.scripts, node="stale")

    @pytest.fixture
    def good(self, farm: Farm, stale: Commands) -> Commands:
        return Commands(farm.record.scripts, PATH_MAP, "good")

    def test_leaves_it_to_others(
        self, farm: Farm, version: str, stale: Commands, good: Commands
    ) -> None:
        good.enqueue([file(version, "/mnt/prod/a.mov")])
        asked = file(version, "P:/a.mov", asked_at=farm.now())

        assert [stale.enqueue([asked]) for _ in range(3)] == [[Enqueued(LEFT, is_new=False)]] * 3
        assert farm.state(asked.upload_id) == ""
        assert good.enqueue([asked]) == [Enqueued("pending", is_new=True)]
        assert stale.enqueue([asked]) == [Enqueued("pending", is_new=False)]
        assert not farm.counted("failed")

    def test_refuses_it_once_all_nodes_would(
        self, farm: Farm, version: str, stale: Commands, good: Commands
    ) -> None:
        good.enqueue([file(version, "/mnt/prod/a.mov")])
        asked = file(version, "/mnt/prod/b.mov", asked_at=farm.now())

        assert stale.enqueue([asked])[0].state == LEFT
        assert good.enqueue([asked])[0].state == "failed"
        assert stale.enqueue([asked])[0].state == "failed"
        assert farm.counted("failed") == {"PlaceTaken": 1}

    def test_refuses_it_once_five_nodes_would(
        self, farm: Farm, version: str, good: Commands
    ) -> None:
        good.enqueue([file(version, "/mnt/prod/a.mov")])
        asked = file(version, "P:/a.mov", asked_at=farm.now())
        names = [f"stale{number}" for number in range(5)]
        farm.take_tasks(*names)
        nodes = [Commands(farm.record.scripts, node=name) for name in names]

        states = [node.enqueue([asked])[0].state for node in nodes]

        assert states == [LEFT] * 4 + ["failed"]

    def test_leaves_it_for_ten_seconds(
        self, farm: Farm, version: str, stale: Commands, good: Commands
    ) -> None:
        good.enqueue([file(version, "/mnt/prod/a.mov")])
        asked = file(version, "P:/a.mov", asked_at=farm.now())
        assert stale.enqueue([asked])[0].state == LEFT
        key = keys.PLACE_REFUSED + asked.upload_id
        assert 19 <= farm.client.ttl(key) <= 20

        farm.client.expire(key, 10)

        assert stale.enqueue([asked])[0].state == "failed"

    def test_needs_no_key_that_somebody_else_has_put_there(
        self, farm: Farm, version: str, stale: Commands, good: Commands
    ) -> None:
        good.enqueue([file(version, "/mnt/prod/a.mov")])
        asked = file(version, "P:/a.mov", asked_at=farm.now())
        farm.client.set(keys.PLACE_REFUSED + asked.upload_id, "x")

        assert stale.enqueue([asked])[0].state == LEFT

    @pytest.mark.parametrize("others", ["gone", "set aside"])
    def test_refuses_it_without_another_node(
        self, farm: Farm, version: str, stale: Commands, others: str
    ) -> None:
        stale.enqueue([file(version, "/mnt/prod/a.mov")])
        if others == "gone":
            farm.client.zrem(keys.WORKERS, "good")
        else:
            farm.client.hset(keys.PAUSED, "good", "{}")

        assert stale.enqueue([file(version, "P:/a.mov")])[0].state == "failed"


def test_a_component_that_is_named_by_its_id_has_no_place(farm: Farm) -> None:
    target = Target(str(uuid.uuid4()))
    state_of(farm, UploadRequest("/p/a.mov", target, 7, MTIME))

    assert state_of(farm, UploadRequest("/q/a.mp4", target, 7, MTIME)) == "pending"


def test_a_record_without_a_place_takes_the_first_one(farm: Farm, version: str) -> None:
    first = file(version, "/p/a.mov")
    state_of(farm, first)
    farm.client.hdel(keys.COMPONENT + first.component_id, "place", "holder", "held_since")

    assert state_of(farm, file(version, "/q/a.mov")) == "pending"
    assert state_of(farm, file(version, "/p/b.mov")) == "failed"


@pytest.mark.parametrize("make", [file, sequence])
def test_a_retry_leaves_a_refused_upload_failed(farm: Farm, version: str, make: Any) -> None:
    state_of(farm, make(version, "/p/a"))
    refused = make(version, "/q/a")
    state_of(farm, refused)

    assert farm.commands.retry(refused.upload_id) == ("", "failed", False)

    assert "holds other files" in farm.field(refused.upload_id, "error")
    assert state_of(farm, refused) == "failed"
    assert farm.commands.cancel(refused.upload_id) == "cancelled"
    assert farm.commands.retry(refused.upload_id) == ("", "cancelled", False)
    assert state_of(farm, refused) == "failed"
    farm.client.delete(keys.COMPONENT + refused.component_id)
    assert state_of(farm, refused) in {"pending", "storing"}
    assert farm.field(refused.upload_id, "error") == ""


def test_a_refused_request_that_is_taken_in_twice_is_refused_once(farm: Farm, version: str) -> None:
    state_of(farm, file(version, "/p/a.mov"))
    refused = file(version, "/q/a.mov", asked_at=farm.now())
    for _ in range(2):
        assert state_of(farm, refused) == "failed"

    assert farm.counted("failed") == {"PlaceTaken": 1}


def test_a_sequence_that_was_replaced_is_not_retried(farm: Farm, version: str) -> None:
    left = sequence(version, "/p/b.", "_left.exr", count=3)
    state_of(farm, left)
    farm.commands.cancel(left.upload_id)
    state_of(farm, with_replace(sequence(version, "/p/b.", "_right.exr", count=2)))

    assert farm.commands.retry(left.upload_id) == ("", "cancelled", False)


def test_members_of_what_is_replaced_stop(farm: Farm, version: str) -> None:
    left = sequence(version, "/p/b.", "_left.exr", count=3)
    right = with_replace(sequence(version, "/p/b.", "_right.exr", count=2))
    state_of(farm, left)

    state_of(farm, right)

    assert isinstance(right, PublishRequest)
    assert farm.states([one.upload_id for one in left.files]) == ["cancelled"] * 3
    assert farm.states([one.upload_id for one in right.files]) == ["pending"] * 2


@pytest.mark.parametrize("make", [file, sequence])
def test_an_older_request_does_not_take_over_what_a_newer_one_holds(
    farm: Farm, version: str, make: Any
) -> None:
    newer = with_replace(make(version, "/p/a"))._replace(asked_at=farm.now())
    late = with_replace(make(version, "/q/a"))._replace(asked_at=farm.now() - 60)
    state_of(farm, newer)

    assert state_of(farm, late) == "superseded"
    assert farm.field(late.upload_id, "error") == f"superseded by {newer.upload_id}"


def test_a_located_upload_of_other_files_is_not_reported_as_located(
    farm: Farm, version: str
) -> None:
    first = file(version, "/p/a.mov")
    locate(farm, first)
    locate(farm, with_replace(file(version, "/p/a.mp4")))

    assert state_of(farm, first) == "failed"


def test_frames_know_the_place_of_their_sequence(farm: Farm, version: str) -> None:
    one = sequence(version, "/p/b.")
    state_of(farm, one)

    [place] = places_of(one)
    for component in (one.component_id, one.files[0].component_id):
        assert farm.client.hget(keys.COMPONENT + component, "place").split() == place.digests


#: What people put side by side: folders, names, marks, text after the number, and types.
PATHS = st.builds(
    "/p/{}/{}{}{}".format,
    st.sampled_from(["v1", "v2", "depth", "Depth", "left"]),
    st.sampled_from(["b", "B", "b_left", "depth", "é"]),
    st.sampled_from(["", ".0001", ".%04d", "_%04d", ".%d", ".%04d_left", "_left"]),
    st.sampled_from([".exr", ".EXR", ".jpg", ".bgeo.sc", ".vdb.gz", ""]),
)


def thing(path: str) -> str:
    """Return what a path stands for: a file, or the frames of one pattern, however padded."""
    return path.replace("%04d", "%d")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(paths=st.lists(PATHS, min_size=2, max_size=8), name=st.sampled_from([None, None, "main"]))
def test_no_two_things_become_one(farm: Farm, paths: list[str], name: str | None) -> None:
    version = str(uuid.uuid4())
    holds: dict[str, str] = {}
    for path in paths:
        written = f"{path} [1-2]" if "%" in path else path
        entry = Entry(written, version_id=version, name=name)
        [request] = build_requests(
            [entry], Settings("", storage_roots=("/p",)), Options(stat=False)
        )
        first = holds.setdefault(request.component_id, thing(path))

        assert (state_of(farm, request) == "failed") == (first != thing(path))
