"""The piece that Deadline's and Royal Render's hooks share, and the command for tasks."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tasks.intake.manifest import MANIFEST_KEYS
from tasks.intake.notation import parse
from tests.farm import BIN, wait_until
from tests.farm_hooks.conftest import Installed, looking_up
from tests.farm_hooks.stand import HOOKS, enqueue_bare

VERSION = "9f1d2c3b-0000-4000-8000-000000000001"
SCRIPTS = sorted(
    path
    for folder in ("common", "deadline", "tractor", "hqueue", "royal-render", "ayon")
    for path in (HOOKS / folder).rglob("*.py")
)


def line(path: str = "/mnt/prod/a.exr", **more: Any) -> dict[str, Any]:
    return {"path": path, "version_id": VERSION, **more}


# Python


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_hooks_are_written_in_python_3_7(script: Path) -> None:
    assert ast.parse(script.read_text(), feature_version=(3, 7)).body


@pytest.mark.parametrize("version", ["3.7", "3.10", "3.13"])
def test_a_hook_runs_under_any_python_in_an_empty_environment(
    installed: Installed, version: str
) -> None:
    found = [
        shutil.which(f"python{version}"),
        *Path.home().glob(f".pyenv/versions/{version}.*/bin/python"),
    ]
    works = [
        one
        for one in found
        if one and not subprocess.run([one, "-c", ""], capture_output=True).returncode
    ]
    if not works:
        pytest.skip(f"no Python {version} here")
    path = "/mnt/prod/Übersicht 01/a b.exr"
    code, text, _ = enqueue_bare(installed.folder, str(works[0]), [line(path)])
    assert (code, text) == (0, "farmhaul: /mnt/prod/\\xdcbersicht 01/a b.exr: queued (1 pending)")
    assert installed.queued == [line(path)]
    assert installed.left == []


# What farmhaul is given


def test_farmhaul_gets_only_its_settings(
    installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHOME", "/opt/Thinkbox/python")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/Thinkbox/lib")
    installed.configure(FARMHAUL_PATH_MAP=r"P:\=/mnt/prod;\\nas\cache=/mnt/cache")
    assert installed.module().enqueue([line()])[0] == 0
    [call] = installed.calls
    assert call["argv"][:3] == ["enqueue", "--no-stat", "--manifest"]
    assert call["env"]["FARMHAUL_PATH_MAP"] == r"P:\=/mnt/prod;\\nas\cache=/mnt/cache"
    assert call["env"]["PYTHONUTF8"] == "1"
    assert {"PYTHONHOME", "LD_LIBRARY_PATH", "HOME"}.isdisjoint(call["env"])
    assert call["cwd"] == "/"


def test_a_job_without_ftrack_ids_is_ignored_with_one_line(installed: Installed) -> None:
    hook = installed.module()
    uploads = [hook.upload("/mnt/prod/a.exr", looking_up({"ftrack_name": "main"}))]
    assert hook.enqueue(uploads) == (
        0,
        "farmhaul: the job names no ftrack id; nothing is queued",
    )
    assert installed.calls == []


def test_values_of_a_job_become_a_line_of_a_manifest(installed: Installed) -> None:
    values = {
        "ftrack_version_id": VERSION,
        "ftrack_name": "beauty",
        "ftrack_name1": "depth",
        "ftrack_encode": "True",
        "ftrack_thumbnail1": "0",
        "ftrack_metadata": '{"fps": "24"}',
    }
    upload = installed.module().upload
    first, second = (upload("/a.exr", looking_up(values), number) for number in (0, 1))
    assert first == line("/a.exr", name="beauty", encode=True, metadata={"fps": "24"})
    assert second == {**first, "name": "depth"}


def test_a_job_may_have_all_keys_of_a_manifest(installed: Installed) -> None:
    hook = installed.module()
    # The hook looks at no file, so that it would not notice a missing one.
    keys = set(MANIFEST_KEYS) - {"allow_missing"}
    assert {*hook.TEXTS, *hook.FLAGS, "metadata", "path"} == keys


@pytest.mark.parametrize(
    ("path", "frames", "written"),
    [
        ("/p/f.####.exr", [1003, 1001, 1002, 1010], "/p/f.%04d.exr [1001-1003, 1010]"),
        ("/p/f.####.exr", [7], "/p/f.0007.exr"),
        ("/p/f.????.exr", [1, 2], "/p/f.%04d.exr [1-2]"),
        ("/p/take #3/v#2_#.exr", [9, 10], "/p/take #3/v#2_%01d.exr [9-10]"),
        (r"P:\sh 010\f.##.exr", [1, 2], r"P:\sh 010\f.%02d.exr [1-2]"),
        (r"\\nas\prod\main.mov", [1, 2], r"\\nas\prod\main.mov"),
    ],
)
def test_frames_are_written_as_farmhaul_reads_them(
    installed: Installed, path: str, frames: list[int], written: str
) -> None:
    assert installed.module().sequence(path, frames) == written
    read = parse(written)
    assert (read.numbers if read else ()) == (tuple(sorted(frames)) if "[" in written else ())


# When farmhaul does not take it


def test_a_farmhaul_that_hangs_continues_in_the_background(installed: Installed) -> None:
    installed.gate.touch()
    code, text, _ = enqueue_bare(installed.folder, str(BIN / "python"), [line()])
    assert (code, "in the background" in text) == (0, True)
    assert len(installed.left) == 1  # it has not ended yet
    installed.gate.unlink()
    wait_until(lambda: installed.left == [])


def test_without_farmhaul_a_private_manifest_is_kept_for_flush_spool(
    installed: Installed,
) -> None:
    (installed.folder / "farmhaul").unlink()
    code, text = installed.module().enqueue([line()])
    [kept] = installed.left
    assert (code, str(kept) in text, kept.suffix) == (3, True, ".jsonl")
    assert oct(kept.stat().st_mode)[-3:] == "600"


def test_an_upload_that_farmhaul_refuses_is_set_aside(installed: Installed) -> None:
    installed.answer(code=2, says="farmhaul: version id 'x' is not a UUID")
    code, text = installed.module().enqueue([line()])
    [aside] = installed.left
    assert (code, "version id 'x' is not a UUID" in text, str(aside) in text) == (2, True, True)
    assert aside.suffix == ".bad"


def test_a_spool_that_cannot_be_written_loses_nothing(
    installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    installed.configure(FARMHAUL_SPOOL=str(tmp_path / "file"))
    assert installed.module().enqueue([line()])[0] == 0
    installed.answer(code=3)
    assert installed.module().enqueue([line("/mnt/prod/second.exr")])[0] == 3
    [kept] = (tmp_path / "tmp").iterdir()
    assert json.loads(kept.read_text())["path"] == "/mnt/prod/second.exr"


def test_an_error_of_the_hook_is_one_line(installed: Installed) -> None:
    code, text = installed.module().enqueue([line(name={1, 2})])  # not JSON
    assert (code, text.count("\n"), text[:30]) == (3, 0, "farmhaul: nothing is queued: T")


def test_the_command_passes_on_arguments_and_exit_code(installed: Installed) -> None:
    installed.answer(code=3)
    hook = str(installed.folder / "farmhaul-hook")
    command = ["/bin/sh", hook, "/mnt/ä b.exr", "--component-id", "x"]
    done = subprocess.run(command, env={"LC_ALL": "C", "PYTHONHOME": "/nowhere"})
    assert done.returncode == 3
    [call] = installed.calls
    assert call["argv"] == ["enqueue", "--no-stat", "/mnt/ä b.exr", "--component-id", "x"]
    assert call["env"]["FARMHAUL_SPOOL"] == str(installed.spool)
