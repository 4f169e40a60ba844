"""The piece that Deadline's and Royal Render's hooks share, and the command for tasks."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tasks.manifest import MANIFEST_KEYS
from tasks.notation import parse
from tests.farm import BIN, Farm, wait_until
from tests.farm_hooks.conftest import Installed, looking_up
from tests.farm_hooks.stand import HOOKS, settings_of
from tests.sandbox import Sandbox

VERSION = "9f1d2c3b-0000-4000-8000-000000000001"
SCRIPTS = sorted(
    path
    for folder in ("common", "deadline", "tractor", "hqueue", "royal-render", "ayon")
    for path in (HOOKS / folder).rglob("*.py")
)


def line(path: str = "/mnt/prod/a.exr", **more: Any) -> dict[str, Any]:
    return {"path": path, "version_id": VERSION, **more}


def enqueue_bare(installed: Installed, python: str, uploads: list[dict[str, Any]]) -> Any:
    """Call the hook as a daemon would: another Python, and nothing in the environment."""
    code = (
        "import json, sys, time; sys.path.insert(0, sys.argv[1]); import farmhaul_hook as hook;"
        "began = time.time(); code, line = hook.enqueue(json.loads(sys.argv[2]));"
        "print(json.dumps([code, line, time.time() - began]))"
    )
    done = subprocess.run(
        [python, "-B", "-c", code, installed.folder, json.dumps(uploads)],
        env={},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


# Python


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_hooks_are_written_in_python_3_7(script: Path) -> None:
    ast.parse(script.read_text(), feature_version=(3, 7))


@pytest.mark.parametrize("version", ["3.7", "3.10", "3.13"])
def test_a_hook_runs_under_another_python_in_an_empty_environment(
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
    code, text, _ = enqueue_bare(installed, str(works[0]), [line(path)])
    assert (code, text) == (0, "farmhaul: /mnt/prod/\\xdcbersicht 01/a b.exr: queued (1 pending)")
    assert installed.queued == [line(path)]
    assert installed.left == []


# What farmhaul is given


def test_farmhaul_gets_the_settings_and_nothing_of_the_managers_own(
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


def test_what_the_job_says_becomes_a_line_of_a_manifest(installed: Installed) -> None:
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


def test_what_a_job_may_carry_are_keys_of_a_manifest(installed: Installed) -> None:
    hook = installed.module()
    assert {*hook.TEXTS, *hook.FLAGS, "metadata", "path"} == set(MANIFEST_KEYS)


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


def test_a_farmhaul_that_hangs_is_left_to_go_on_and_the_hook_returns(installed: Installed) -> None:
    installed.answer(sleep_s=4)
    code, text, _ = enqueue_bare(installed, str(BIN / "python"), [line()])
    assert (code, "goes on by itself" in text) == (0, True)
    assert len(installed.left) == 1  # it has not ended yet
    wait_until(lambda: installed.left == [])


def test_without_farmhaul_the_manifest_is_kept_and_sent_by_a_later_hook(
    installed: Installed,
) -> None:
    (installed.folder / "farmhaul").unlink()
    hook = installed.module()
    code, text = hook.enqueue([line("/mnt/prod/first.exr")])
    [kept] = installed.left
    assert (code, str(kept) in text) == (3, True)
    assert oct(kept.stat().st_mode)[-3:] == "600"

    installed.answer()
    os.utime(kept, (time.time() - 100, time.time() - 100))
    assert hook.enqueue([line("/mnt/prod/second.exr")])[0] == 0
    wait_until(lambda: installed.left == [])
    assert {one["path"] for one in installed.queued} == {
        "/mnt/prod/first.exr",
        "/mnt/prod/second.exr",
    }
    for process in hook._under_way:
        process.wait()


def test_what_farmhaul_refuses_is_set_aside_and_told(installed: Installed) -> None:
    installed.answer(code=2, says="farmhaul: version id 'x' is not a UUID")
    code, text = installed.module().enqueue([line()])
    assert (code, "version id 'x' is not a UUID" in text) == (2, True)
    assert [path.suffix for path in installed.left] == [".bad"]


def test_a_spool_that_can_not_be_written_loses_nothing(
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


def test_a_fault_of_the_hook_itself_is_one_line(installed: Installed) -> None:
    code, text = installed.module().enqueue([line(name={1, 2})])  # not JSON
    assert (code, text.count("\n"), text[:30]) == (3, 0, "farmhaul: nothing is queued: T")


def test_the_command_for_tasks_hands_on_arguments_and_exit_code(installed: Installed) -> None:
    installed.answer(code=3)
    hook = str(installed.folder / "farmhaul-hook")
    command = ["/bin/sh", hook, "/mnt/ä b.exr", "--component-id", "x"]
    done = subprocess.run(command, env={"LC_ALL": "C", "PYTHONHOME": "/nowhere"})
    assert done.returncode == 3
    [call] = installed.calls
    assert call["argv"] == ["enqueue", "--no-stat", "/mnt/ä b.exr", "--component-id", "x"]
    assert call["env"]["FARMHAUL_SPOOL"] == str(installed.spool)


# With the real farmhaul


@pytest.fixture(scope="module")
def running_farm(
    running_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Farm]:
    spool = {"FARMHAUL_SPOOL": str(tmp_path_factory.mktemp("spool"))}
    folder = tmp_path_factory.mktemp("farm")
    with Farm(running_sandbox, folder, workers=1, env=spool) as one:
        yield one


@pytest.fixture
def farm(running_farm: Farm) -> Farm:
    running_farm.wait_quiet()
    running_farm.sandbox.reset()
    return running_farm


def test_a_hook_that_fires_twice_uploads_once_from_another_systems_path(
    farm: Farm, installed: Installed
) -> None:
    root = farm.sandbox.storage
    installed.configure(**settings_of(farm, FARMHAUL_PATH_MAP=rf"\\nas\prod={root};P:\={root}"))
    path = farm.make_file("Übersicht a b.exr", 1000)
    relative = str(path.relative_to(root)).replace("/", "\\")
    component_id = farm.sandbox.ftrack.add_component("main.exr")
    for prefix in ("P:\\", "\\\\NAS\\prod\\", "p:\\"):
        upload = {"path": prefix + relative, "component_id": component_id}
        code, text, _ = enqueue_bare(installed, str(BIN / "python"), [upload])
        assert code == 0, text
    wait_until(lambda: not installed.left)
    wait_until(lambda: farm.sandbox.ftrack.entities("ComponentLocation"))
    farm.wait_quiet()
    assert farm.sandbox.store.read(component_id) == path.read_bytes()
    assert len(farm.sandbox.store.puts(component_id)) == 1


@pytest.mark.chaos
def test_fifty_hooks_that_fire_while_redis_is_away_have_all_their_files_located(
    farm: Farm, installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox = farm.sandbox
    spool = farm.env["FARMHAUL_SPOOL"]  # the worker's, as on a render node
    installed.configure(**settings_of(farm, FARMHAUL_SPOOL=spool))
    rows = [
        (farm.make_file(f"f.{number:04d}.exr", 500), sandbox.ftrack.add_component())
        for number in range(50)
    ]

    def fire(row: tuple[Path, str]) -> float:
        upload = {"path": str(row[0]), "component_id": row[1]}
        code, text, seconds = enqueue_bare(installed, str(BIN / "python"), [upload])
        assert code == 0, text
        return float(seconds)

    sandbox.redis.stop()
    away = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        seconds = sorted(pool.map(fire, rows))
    time.sleep(max(0, 30 - (time.monotonic() - away)))
    sandbox.redis.start()
    wait_until(lambda: len(sandbox.ftrack.entities("ComponentLocation")) == len(rows), 100)
    for path, component_id in rows:
        assert sandbox.store.read(component_id) == path.read_bytes()
        assert len(sandbox.store.puts(component_id)) == 1
    wait_until(lambda: not [*Path(spool).glob("**/*.json*")])
    with capsys.disabled():
        print(f"\nhook without Redis: p95 {seconds[47]:.2f} s, longest {seconds[-1]:.2f} s")


@pytest.mark.chaos
def test_fifty_hooks_at_once_have_all_their_files_located(
    farm: Farm, installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    installed.configure(**settings_of(farm))
    rows = [
        (farm.make_file(f"f.{number:04d}.exr", 500), farm.sandbox.ftrack.add_component())
        for number in range(50)
    ]
    module = installed.module()

    def fire(row: tuple[Path, str]) -> float:
        began = time.monotonic()
        code, text = module.enqueue([{"path": str(row[0]), "component_id": row[1]}])
        assert code == 0, text
        return time.monotonic() - began

    with ThreadPoolExecutor(50) as pool:
        seconds = sorted(pool.map(fire, rows))
    located = farm.sandbox.ftrack.entities
    wait_until(lambda: len(located("ComponentLocation")) == len(rows), 60)
    wait_until(lambda: not installed.left)
    for process in module._under_way:
        process.wait()
    with capsys.disabled():
        print(f"\nhook, 50 at once: p95 {seconds[47]:.2f} s, longest {seconds[-1]:.2f} s")
