"""farmhaul enqueue --dry-run: what would be queued, and nothing of it queued."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tasks.intake import command
from tasks.intake.spool import MAX_BYTES
from tests.sandbox.process import NO_REDIS

COMPONENT = "2c5e8f9a-1b34-4d6e-8f70-a1b2c3d4e5f6"
VERSION = "9f1d2c3b-0000-4000-8000-000000000001"

Answer = tuple[int, list[dict[str, Any]], str]


class Node:
    """A host that reaches no Redis."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.capsys = capsys

    def render(self, *names: str) -> str:
        for name in names:
            (self.root / name).write_bytes(b"pixels")
        return f"{self.root}/"

    def run(self, *arguments: str) -> Answer:
        code = command.main(arguments)
        out, err = self.capsys.readouterr()
        return code, [json.loads(line) for line in out.splitlines()], err


@pytest.fixture
def node(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Node:
    for name in [name for name in os.environ if name.startswith("FARMHAUL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FARMHAUL_REDIS_URL", NO_REDIS)
    monkeypatch.setenv("FARMHAUL_STORAGE_ROOTS", str(root))
    return Node(root, capsys)


def test_a_sequence_is_shown_with_its_frames_and_holes(node: Node) -> None:
    folder = node.render("f.0998.exr", "f.0999.exr", "f.1001.exr")

    code, [line], err = node.run(
        "enqueue", "--dry-run", folder, "--version-id", VERSION, "--allow-missing"
    )

    assert (code, err) == (0, "")
    assert line.pop("component_id")
    assert line == {
        "kind": "sequence",
        "name": "f",
        "file_type": ".exr",
        "path": f"{folder}f.%04d.exr [998-999, 1001]",
        "files": 3,
        "size": 18,
        "frames": ["998-999", "1001"],
        "missing": ["1000"],
    }


def test_a_file_is_shown_with_its_component(node: Node) -> None:
    path = f"{node.render('a.mov')}a.mov"

    code, [line], err = node.run("enqueue", "--dry-run", path, "--component-id", COMPONENT)

    assert (code, err) == (0, "")
    assert line == {
        "kind": "file",
        "name": None,
        "file_type": ".mov",
        "component_id": COMPONENT,
        "path": path,
        "files": 1,
        "size": 6,
    }


def test_each_component_of_a_manifest_has_a_line(node: Node, tmp_path: Path) -> None:
    folder = node.render("f.1.exr", "f.2.exr", "a.mov")
    lines = [
        {"path": f"{folder}f.%d.exr", "version_id": VERSION, "publish": "v3", "name": "main"},
        {"path": f"{folder}a.mov", "version_id": VERSION, "publish": "v3", "name": "movie"},
    ]
    manifest = tmp_path / "manifest"
    manifest.write_text("\n".join(map(json.dumps, lines)))

    code, shown, _ = node.run("enqueue", "--dry-run", "--manifest", str(manifest))

    assert code == 0
    assert [(line["name"], line["kind"], line["publish"]) for line in shown] == [
        ("main", "sequence", "v3"),
        ("movie", "file", "v3"),
    ]


def test_a_manifest_that_is_too_large_is_not_read(node: Node, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest"
    with manifest.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # no byte of it is on the disk

    code, shown, err = node.run("enqueue", "--dry-run", "--manifest", str(manifest))

    assert (code, shown) == (2, [])
    assert f"the manifest {manifest} has more than 64 MiB" in err


def test_frames_that_are_not_rendered_yet_can_be_checked(node: Node) -> None:
    path = f"{node.root}/f.%04d.exr"
    code, [line], _ = node.run(
        "enqueue", "--dry-run", "--no-stat", f"{path} [10-1x-3]", "--version-id", VERSION
    )
    assert (code, line["frames"], line["size"]) == (0, ["1", "4", "7", "10"], None)

    code, shown, err = node.run(
        "enqueue", "--dry-run", "--no-stat", f"{path} [1-10:5]", "--version-id", VERSION
    )
    assert (code, shown, err.count("\n")) == (2, [], 1)
    assert "write 1-10, or 1-10x5" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["/elsewhere/a.mov", "--version-id", VERSION],
        ["a.mov"],
        [],
        ["--no-such-option"],
        ["--manifest", "/no/such/file"],
        ["--no-stat", "/x/f.%04d.exr", "--version-id", VERSION],
    ],
)
def test_what_enqueue_refuses_is_refused_with_the_same_words(
    node: Node, arguments: list[str]
) -> None:
    shown = node.run("enqueue", "--dry-run", *arguments)

    assert shown[0] == 2
    assert shown == node.run("enqueue", *arguments)


@pytest.mark.slow
def test_what_is_too_large_for_workers_is_refused(node: Node, tmp_path: Path) -> None:
    line = {"version_id": VERSION, "publish": "v3"}
    rows = [{**line, "path": f"{node.root}/{name}.%d.exr [1-60000]"} for name in "ab"]
    manifest = tmp_path / "manifest"
    manifest.write_text("\n".join(map(json.dumps, rows)))

    code, _, err = node.run("enqueue", "--dry-run", "--no-stat", "--manifest", str(manifest))

    assert code == 2
    assert "v3 cannot be sent: it has more than" in err


def test_a_terminal_shows_readable_lines(
    node: Node, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = node.render("f.1.exr", "f.3.exr")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)

    code = command.main(
        ["enqueue", "--dry-run", folder, "--version-id", VERSION, "--allow-missing"]
    )

    assert code == 0
    assert capsys.readouterr().out == (
        f"sequence  f  .exr  2 files  12 B  {folder}f.%d.exr [1, 3] without 2\n"
    )
