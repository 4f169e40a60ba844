"""What a version gets with its components, as ftrack's own client reads it afterwards."""

from __future__ import annotations

import json
from typing import Any

from tasks.intake.exit_codes import FAILED
from tests.farm import Farm
from tests.sandbox import seed
from tests.sandbox.official import official_client

VERSION = ("--version-id", seed.VERSION_ID)
MENU = json.dumps({"multiSelect": True, "data": json.dumps([{"value": "a"}, {"value": "b"}])})


def make(farm: Farm, kind: str, **fields: Any) -> str:
    create = {"action": "create", "entity_type": kind, "entity_data": fields}
    return str(farm.sandbox.ftrack.api(create)[0]["data"]["id"])


def attribute(farm: Farm, key: str, kind: str, config: str = "{}") -> str:
    type_id = make(farm, "CustomAttributeType", name=kind)
    more = {"entity_type": "assetversion", "type_id": type_id, "config": config}
    return make(farm, "CustomAttributeConfiguration", key=key, **more)


def prepare(farm: Farm) -> tuple[str, str]:
    """Make attributes, a list and a review session; return the ids of the last two."""
    attribute(farm, "pass", "text")
    attribute(farm, "samples", "number")
    attribute(farm, "looks", "enumerator", MENU)
    make(farm, "AssetVersionList", name="dailies", project_id=make(farm, "Project", name="other"))
    place = {"project_id": seed.PROJECT_ID}
    listed = make(farm, "AssetVersionList", name="dailies", **place)
    return listed, make(farm, "ReviewSession", name="client", **place)


def test_a_version_gets_its_data_with_its_component_once(farm: Farm) -> None:
    listed, review = prepare(farm)
    path = farm.make_file("beauty.exr", 2000)
    data = (
        "--version-metadata",
        "job=7",
        "--attribute",
        "pass=beauty",
        "--attribute",
        "samples=64",
    )
    named = ("--attribute", "looks=a,b", "--list", "dailies", "--review-session", review.upper())
    what = (path, "--context", "demo/sh010", "--asset", "beauty", "--asset-type", "Render")

    [upload] = farm.enqueue(*what, *data, *named, "--comment", "first", "--wait")

    creates = [
        {one.get("entity_type") for one in call["operations"]}
        for call in farm.sandbox.ftrack.calls("create")
    ]
    kinds = {"AssetVersion", "FileComponent", "Metadata", "ListObject", "ReviewSessionObject"}
    assert kinds <= creates[0]
    version_id = upload["version_id"]
    with official_client(farm.sandbox) as session:
        [version] = session.query(f'AssetVersion where id is "{version_id}"')
        assert dict(version["metadata"].items()) == {"job": "7"}
        values = session.query(
            "select configuration.key, value from AssetVersionCustomAttributeValue "
            f'where entity_id is "{version_id}"'
        ).all()
        found = {one["configuration"]["key"]: one["value"] for one in values}
        assert found == {"pass": "beauty", "samples": 64, "looks": ["a", "b"]}
        [member] = session.query(f'ListObject where entity_id is "{version_id}"')
        assert member["list_id"] == listed
        [shown] = session.query(f'ReviewSessionObject where version_id is "{version_id}"')
        assert (shown["name"], shown["version"], shown["description"]) == (
            "beauty",
            "Version 1",
            "first",
        )

    # What is there is updated, and nothing is there twice.
    changed = ("--version-metadata", "job=8", "--attribute", "samples=1.5", *named)
    farm.enqueue(*what, *changed, "--wait")

    [metadata] = [
        row for row in farm.sandbox.ftrack.entities("Metadata") if row["parent_id"] == version_id
    ]
    assert metadata["value"] == "8"
    rows = farm.sandbox.ftrack.entities("AssetVersionCustomAttributeValue")
    assert sorted(str(row["value"]) for row in rows) == ["1.5", "['a', 'b']", "beauty"]
    for kind in ("ListObject", "ReviewSessionObject"):
        assert len(farm.sandbox.ftrack.entities(kind)) == 1

    emptied = ("--attribute", "pass=", "--attribute", "samples=", "--attribute", "looks=")
    farm.enqueue(*what, *emptied, "--wait")

    rows = farm.sandbox.ftrack.entities("AssetVersionCustomAttributeValue")
    assert sorted(str(row["value"]) for row in rows) == ["", "None", "[]"]


def test_a_name_that_ftrack_does_not_have_is_refused_first(farm: Farm) -> None:
    prepare(farm)
    attribute(farm, "sum", "expression")
    wrong: dict[str, dict[str, Any]] = {
        "list rushes cannot be used: the version's project has none": {"lists": ["rushes"]},
        "review session x cannot be used": {"review_sessions": ["x"]},
        "custom attribute shade does not exist for": {"attributes": {"shade": "1"}},
        "custom attribute samples cannot be 'many'": {"attributes": {"samples": "many"}},
        "custom attribute looks cannot be 'c': its values are a, b": {"attributes": {"looks": "c"}},
        "custom attribute sum cannot be '1': ftrack computes it": {"attributes": {"sum": "1"}},
    }
    folder = farm.make_file("f.1001.exr", 100).parent
    paths = [farm.make_file(f"{number}.exr", 200) for number in range(len(wrong) - 1)]
    rows = [
        {"path": str(path), "version_id": seed.VERSION_ID, **more}
        for path, more in zip([folder, *paths], wrong.values(), strict=True)
    ]
    before = farm.sandbox.ftrack.entities("Component")

    done = farm.cli("enqueue", "--manifest", "-", "--wait", stdin="\n".join(map(json.dumps, rows)))

    assert done.returncode == FAILED
    for why in wrong:
        assert why in done.stderr
    assert farm.sandbox.ftrack.entities("Component") == before
    # Of a sequence, the frames are sent by then.
    assert len(farm.sandbox.store.puts()) <= 1
