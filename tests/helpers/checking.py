"""What the tests of ``farmhaul check`` share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.farm import Farm
from tests.sandbox import seed

TARGET = ("--version-id", seed.VERSION_ID)

Lines = list[dict[str, Any]]


def check(farm: Farm, *arguments: str | Path, code: int = 0) -> Lines:
    """Run ``farmhaul check``; return what it printed."""
    done = farm.cli("check", *arguments)
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    assert seed.API_KEY not in output
    assert "X-Amz-" not in output
    return [json.loads(line) for line in done.stdout.splitlines()]


def states(lines: Lines) -> dict[str, str]:
    """Return the state of each file that is not the same, by its name."""
    rows = [line for line in lines if "upload_id" not in line]
    return {Path(row["path"]).name: row["state"] for row in rows if row["state"] != "same"}


def wait_healed(farm: Farm, lines: Lines) -> None:
    """Wait for the uploads that a check has enqueued."""
    farm.wait_located(line["upload_id"] for line in lines if "upload_id" in line)


def render(farm: Farm, count: int) -> tuple[Path, str]:
    """Render and upload a sequence; return its folder and the id of its component."""
    folder = farm.make_file("f.1001.exr", 3000).parent
    for number in range(1002, 1001 + count):
        farm.make_file(f"f.{number}.exr", 3000, folder.name)
    [upload] = farm.enqueue(folder, *TARGET)
    farm.wait_located([upload["upload_id"]])
    return folder, str(upload["component_id"])


def frames_of(farm: Farm, sequence_id: str) -> dict[int, str]:
    """Return the component of each frame, by its number."""
    rows = farm.sandbox.ftrack.entities("FileComponent")
    return {int(row["name"]): row["id"] for row in rows if row["container_id"] == sequence_id}
