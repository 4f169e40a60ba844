"""Tractor, HQueue, Royal Render, AYON, and whatever else can start a command.

Tractor, HQueue and Royal Render are closed and were not run. Their stand-ins have:
- tractor.api.author: `newCommand` of a task, and `newPostscript(argv=, when=, service=)` of a job;
- HQueue: a parent's `command` that its `shell` runs with -c, as hqserver's clients do;
- Royal Render: `rrGlobal` and `libpyRR2` inside rrPythonconsole, as the scripts of
  BinaryAlchemy/RoyalRender-OpenExtensions and ynput/ayon-royalrender use them.
AYON's metadata has the form that ayon-core's create_metadata_path writes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.intake.notation import parse
from tests.farm_hooks.conftest import Installed, load
from tests.farm_hooks.stand import HOOKS, put_in_place

VERSION = "9f1d2c3b-0000-4000-8000-000000000001"


# Tractor


class Element:
    """A task or a job of tractor.api.author."""

    def __init__(self) -> None:
        self.cmds: list[dict[str, Any]] = []

    def newCommand(self, **options: Any) -> None:  # noqa: N802 Tractor's name
        self.cmds.append(options)

    def newPostscript(self, **options: Any) -> None:  # noqa: N802 Tractor's name
        assert options["when"] in {"done", "error", "always"}
        self.cmds.append(options)


def test_tractor_runs_the_upload_as_a_second_command(installed: Installed) -> None:
    tractor = load(
        HOOKS / "tractor" / "farmhaul_tractor.py", HOOK=str(installed.folder / "farmhaul-hook")
    )
    task, job = Element(), Element()
    task.newCommand(argv=["prman", "f.0001.rib"])
    tractor.enqueue_after_task(
        task, tractor.arguments("/mnt/a b/f.0001.exr", version_id=VERSION), "PixarRender"
    )
    argv = tractor.arguments(
        "/mnt/a b/f.####.exr", [1, 2, 4], version_id=VERSION, name="main", encode=True
    )
    tractor.enqueue_after_job(job, argv, "PixarRender")

    for cmd in (task.cmds[1], job.cmds[0]):
        assert subprocess.run(cmd["argv"], env={}).returncode == 0
    assert [call["argv"][2:] for call in installed.calls] == [
        ["/mnt/a b/f.0001.exr", "--version-id", VERSION],
        ["/mnt/a b/f.@@@@.exr [1,2,4]", "--version-id", VERSION, "--name", "main", "--encode"],
    ]
    assert "%" not in argv[1]
    frames = parse(argv[1])
    assert frames is not None
    assert frames.path(4) == "/mnt/a b/f.0004.exr"


# HQueue


def test_hqueues_parent_queues_what_its_children_rendered(installed: Installed) -> None:
    hqueue = load(
        HOOKS / "hqueue" / "farmhaul_hqueue.py", HOOK=str(installed.folder / "farmhaul-hook")
    )
    frames = [{"name": f"f{n}", "shell": "bash", "command": "true"} for n in (1, 2)]
    path = "/mnt/it's $HOME/f.%04d.exr [1-2]"
    spec = hqueue.with_upload(frames, [path, "--version-id", VERSION], ["/b.mov", "--encode"])
    assert json.loads(json.dumps(spec))["children"] == frames

    def run() -> int:
        return subprocess.run([spec["shell"], "-c", spec["command"]], env={}).returncode

    assert run() == 0
    assert [call["argv"][2] for call in installed.calls] == [path, "/b.mov"]
    installed.answer(code=3)
    assert run() == 3  # HQueue tries it again


# Royal Render

ROYAL_RENDER = {
    "rrGlobal.py": "rrModPyrrPath = lambda: '/rr'\nrrServer = lambda: 'server'\n",
    "libpyRR2.py": """\
from types import SimpleNamespace
values = {"ftrack_version_id": "VERSION", "ftrack_name": "main"}
job = SimpleNamespace(imageDir="/mnt/prod/sh 010/", imageFileName="f.", imageFramePadding=4,
    imageExtension=".exr", seqStart=1, seqEnd=5, seqStep=2, sceneOS=1,
    customData_Str=lambda key: values.get(key, ""))
class _rrTCP:
    def __init__(self, name):
        self.jobs = SimpleNamespace(getJobSend=lambda jid: job, setPathTargetOS=lambda os: None)
    def setServer(self, host, port): assert (host, port) == ("server", 7773)
    def setLogin(self, user, password): pass
    def jobList_GetSend(self, jid): return jid == 42
    def errorMessage(self): return "no such job"
