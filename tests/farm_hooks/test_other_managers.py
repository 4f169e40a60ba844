"""Tractor, HQueue, Royal Render, and whatever else can start a command.

Tractor, HQueue and Royal Render are closed and were not run. Their stand-ins have:
- tractor.api.author: `newCommand` of a task, and `newPostscript(argv=, when=, service=)` of a job;
- HQueue: a parent's `command` that its `shell` runs with -c, as hqserver's clients do;
- Royal Render: `rrGlobal` and `libpyRR2` inside rrPythonconsole, as the scripts of
  BinaryAlchemy/RoyalRender-OpenExtensions and ynput/ayon-royalrender use them.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.intake.request import PublishRequest
from tasks.transfer.targets import NewVersion
from tests.farm_hooks.conftest import Installed, load
from tests.farm_hooks.managers import pyoutline
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


def test_a_job_may_have_a_context_in_place_of_an_id(
    installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = {"context": "demo/sh010", "asset": "beauty", "asset_type": "Render"}
    tractor = load(HOOKS / "tractor" / "farmhaul_tractor.py", HOOK=installed.command)
    _, farmhaul = pyoutline(monkeypatch, installed)
    render = SimpleNamespace(get_name=lambda: "r", get_frame_range=lambda: "1-3")
    with pytest.raises(ValueError, match="no ftrack id"):
        farmhaul.after_layer(render, "/mnt/f.%04d.exr", asset="beauty")

    with pytest.raises(ValueError, match="would be one component: leave out its name"):
        farmhaul.after_each_frame(render, "/mnt/f.%04d.exr", VERSION, name="main")

    argv = tractor.arguments("/mnt/f.####.exr", [1, 2], **place)
    layer = farmhaul.after_layer(render, "/mnt/g.%04d.exr", **place)

    words = shlex.split(layer.options["command"])
    words.insert(words.index("--"), "--no-stat")
    for command in (argv, words):
        assert subprocess.run(command, env={}).returncode == 0
    made = [
        request.files[0].target.new_version
        for request in installed.requests
        if isinstance(request, PublishRequest)
    ]
    assert made == [NewVersion("demo/sh010", "beauty", "Render")] * 2


def test_tractors_blades_on_windows_have_their_own_paths() -> None:
    tractor = load(HOOKS / "tractor" / "farmhaul_tractor.py")
    argv = tractor.arguments(
        r"P:\f.####.exr", [1, 2], windows=True, version_id=VERSION, encode=True
    )
    assert argv[0].endswith(r"\python.exe")
    options = ["--no-stat", "--version-id", VERSION, "--encode"]
    assert argv[-6:] == [*options, "--", r"P:\f.@@@@.exr [1-2]"]


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("/mnt/f.#.exr", "/mnt/f.@.exr [1-2,4]"),
        ("/mnt/v#2_##.exr", "/mnt/v#2_@@.exr [1-2,4]"),
        ("/mnt/take #3/f.$F4.exr", "/mnt/take #3/f.$F4.exr [1-2,4]"),
    ],
)
def test_tractors_sequences_are_written_as_farmhaul_reads_them(path: str, written: str) -> None:
    tractor = load(HOOKS / "tractor" / "farmhaul_tractor.py")
    assert written in tractor.arguments(path, [4, 2, 1], version_id=VERSION)
    assert "/mnt/f.@@@@.exr [1001-5000]" in tractor.arguments(
        "/mnt/f.####.exr", range(1001, 5001), version_id=VERSION
    )


@pytest.mark.parametrize("frames", [[-1, 1], range(1, 9999, 2)])
def test_tractor_refuses_frames_before_they_are_rendered(frames: Any) -> None:
    tractor = load(HOOKS / "tractor" / "farmhaul_tractor.py")
    with pytest.raises(ValueError, match="negative, or too many"):
        tractor.arguments("/mnt/f.####.exr", frames, version_id=VERSION)


def test_tractors_jobs_need_an_id_before_they_render() -> None:
    tractor = load(HOOKS / "tractor" / "farmhaul_tractor.py")
    for target in ({}, {"version_id": None, "name": "main"}):
        with pytest.raises(ValueError, match="no ftrack id for /mnt/a"):
            tractor.arguments("/mnt/a.exr", **target)
    argv = tractor.arguments("/mnt/a.exr", version_id=VERSION, metadata={"a": "1", "b": "2"})
    assert argv[-6:-2] == ["--metadata", "a=1", "--metadata", "b=2"]
    argv = tractor.arguments("/mnt/a.exr", version_id=VERSION, list=["dailies", "a b"])
    assert argv[-6:-2] == ["--list", "dailies", "--list", "a b"]


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
    assert installed.queued == [(path, "f"), ("/mnt/b.mov", "b_mov")]
    installed.break_down()
    assert run() == 3  # HQueue tries it again


def test_an_upload_that_hqueue_sees_refused_holds_up_no_other(installed: Installed) -> None:
    hqueue = load(HOOKS / "hqueue" / "farmhaul_hqueue.py", HOOK=installed.command)
    bad, good = (["/mnt/a.exr", "--version-id", text] for text in ("v003", VERSION))
    spec = hqueue.with_upload([], bad, good)
    assert subprocess.run(["bash", "-c", spec["command"]], env={}).returncode == 2
    assert installed.queued == [("/mnt/a.exr", "a")]
    with pytest.raises(ValueError, match="write what to upload"):
        hqueue.with_upload([])
    with pytest.raises(TypeError, match="is one text: write its words as a list"):
        hqueue.with_upload([], f"/mnt/a.exr --version-id {VERSION}")
    with pytest.raises(ValueError, match=r"no ftrack id for .*/mnt/a\.exr"):
        hqueue.with_upload([], good, ["/mnt/a.exr", "--version-id-of-the-shot", VERSION])


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
    for words in ((), UPLOAD):
        done = after_render(installed, tmp_path, *words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    for dashes in ((), ("--",)):  # a variable of the job may be empty
        done = after_render(installed, tmp_path, "true", *dashes)
        assert (done.returncode, "nothing is queued" in done.stderr) == (0, True)
    assert after_render(installed, tmp_path, "/nowhere", *UPLOAD).returncode == 127
    assert installed.queued == []
