"""From a context to a version: asset and version are made with their first component."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.intake.exit_codes import FAILED
from tests.farm import Farm
from tests.sandbox import seed
from tests.sandbox.official import official_client

SHOT = ("--context", "demo/sh010", "--asset", "beauty", "--asset-type", "Render")


def versions(farm: Farm) -> list[dict[str, Any]]:
    """Return the versions that are not the seeded one, in the order of their numbers."""
    found = farm.sandbox.ftrack.entities("AssetVersion")
    made = [one for one in found if one["id"] != seed.VERSION_ID]
    return sorted(made, key=lambda one: (one["asset_id"], one["version"]))


def assets(farm: Farm) -> list[dict[str, Any]]:
    found = farm.sandbox.ftrack.entities("Asset")
    return [one for one in found if one["id"] != seed.ASSET_ID]


def sequence(farm: Farm) -> Path:
    path = farm.make_file("beauty.1001.exr", 2000)
    farm.make_file("beauty.1002.exr", 2000, path.parent.name)
    return path.parent / "beauty.%04d.exr"


def test_a_hook_that_fires_twice_makes_one_version(farm: Farm) -> None:
    frames = sequence(farm)
    movie = farm.make_file("beauty.mov", 5000, frames.parent.name)
    shared = {"context": "demo/sh010", "asset": "beauty", "asset_type": "render"}
    shared |= {"task": seed.TASK_ID, "comment": "first light\n", "status": "pending review"}
    rows = [{**shared, "path": str(path), "publish": "beauty"} for path in (frames, movie)]

    [first] = farm.enqueue_manifest(rows, "--wait")
    [second] = farm.enqueue_manifest(rows, "--wait")

    assert first == second
    with official_client(farm.sandbox) as session:
        [version] = session.query(f'AssetVersion where id is_not "{seed.VERSION_ID}"').all()
        assert (version["version"], version["comment"]) == (1, "first light\n")
        assert version["status"]["name"] == "Pending review"
        assert version["task"]["id"] == seed.TASK_ID
        asset = version["asset"]
        assert (asset["name"], asset["type"]["name"]) == ("beauty", "Render")
        assert asset["parent"]["id"] == seed.SHOT_ID
        assert {one["name"] for one in version["components"]} == {"beauty", "beauty_mov"}
    # All of it became visible at once.
    [post] = (
        call
        for call in farm.sandbox.ftrack.calls("create")
        if any(one.get("entity_type") == "AssetVersion" for one in call["operations"])
    )
    kinds = [one.get("entity_type") for one in post["operations"]]
    assert kinds[:2] == ["Asset", "AssetVersion"]
    assert kinds.count("ComponentLocation") == 4


def test_files_that_come_apart_share_a_version_and_an_asset(farm: Farm) -> None:
    found = farm.sandbox.ftrack.entities("AssetType")
    [render] = (one["id"] for one in found if one["name"] == "Render")
    farm.sandbox.ftrack.update("Asset", seed.ASSET_ID, type_id=render)
    paths = [farm.make_file(f"{name}.exr", 2000) for name in "abc"]
    what = ("--context", seed.SHOT_ID.upper(), "--asset", "render", "--asset-type", "Render")

    farm.enqueue(*paths, *what, "--wait")

    [version] = versions(farm)
    assert (version["asset_id"], version["version"]) == (seed.ASSET_ID, 2)
    assert assets(farm) == []
    components = farm.sandbox.ftrack.entities("FileComponent")
    assert {one["name"]: one["version_id"] for one in components} == dict.fromkeys(
        "abc", version["id"]
    )


def test_a_key_or_the_next_version_tells_runs_apart(farm: Farm) -> None:
    path = farm.make_file("beauty.exr", 2000)

    seventh = ("--version-key", "job 7", "--task", "Lighting")
    for more in (seventh, seventh, ("--next-version",)):
        farm.enqueue(path, *SHOT, *more, "--wait")

    told = [(one["version"], one["task_id"]) for one in versions(farm)]
    assert told == [(1, seed.TASK_ID), (2, None)]
    assert len(assets(farm)) == 1


def test_a_version_may_have_a_number_of_its_own(farm: Farm) -> None:
    path = farm.make_file("beauty.exr", 2000)
    seventh = ("--asset", "beauty", "--asset-type", "Render", "--version-number", "7", "--wait")

    for _ in range(2):
        farm.enqueue(path, "--context", "demo/sh010", *seventh)
    other = farm.cli("enqueue", path, "--context", seed.SHOT_ID, *seventh)

    [version] = versions(farm)
    assert version["version"] == 7
    assert other.returncode == FAILED
    assert "version 7 of asset beauty exists in ftrack already" in other.stderr
    assert version["id"] in other.stderr


def test_a_publish_that_fails_leaves_no_version(farm: Farm) -> None:
    frames = sequence(farm)
    farm.sandbox.faults.add("store", "status", 413, method="PUT", times=1)
    what = (frames, *SHOT, "--comment", "again", "--wait")
    assert farm.cli("enqueue", *what).returncode == FAILED
    assert versions(farm) == assets(farm) == []

    refused = farm.sandbox.faults.add(
        "ftrack", "error", "ValidationError", entity_type="SequenceComponent", times=1
    )
    assert farm.cli("enqueue", *what).returncode == FAILED
    assert farm.sandbox.faults.struck(refused)
    assert versions(farm) == assets(farm) == []

    farm.enqueue(*what)
    [version] = versions(farm)
    assert (version["comment"], len(assets(farm))) == ("again", 1)


@pytest.mark.slow  # it sends 72 MiB
def test_a_large_file_is_joined_and_its_version_made_in_one_call(farm: Farm) -> None:
    path = farm.make_file("cut.mov", 72 << 20)

    [upload] = farm.enqueue(path, *SHOT, "--encode", "--wait")

    [version] = versions(farm)
    component = farm.sandbox.ftrack.get("FileComponent", upload["component_id"])
    assert component
    assert component["version_id"] == version["id"] == upload["version_id"]
    [post] = farm.sandbox.ftrack.calls("complete_multipart_upload")
    assert "AssetVersion" in {one.get("entity_type") for one in post["operations"]}


def test_what_ftrack_does_not_have_is_refused_before_anything_is_sent(farm: Farm) -> None:
    path = farm.make_file("beauty.exr", 2000)
    shared = {"context": "demo/sh010", "asset": "beauty", "asset_type": "Render"}
    reasons = {
        "context demo/sh999 does not exist: in ftrack, demo has no sh999": {
            "context": "demo/sh999"
        },
        "ftrack has no project dmeo": {"context": "dmeo/sh010"},
        "asset type Rendr does not exist in ftrack, which has Geometry": {"asset_type": "Rendr"},
        "status Final does not exist for versions of this project, which has In progress": {
            "status": "Final"
        },
        f"task {seed.SHOT_ID} is no task in ftrack": {"task": seed.SHOT_ID},
        "task comp does not exist under the context, which has lighting": {"task": "comp"},
    }
    rows = [
        {**shared, "path": str(path), "name": str(number), **more}
        for number, more in enumerate(reasons.values())
    ]
    lines = "\n".join(map(json.dumps, rows))

    done = farm.cli("enqueue", "--manifest", "-", "--wait", stdin=lines)

    assert done.returncode == FAILED
    for why in reasons:
        assert why in done.stderr
    assert farm.sandbox.store.puts() == []
    assert versions(farm) == assets(farm) == []
