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
    tractor = load(HOOKS / "tractor" / "farmhaul_tractor.py", HOOK=installed.command)
    task, job = Element(), Element()
    task.newCommand(argv=["prman", "f.0001.rib"])
    tractor.enqueue_after_task(
        task, tractor.arguments("/mnt/a b/f.0001.exr", version_id=VERSION), "PixarRender"
    )
    argv = tractor.arguments("/mnt/take #3/f.####.exr", [1, 2, 4], version_id=VERSION, name="main")
    tractor.enqueue_after_job(job, argv, "PixarRender")

    for cmd in (task.cmds[1], job.cmds[0]):
        assert subprocess.run(cmd["argv"], env={}).returncode == 0
    assert installed.queued == [
        ("/mnt/a b/f.0001.exr", "f.0001"),
        ("/mnt/take #3/f.%04d.exr [1-2, 4]", "main"),
    ]
    # Tractor would replace it.
    assert "%" not in " ".join(argv)


def test_tractors_blades_on_windows_have_their_own_paths() -> None:
    tractor = load(HOOKS / "tractor" / "farmhaul_tractor.py")
    argv = tractor.arguments(
        r"P:\f.####.exr", [1, 2], windows=True, version_id=VERSION, encode=True
    )
    assert argv[0].endswith(r"\python.exe")
    assert argv[-5:] == ["--no-stat", r"P:\f.@@@@.exr [1,2]", "--version-id", VERSION, "--encode"]


# HQueue


def test_hqueues_parent_queues_what_its_children_rendered(installed: Installed) -> None:
    hqueue = load(HOOKS / "hqueue" / "farmhaul_hqueue.py", HOOK=installed.command)
    frames = [{"name": f"f{n}", "shell": "bash", "command": "true"} for n in (1, 2)]
    path = "/mnt/it's $HOME/f.%04d.exr [1-2]"
    spec = hqueue.with_upload(
        frames, [path, "--version-id", VERSION], ["/mnt/b.mov", "--version-id", VERSION, "--encode"]
    )
    assert json.loads(json.dumps(spec))["children"] == frames

    def run() -> int:
        return subprocess.run([spec["shell"], "-c", spec["command"]], env={}).returncode

    assert run() == 0
    assert installed.queued == [(path, "f"), ("/mnt/b.mov", "b")]
    installed.break_down()
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
    script.write_text(source.read_text().replace("/opt/farmhaul-hook", str(installed.folder)))
    for name, text in ROYAL_RENDER.items():
        (script.parent / name).write_text(text)
    command = [sys.executable, "-B", str(script), "-jid", str(job_id)]
    done = subprocess.run(command, env={}, capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (code, 1, "")
    if code:
        assert "no such job" in done.stdout
        assert installed.queued == []
    else:
        assert installed.queued == [("/mnt/prod/sh 010/f.%04d.exr [1, 3, 5]", "main")]


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


def run_ayon(installed: Installed, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    source = HOOKS / "ayon" / "farmhaul_ayon.py"
    script = installed.folder / "farmhaul_ayon.py"
    script.write_text(source.read_text().replace("/opt/farmhaul-hook", str(installed.folder)))
    command = [sys.executable, "-B", script, *arguments, "--version-id", VERSION]
    return subprocess.run([*map(str, command)], capture_output=True, text=True)


FRAMES = ["sh010.1001.exr", "sh010.1002.exr", "sh010.1004.exr"]
MOVIE = ("/mnt/prod/sh 010/v003/sh010.mp4", "renderMain_mp4")


def test_what_ayons_metadata_names_is_queued(installed: Installed, tmp_path: Path) -> None:
    metadata = ayon_metadata(tmp_path, FRAMES)
    planned = run_ayon(installed, metadata, "--root", "work=/mnt/prod", "--dry-run")
    assert (planned.returncode, installed.queued) == (0, [])
    assert [json.loads(line)["name"] for line in planned.stdout.splitlines()] == [
        "renderMain_exr",
        "renderMain_mp4",
    ]
    done = run_ayon(installed, metadata, "--root", "work=/mnt/prod")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("2 queued\n")
    path = "/mnt/prod/sh 010/v003/sh010.%04d.exr [1001-1002, 1004]"
    assert installed.queued == [(path, "renderMain_exr"), MOVIE]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (["a.1001.exr", "b.1002.exr"], "contains more than one sequence"),
        ([*FRAMES, "notes.txt"], "4 files are not one sequence of frames"),
        ([], "renderMain_exr: "),
        (None, "renderMain_exr: "),
    ],
)
def test_a_representation_that_cannot_be_read_does_not_hold_up_others(
    installed: Installed, tmp_path: Path, files: Any, why: str
) -> None:
    done = run_ayon(installed, ayon_metadata(tmp_path, files), "--root", "work=/mnt/prod")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert why in done.stderr
    assert installed.queued == [MOVIE]


def test_ayon_metadata_with_an_unknown_root_is_refused(
    installed: Installed, tmp_path: Path
) -> None:
    done = run_ayon(installed, ayon_metadata(tmp_path, FRAMES), "--root", "publish=/mnt")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 2)
    assert "there is no 'work' in the metadata or in --root" in done.stderr


# Anything else


def after_render(
    installed: Installed, folder: Path, *words: str
) -> subprocess.CompletedProcess[str]:
    script = put_in_place("anything/after_render.py", folder, HOOK=installed.file)
    return subprocess.run(
        [sys.executable, str(script), *words], capture_output=True, text=True, timeout=60
    )


UPLOAD = ("--", "/mnt/a b.exr", "--no-stat", "--version-id", VERSION)


@pytest.mark.parametrize(("render", "away"), [(0, False), (7, False), (0, True)])
def test_a_wrapper_queues_and_exits_as_the_render_did(
    installed: Installed, tmp_path: Path, render: int, away: bool
) -> None:
    if away:
        installed.break_down()
    done = after_render(installed, tmp_path, "sh", "-c", f"exit {render}", *UPLOAD)
    assert done.returncode == render
    assert installed.queued == ([] if render or away else [("/mnt/a b.exr", "a b")])
    assert ("not queued" in done.stderr) == away


def test_a_render_may_have_a_double_dash_of_its_own(installed: Installed, tmp_path: Path) -> None:
    words = ("sh", "-c", f'echo "$@" >"{tmp_path}/given"', "-a", "--", "--cycles-device", "CUDA")
    done = after_render(installed, tmp_path, *words, *UPLOAD)
    assert (done.returncode, (tmp_path / "given").read_text()) == (0, "-- --cycles-device CUDA\n")
    assert installed.queued == [("/mnt/a b.exr", "a b")]


def test_a_wrapper_without_a_render_or_an_upload_says_what_to_write(
    installed: Installed, tmp_path: Path
) -> None:
    for words in ([], ["true"], ["true", "--"], UPLOAD):
        done = after_render(installed, tmp_path, *words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert after_render(installed, tmp_path, "/nowhere", *UPLOAD).returncode == 127
    assert installed.queued == []
