"""Versions that are made with their first component: what a hook takes, and what workers find."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tasks.config.settings import Settings
from tasks.intake.build import Options, build_requests
from tasks.intake.errors import BadInputError
from tasks.intake.from_wire import from_wire
from tasks.intake.manifest import Entry
from tasks.intake.request import Request, UploadRequest, target_from
from tasks.intake.wire import to_wire
from tasks.stage.context import Clients
from tasks.stage.resolved import resolved, resolved_publish
from tasks.transfer.errors import ServiceUnavailableError, TargetRefusedError
from tasks.transfer.existing import Existing
from tasks.transfer.ftrack import FtrackClient, FtrackRefusal
from tasks.transfer.models import FileIdentity, Transfer
from tasks.transfer.operations import Operation
from tasks.transfer.publish_posts import publish_operations
from tasks.transfer.register import locate
from tasks.transfer.targets import Container, NewVersion, Publish, Target
from tasks.transfer.versions import (
    KNOWN_S,
    KnownVersions,
    Versions,
    parse_versions,
    version_operations,
    version_queries,
)
from tests.unit.conftest import new_id

# They are in the names of tests, which each process of pytest must collect alike.
PROJECT, SEQUENCE, SHOT, TASK, TYPE, STATUS = (
    f"2f0c{n:04}-7a51-4e0e-9d5c-c1b0a7e3d6f4" for n in range(6)
)
ROWS: dict[str, list[dict[str, Any]]] = {
    "Project": [
        {"id": PROJECT, "name": "demo", "full_name": "Our Demo"},
        {"id": new_id(), "name": "twin1", "full_name": "demo"},
        {"id": new_id(), "name": "twin2", "full_name": "Twins"},
        {"id": new_id(), "name": "twin3", "full_name": "Twins"},
    ],
    "TypedContext": [
        {"id": SEQUENCE, "name": "sq1", "parent_id": PROJECT},
        {"id": SHOT, "name": "sh010", "parent_id": SEQUENCE},
        {"id": TASK, "name": "twin", "parent_id": SHOT},
        {"id": new_id(), "name": "twin", "parent_id": SHOT},
    ],
    "Task": [{"id": TASK, "name": "Lighting", "parent_id": SHOT}],
    "Context": [{"id": SHOT}, {"id": TASK}],
    "AssetType": [{"id": TYPE, "name": "Render", "short": "rnd"}],
    "Status": [{"id": STATUS, "name": "Final"}],
}
WANTED = NewVersion("demo/sq1/sh010", "beauty", "Render", "job 7", TASK, "hm", "final")


class Ftrack:
    """A server with these entities; it notes the queries."""

    def __init__(self) -> None:
        self.queries: list[str] = []

    def call(self, operations: Sequence[Operation]) -> list[Any]:
        [operation] = operations
        self.queries.append(operation["expression"])
        kind = re.findall(r"from (\w+)", self.queries[-1])[0]
        wanted = [
            dict(re.findall(r'(\w+) is "([^"]*)"', one)) for one in self.queries[-1].split(" or ")
        ]
        found = [row for row in ROWS[kind] if any(one.items() <= row.items() for one in wanted)]
        return [{"data": found}]


class Away(Ftrack):
    """A server that does not answer."""

    def call(self, operations: Sequence[Operation]) -> list[Any]:
        raise ServiceUnavailableError("ftrack", "HTTP 503")


def versions(ftrack: Ftrack, clock: list[float] | None = None) -> Versions:
    return Versions(cast("FtrackClient", ftrack), lambda: (clock or [0.0])[0])


# What workers find in ftrack


@pytest.mark.parametrize("context", ["demo/sq1/sh010", "Our Demo/sq1/sh010", SHOT])
@pytest.mark.parametrize("kind", ["Render", "render", "rnd"])
def test_names_become_ids(context: str, kind: str) -> None:
    found = versions(Ftrack()).find(WANTED._replace(context=context, asset_type=kind))
    assert (found.context_id, found.type_id, found.status_id) == (SHOT, TYPE, STATUS)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"context": "dmeo/sq1"}, "context dmeo/sq1 does not exist: ftrack has no project dmeo"),
        ({"context": "Twins/sq1"}, "ftrack has 2 projects of the name Twins"),
        ({"context": "demo/sq1/x"}, "does not exist: in ftrack, demo/sq1 has no x"),
        ({"context": "demo/sq1/sh010/twin"}, "demo/sq1/sh010 has 2 of the name twin"),
        ({"context": PROJECT}, f"context {PROJECT} does not exist in ftrack"),
        ({"asset_type": "Geo"}, "asset type Geo does not exist in ftrack, which has Render"),
        (
            {"status": "Done"},
            "Done does not exist for versions of this project, which has Final",
        ),
        ({"task": PROJECT}, f"task {PROJECT} is no task in ftrack"),
        ({"task": "comp"}, "task comp does not exist under the context, which has Lighting"),
        (
            {"task": "Lighting", "context": "demo"},
            "task Lighting does not exist under the context, which has none",
        ),
    ],
)
def test_what_ftrack_does_not_have_is_named(wrong: dict[str, str], said: str) -> None:
    with pytest.raises(TargetRefusedError, match=said):
        versions(Ftrack()).find(WANTED._replace(**wrong))


@pytest.mark.parametrize("task", [TASK, "Lighting", "lighting"])
def test_a_task_is_named_as_the_context_names_it(task: str) -> None:
    found = versions(Ftrack()).find(WANTED._replace(task=task))
    assert (found.context_id, found.task_id) == (SHOT, TASK)


def test_an_asset_is_above_the_task_that_is_its_context() -> None:
    found = versions(Ftrack()).find(WANTED._replace(context=TASK, task=""))
    assert (found.context_id, found.task_id) == (SHOT, TASK)


def test_a_status_is_one_that_the_project_has_for_versions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = new_id()
    of_project = {"statuses": [{"id": other, "name": "Done"}]}
    project: dict[str, Any] = {"id": PROJECT, "name": "demo"}
    project |= {"project_schema": {"asset_version_workflow_schema": of_project}}
    monkeypatch.setitem(ROWS, "Project", [project])
    monkeypatch.setitem(ROWS, "Context", [{"id": SHOT, "project_id": PROJECT}, {"id": TASK}])

    assert versions(Ftrack()).find(WANTED._replace(status="done")).status_id == other
    with pytest.raises(TargetRefusedError, match=r"Final does not exist for .* which has Done"):
        versions(Ftrack()).find(WANTED._replace(status="Final"))


def test_what_was_found_is_asked_for_once_in_a_while() -> None:
    ftrack, clock = Ftrack(), [0.0]
    known = versions(ftrack, clock)
    known.find(WANTED)
    asked = len(ftrack.queries)
    found = known.find(WANTED._replace(key="job 8", comment="no", asset="other"))
    assert (found.key, found.comment, found.asset) == ("job 8", "no", "other")
    assert len(ftrack.queries) == asked
    clock[0] = KNOWN_S
    known.find(WANTED)
    assert len(ftrack.queries) == 2 * asked


# How they are made

FOUND = WANTED._replace(context_id=SHOT, type_id=TYPE, status_id=STATUS, task_id=TASK)


def made(operations: Sequence[Operation]) -> list[str]:
    return [one["entity_type"] for one in operations]


def test_only_what_ftrack_does_not_have_is_made() -> None:
    other = FOUND._replace(key="job 8", task_id="", status_id="")
    both = [FOUND, other]

    operations = version_operations([*both, FOUND], KnownVersions())

    assert made(operations) == ["Asset", "AssetVersion", "AssetVersion"]
    asset, first, second = (one["entity_data"] for one in operations)
    assert {key: asset[key] for key in ("name", "context_id", "type_id")} == {
        "name": "beauty",
        "context_id": SHOT,
        "type_id": TYPE,
    }
    assert first == {
        "id": WANTED.version_id,
        "asset_id": asset["id"],
        "comment": "hm",
        "task_id": TASK,
        "status_id": STATUS,
    }
    assert second == {"id": other.version_id, "asset_id": asset["id"], "comment": "hm"}

    theirs = {"id": new_id(), "name": "beauty", "context_id": SHOT, "type_id": TYPE}
    known = parse_versions([{"data": [{"id": first["id"]}]}, {"data": [theirs]}])
    [operation] = version_operations(both, known)
    assert operation["entity_data"]["asset_id"] == theirs["id"]
    assert version_operations([FOUND], known) == []
    # An asset of the same name and another type is another one.
    known = parse_versions([{"data": []}, {"data": [{**theirs, "type_id": new_id()}]}])
    assert made(version_operations([FOUND], known)) == ["Asset", "AssetVersion"]


def test_without_a_new_version_nothing_is_asked() -> None:
    assert version_queries([]) == []
    assert parse_versions([]) == KnownVersions()


def member(sequence: Target, number: int) -> Transfer:
    identity = FileIdentity(5, 1, 2, 3)
    frame = Target.frame(sequence, str(number))
    path = f"/mnt/f.{number}.exr"
    return Transfer(new_id(), frame, path, identity=identity, checksum="x", is_member=True)


def test_the_version_of_a_long_sequence_is_made_with_the_last_call() -> None:
    sequence = Target.under_version(FOUND.version_id, "exr", new_version=FOUND)
    files = [member(sequence, number) for number in range(1000, 1300)]

    *before, last = publish_operations(
        Publish((Container(sequence, ".exr", 4, "/mnt/f.%d.exr"),)), files, Existing()
    )

    assert made(last)[:2] == ["Asset", "AssetVersion"]
    assert "AssetVersion" not in [kind for post in before for kind in made(post)]
    assert "version_id" not in {
        key for post in before for one in post for key, value in one["entity_data"].items() if value
    }


class Racing:
    """A server to which another worker brings the version after it was looked up."""

    def __init__(self) -> None:
        self.posts: list[list[str]] = []

    def call_in_groups(self, groups: Sequence[Sequence[Operation]]) -> list[list[Any]]:
        kinds = [one.get("entity_type", "query") for group in groups for one in group]
        is_there = any("AssetVersion" in one for one in self.posts)
        if "query" in kinds:
            rows = [{"id": FOUND.version_id}] if is_there else []
            of = {"from AssetVersion": rows}
            return [
                [{"data": of.get(one["expression"][10:27], [])} for one in group]
                for group in groups
            ]
        self.posts.append(kinds)
        if not is_there:
            raise FtrackRefusal("IntegrityError", "duplicate key value")
        return [[{} for _ in group] for group in groups]


def test_a_version_that_another_worker_has_just_made_is_used() -> None:
    target = Target.under_version(FOUND.version_id, "main", new_version=FOUND)
    file = Transfer("u", target, "/mnt/a.exr", identity=FileIdentity(5, 1, 2, 3), checksum="x")
    ftrack = Racing()

    outcomes = locate(cast("FtrackClient", ftrack), [file])

    assert outcomes == {"u": file}
    assert [("AssetVersion" in post) for post in ftrack.posts] == [True, False]


def clients(ftrack: Ftrack) -> Clients:
    settings = SimpleNamespace(also_in="")
    return cast("Clients", SimpleNamespace(settings=settings, versions=versions(ftrack)))


def test_an_error_is_of_those_files_alone_whose_version_it_is() -> None:
    wrong = WANTED._replace(status="Done")
    files = [
        Transfer(new_id(), Target.under_version(one.version_id, "main", new_version=one), "/mnt/a")
        for one in (WANTED, wrong)
    ]
    files.append(Transfer(new_id(), Target.under_version(new_id(), "main"), "/mnt/a"))

    ready, refused = resolved(clients(Ftrack()), files)

    assert [file.target.new_version for file in ready] == [FOUND, None]
    assert "status Done" in str(refused[files[1].upload_id])
    ready, refused = resolved(clients(Away()), files)
    assert ready == files[2:]
    assert {type(error) for error in refused.values()} == {ServiceUnavailableError}


def test_the_members_of_a_publish_get_the_version_of_its_sequence() -> None:
    sequence = Target.under_version(WANTED.version_id, "exr", new_version=WANTED)
    frame = member(sequence._replace(new_version=WANTED._replace(comment="older")), 1001)
    container = Container(sequence, ".exr", 4)
    last = Transfer("p", Target(new_id()), "f", publish=Publish((container,), members="digest"))

    shown, [file] = resolved_publish(clients(Ftrack()), last, [frame])

    assert shown.publish
    assert shown.publish.members == "digest"
    assert shown.publish.containers[0].target.new_version == file.target.new_version == FOUND


# What a hook takes

BASE = Entry("/mnt/a.exr", context="demo/sq1/sh010", asset="beauty", asset_type="Render")


def built(*entries: Entry) -> list[Request]:
    farm = Settings("redis://h/0", storage_roots=("/mnt",))
    return build_requests(entries, farm, Options(stat=False))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"asset": None}, "--asset is missing; a version is made from --context, --asset and"),
        ({"asset_type": " "}, "--asset-type is empty"),
        ({"context": ""}, "--context is empty"),
        ({"context": "demo//sh010"}, "--context 'demo//sh010' has an empty name in it"),
        ({"context": 'demo/"'}, "has a quotation mark"),
        ({"context": "demo\\sh010"}, "; write / between names, use the id, or rename it in ftrack"),
        (
            {"asset": "a\\b"},
            "which cannot be asked for; use another name, or rename it in",
        ),
        ({"version_key": ""}, "--version-key is empty"),
        ({"version_number": "v7"}, "--version-number 'v7' is not the number of a version; ftrack"),
        ({"version_number": "00"}, "--version-number '00' is not the number of a version; ftrack"),
        ({"version_number": "-1"}, "--version-number '-1' is not the number of a version; ftrack"),
        ({"version_number": " "}, "--version-number ' ' is not the number of a version; ftrack"),
        ({"version_number": "7", "version_key": "a"}, "both tell versions apart"),
        ({"status": "a'b"}, "has a quotation mark"),
        ({"task": "light'ing"}, "cannot be asked for; use the id, or rename"),
        ({"task": ""}, "--task is empty"),
        ({"version_id": SHOT}, "has both --context and --version-id"),
        ({"component_id": SHOT}, "has both --context and --component-id"),
        ({"context": None}, "--asset and --asset-type need --context"),
        ({"comment": "a\0"}, "contains characters that cannot be stored"),
    ],
)
def test_a_version_that_cannot_be_made_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=re.escape(said)):
        built(BASE._replace(**options))


def test_the_same_words_are_the_same_version() -> None:
    same = [{}, {"context": " /demo / sq1/sh010/ "}, {"comment": "x\ty\n"}, {"status": "Final"}]
    other = [{"context": SHOT}, {"asset": "b"}, {"asset_type": "Geo"}, {"version_key": "1"}]
    other.append({"version_number": "007"})

    def ids(changes: list[dict[str, str]]) -> list[str]:
        entries = [BASE._replace(**cast("Any", change)) for change in changes]
        requests = [request for entry in entries for request in built(entry)]
        return [str(cast("UploadRequest", one).target.version_id) for one in requests]

    assert len(set(ids(same))) == 1
    assert len({*ids(same), *ids(other)}) == 6
    assert ids([{"version_number": "7"}]) == ids(other)[-1:]
    assert ids([{"context": SHOT}]) == ids([{"context": SHOT.upper()}])


def test_a_publish_has_one_comment() -> None:
    entries = [BASE._replace(publish="v", name=name, comment=name) for name in "ab"]
    with pytest.raises(BadInputError, match="would get a second task, comment or status"):
        built(*entries)


@pytest.mark.parametrize(
    "entries",
    [
        [BASE],
        [BASE._replace(path="/mnt/f.%04d.exr [1-3]", comment="tab\t\n", version_key="7")],
        [BASE._replace(publish="v", name=name, task=TASK.upper(), status="Final") for name in "ab"],
        [BASE._replace(task=" key light ")],
        [BASE._replace(path="/mnt/t.jpg", name="thumbnail", thumbnail=True, version_number="01")],
    ],
)
def test_a_request_for_a_new_version_comes_back(entries: list[Entry]) -> None:
    [request] = built(*entries)
    values = to_wire(request)

    assert from_wire(values) == request

    assert "version_id" not in str(values)
    if isinstance(request, UploadRequest):
        assert target_from(request.to_record()["target"]) == request.target


@pytest.mark.parametrize(("task", "key"), [(TASK, "task"), ("Lighting", "task_name")])
def test_a_name_of_a_task_travels_in_a_field_of_its_own(task: str, key: str) -> None:
    """Workers of a former version take an id alone, and keep what they do not know."""
    for more in ({}, {"publish": "v"}, {"path": "/mnt/f.%04d.exr [1-3]"}):
        [request] = built(BASE._replace(task=task, **cast("Any", more)))
        new = to_wire(request)["new_version"]
        assert {one: new[one] for one in new if one.startswith("task")} == {key: task}
        assert from_wire(to_wire(request)) == request


NEW = {"context": "demo", "asset": "a", "asset_type": "b"}


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ({}, "lacks its context, asset or asset_type"),
        ({**NEW, "asset": ""}, "asset is empty"),
        ({**NEW, "asset": 'a" or id like "%'}, "asset has a quotation mark"),
        ({**NEW, "context_id": SHOT}, "'context_id' is unknown"),
        ({**NEW, "task": "lighting"}, "task is not a UUID"),
        ({**NEW, "task": ""}, "task is empty"),
        ({**NEW, "task_name": 'a" or id like "%'}, "task_name has a quotation mark"),
        ({**NEW, "task_name": ""}, "task_name is empty"),
        ({**NEW, "task_name": "a", "task": TASK}, "task and task_name do not go together"),
        ({**NEW, "key": 5}, "key is not a text"),
        ({**NEW, "number": "0"}, "number is not that of a version"),
        ([], "new_version is not an object"),
    ],
)
def test_a_request_for_an_odd_version_is_refused(new: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        from_wire({"path": "/mnt/a.exr", "name": "main", "new_version": new})


@pytest.mark.parametrize(
    "odd",
    [
        ["demo", "a"],
        ["demo", "a", 5],
        ['d"', "a", "b"],
        ["demo", "a", "b", "key of another version"],
        ["demo", "a", "b", "", 'no "name"'],
    ],
)
def test_a_record_of_an_odd_version_is_not_read(odd: list[Any]) -> None:
    version_id = NewVersion("demo", "a", "b").version_id
    values = {"component_id": new_id(), "version_id": version_id, "name": "main"}
    with pytest.raises(TypeError):
        target_from({**values, "new_version": odd})


def test_a_record_has_no_ids_that_only_ftrack_knows() -> None:
    values = {"component_id": new_id(), "version_id": FOUND.version_id, "name": "main"}
    assert target_from({**values, "new_version": [*FOUND]}).new_version == WANTED