""".replace("VERSION", VERSION),
}


@pytest.mark.parametrize(("job_id", "code"), [(42, 0), (43, 3)])
def test_royal_renders_post_script_queues_the_images_of_its_job(
    installed: Installed, tmp_path: Path, job_id: int, code: int
) -> None:
    source = HOOKS / "royal-render" / "_prepost_scripts" / "farmhaul.py"
    script = tmp_path / "farmhaul.py"
    script.write_text(source.read_text().replace("/opt/farmhaul/hook", str(installed.folder)))
    for name, text in ROYAL_RENDER.items():
        (script.parent / name).write_text(text)
    command = [sys.executable, "-B", str(script), "-jid", str(job_id)]
    done = subprocess.run(command, env={}, capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (code, 1, "")
    if code:
        assert "no such job" in done.stdout
        assert installed.queued == []
    else:
        path = "/mnt/prod/sh 010/f.%04d.exr [1, 3, 5]"
        assert installed.queued == [{"version_id": VERSION, "name": "main", "path": path}]


# AYON


def ayon_metadata(folder: Path, files: Any) -> Path:
    instance = {
        "productName": "renderMain",
        "representations": [
            {"name": "exr", "files": files, "stagingDir": "{root[work]}/sh 010/v003"},
            {"name": "mp4", "files": "sh010.mp4", "stagingDir": "{root[work]}/sh 010/v003"},
        ],
    }
    path = folder / "renderMain_metadata.json"
    path.write_text(json.dumps({"frameStart": 1001, "frameEnd": 1002, "instances": [instance]}))
    return path


def run_ayon(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, HOOKS / "ayon" / "farmhaul_ayon.py", *arguments]
    return subprocess.run([*map(str, command)], capture_output=True, text=True)


def test_ayons_metadata_becomes_a_manifest(tmp_path: Path) -> None:
    metadata = ayon_metadata(tmp_path, ["sh010.1001.exr", "sh010.1002.exr", "sh010.1004.exr"])
    done = run_ayon(metadata, "--root", "work=/mnt/prod", "--version-id", VERSION)
    assert (done.returncode, done.stderr) == (0, "")
    exr, movie = map(json.loads, done.stdout.splitlines())
    frames = parse(exr["path"])
    assert frames is not None
    assert frames.path(1004) == "/mnt/prod/sh 010/v003/sh010.1004.exr"
    assert frames.numbers == (1001, 1002, 1004)
    assert (exr["name"], exr["version_id"]) == ("renderMain_exr", VERSION)
    assert movie["path"] == "/mnt/prod/sh 010/v003/sh010.mp4"


@pytest.mark.parametrize(
    ("files", "root", "why"),
    [
        (["a.1001.exr", "b.1002.exr"], "work=/mnt", "are not one sequence of frames"),
        (["a.1001.exr", "a.1002.exr"], "publish=/mnt", "or --root has no 'work'"),
    ],
)
def test_ayon_metadata_that_cannot_be_read_is_refused(
    tmp_path: Path, files: list[str], root: str, why: str
) -> None:
    done = run_ayon(ayon_metadata(tmp_path, files), "--root", root, "--version-id", VERSION)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert why in done.stderr


# Anything else


@pytest.mark.parametrize(("render", "code"), [(0, 0), (7, 0), (0, 3)])
def test_a_wrapper_queues_and_exits_as_the_render_did(
    installed: Installed, tmp_path: Path, render: int, code: int
) -> None:
    installed.answer(code=code)
    script = put_in_place(
        "anything/after-render.sh", tmp_path / "bin", HOOK=installed.folder / "farmhaul-hook"
    )
    command = [str(script), "sh", "-c", f"exit {render}", "--", "/a b.exr", "--version-id", VERSION]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == render
    assert [call["argv"][2] for call in installed.calls] == ([] if render else ["/a b.exr"])
    assert ("not queued" in done.stderr) == bool(code)


def test_any_script_can_write_a_manifest_into_the_command(installed: Installed) -> None:
    # The fake takes - for a file's name.
    (installed.folder / "farmhaul").write_text("#!/bin/sh\ncat >>received\n")
    line = json.dumps({"path": "/mnt/ü.exr", "version_id": VERSION})
    subprocess.run(
        [installed.folder / "farmhaul-hook", "--manifest", "-"],
        input=line,
        text=True,
        check=True,
        cwd=installed.folder,
    )
    assert (installed.folder / "received").read_text() == line
