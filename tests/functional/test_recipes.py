"""The recipes of docs/publishing.md, run as they are written there, and their results."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tasks.intake.manifest import MANIFEST_KEYS
from tests.farm import BIN, Farm
from tests.helpers.documents import (
    DOCS,
    block_after,
    first_cells,
    key_pattern,
    on_a_terminal,
    plain,
    section,
)
from tests.sandbox import seed


@pytest.fixture
def renders(farm: Farm) -> Path:
    """Return a folder ``v003`` with the files that the recipes name, made as the page says."""
    folder = farm.sandbox.storage / os.urandom(6).hex()
    script = block_after(DOCS["publishing.md"], "recipe: setup")
    environment = {**os.environ, "FARMHAUL_STORAGE_ROOTS": str(folder)}
    subprocess.run(["bash", "-ec", script], env=environment, check=True)
    return folder / "v003"


def follow(farm: Farm, renders: Path, recipe: str) -> None:
    """Run a recipe, and compare its output on a terminal with the page."""
    lines = block_after(DOCS["publishing.md"], f"recipe: {recipe}").splitlines(keepends=True)
    script = "".join(line[2:] for line in lines if line.startswith(("$ ", "> ")))
    expected = "".join(line for line in lines if not line.startswith(("$ ", "> ")))
    ids = {"VERSION_ID": seed.VERSION_ID, "TASK_ID": seed.TASK_ID, "RENDERS": str(renders)}
    environment = {**farm.environment(), **ids, "PATH": f"{BIN}:{os.environ['PATH']}"}

    shown = on_a_terminal(["bash", "-ec", script], environment)

    assert plain(shown) == plain(expected)


def names(farm: Farm, kind: str) -> list[str]:
    entities = farm.sandbox.ftrack.entities(kind)
    return sorted(str(entity["name"]) for entity in entities if entity.get("version_id"))


def test_frames_movie_and_thumbnail_become_visible_by_one_call(farm: Farm, renders: Path) -> None:
    follow(farm, renders, "publish")

    [sequence] = farm.sandbox.ftrack.entities("SequenceComponent")
    files = farm.sandbox.ftrack.entities("FileComponent")
    frames = [file for file in files if file.get("container_id") == sequence["id"]]
    assert (sequence["name"], len(frames)) == ("exr", 30)
    assert names(farm, "FileComponent") == ["movie"]
    [still] = [file for file in files if file["name"] == "thumbnail"]
    for kind, entity_id in (("AssetVersion", seed.VERSION_ID), ("Task", seed.TASK_ID)):
        entity = farm.sandbox.ftrack.get(kind, entity_id)
        assert entity
        assert entity["thumbnail_id"] == still["id"]
    assert [job["status"] for job in farm.sandbox.ftrack.entities("Job")] == ["done"]
    [call] = farm.sandbox.ftrack.calls("encode_media")
    made = [it for it in call["operations"] if it.get("entity_type") == "ComponentLocation"]
    assert len(made) == len(farm.sandbox.ftrack.entities("ComponentLocation")) == 33


def test_ten_frames_rendered_again_are_sent_and_not_encoded_again(
    farm: Farm, renders: Path
) -> None:
    follow(farm, renders, "publish")
    before = len(farm.sandbox.store.puts())

    follow(farm, renders, "again")

    assert len(farm.sandbox.store.puts()) - before == 10
    assert len(farm.sandbox.ftrack.entities("Job")) == 1
    [sequence] = farm.sandbox.ftrack.entities("SequenceComponent")
    assert sequence["size"] == 20 * 2000 + 10 * 3000


def test_loose_files_become_components_of_their_own(farm: Farm, renders: Path) -> None:
    follow(farm, renders, "loose")

    assert names(farm, "FileComponent") == ["comp_nk", "ftrackreview-mp4", "plate"]
    described = farm.sandbox.ftrack.entities("Metadata")
    keys = sorted(metadata["key"] for metadata in described)
    assert keys == ["colour", "colour", "farmhaul_pattern", "ftr_meta"]
    assert not farm.sandbox.ftrack.entities("Job")


def test_the_keys_and_fields_of_a_publish_are_documented(farm: Farm, renders: Path) -> None:
    under = ("--version-id", seed.VERSION_ID)
    with farm.frozen():
        [sequence] = farm.enqueue(str(renders / "beauty.%04d.exr"), *under)
        keys = set(farm.redis.scan_iter("farmhaul:*"))
    # Workers get no answer to a query for jobs (a condition on text in the request), so that the
    # job is still unfinished below.
    farm.sandbox.faults.add("ftrack", "status", 503, action="query", component_id=" from Job ")
    [movie] = farm.enqueue(renders / "sh010.mov", *under, "--encode")
    farm.wait_located([sequence["upload_id"], movie["upload_id"]])
    keys |= set(farm.redis.scan_iter("farmhaul:*"))
    state = DOCS["state.md"]
    patterns = [key_pattern(name) for name in first_cells(state)]
    table = re.split(r"(?m)^Fields of an upload:$", state)[1].partition("\n## ")[0]
    documented = [key_pattern(name) for name in first_cells(table)]
    records = [farm.redis.hkeys(key) for key in keys if key.startswith("farmhaul:upload:")]
    fields = {field for record in records for field in record}

    assert {key.split(":")[1] for key in keys} >= {"files", "left", "file", "jobs"}
    assert fields >= {"publish", "total", "complete", "jobs", "job_state"}
    assert [key for key in keys if not any(pattern.fullmatch(key) for pattern in patterns)] == []
    assert [name for name in fields if not any(field.fullmatch(name) for field in documented)] == []


def test_each_key_of_a_manifest_is_documented() -> None:
    table = section(DOCS["cli.md"], "farmhaul enqueue").partition("| key | |")[2]

    assert set(first_cells(table.partition("\n\nA key")[0])) >= set(MANIFEST_KEYS)


def test_new_bytes_of_a_visible_file_are_encoded_whatever_breaks(farm: Farm, renders: Path) -> None:
    movie, what = renders / "sh010.mov", ("--version-id", seed.VERSION_ID, "--encode", "--wait")
    farm.enqueue(movie, *what)
    movie.write_bytes(b"rendered again")
    fault = farm.sandbox.faults.add("ftrack", "status", 503, action="encode_media", times=1)

    [upload] = farm.enqueue(movie, *what)

    assert farm.sandbox.faults.struck(fault)
    assert upload["state"] == "located"
    assert len(farm.sandbox.ftrack.entities("Job")) == 2
