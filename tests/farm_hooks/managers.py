"""Each hook, as its manager runs it when one file is done: what it logs, and its exit code.

Where the manager is not at hand, this is a stand-in: the modules of rrPythonconsole and pyoutline,
the shell of HQueue's clients, and the script of an OpenJD template without openjd-cli.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest

from tests.farm_hooks import deadline
from tests.farm_hooks.conftest import Installed, load
from tests.farm_hooks.flamenco import compiled, upload_words
from tests.farm_hooks.stand import HOOKS, put_in_place

VERSION = "9f1d2c3b-0000-4000-8000-000000000001"


class Job(NamedTuple):
    """A job that has rendered FOLDER/render.exr, and FOLDER/f.0001.exr as its only frame."""

    installed: Installed
    folder: Path
    version_id: str = VERSION
    #: What the manager's process has in its environment.
    env: Mapping[str, str] = {}

    @property
    def file(self) -> str:
        return f"{self.folder}/render.exr"

    def run(self, *words: object, **env: str) -> Ran:
        done = subprocess.run(
            [*map(str, words)],
            env={**self.env, **env},
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=60,
        )
        return Ran(done.stdout + done.stderr, done.returncode)


class Ran(NamedTuple):
    """What a hook has logged, and the exit code of the task that it is; None if it is none."""

    log: str
    code: int | None = None


# In the manager's own Python


def deadline_event(job: Job, monkeypatch: pytest.MonkeyPatch) -> Ran:
    _enter(job, monkeypatch)
    [(level, text)] = deadline.finish(_deadline_job(job))
    return Ran(f"{level} {text}")


def deadline_task(job: Job, monkeypatch: pytest.MonkeyPatch) -> Ran:
    _enter(job, monkeypatch)
    of_job = _deadline_job(job, ftrack_each_frame="1")
    [(level, text)] = deadline.run_task(of_job, 1, 1, str(job.installed.folder))
    return Ran(f"{level} {text}")


def _enter(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    deadline.put_in_place(monkeypatch, job.installed.folder)
    for name, value in job.env.items():
        monkeypatch.setenv(name, value)


def _deadline_job(job: Job, **more: str) -> Any:
    ids = {"ftrack_version_id": job.version_id, **more}
    outputs = {"JobOutputDirectories": [str(job.folder)], "JobOutputFileNames": ["render.exr"]}
    return deadline.make_job(ids, [1], **outputs)


ROYAL_RENDER = {
    "rrGlobal.py": "rrModPyrrPath = lambda: '/rr'\nrrServer = lambda: 'server'\n",
    "libpyRR2.py": """\
import json, pathlib
from types import SimpleNamespace
known = json.loads(pathlib.Path(__file__).with_name("job.json").read_text())
values = known.pop("values")
job = SimpleNamespace(sceneOS=1, customData_Str=lambda key: values.get(key, ""), **known)
class _rrTCP:
    def __init__(self, name):
        self.jobs = SimpleNamespace(getJobSend=lambda jid: job, setPathTargetOS=lambda os: None)
    def setServer(self, host, port): assert (host, port) == ("server", 7773)
    def setLogin(self, user, password): pass
    def jobList_GetSend(self, jid): return jid == 42
    def errorMessage(self): return "no such job"
""",
}


def royal_render(job: Job, job_id: int = 42, **known: Any) -> Ran:
    """Run the post script; *known* are attributes of the job, and its custom values."""
    source = HOOKS / "royal-render" / "_prepost_scripts" / "farmhaul.py"
    script = job.installed.folder / "rr" / "farmhaul.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text(source.read_text().replace("/opt/farmhaul-hook", str(job.installed.folder)))
    for name, text in ROYAL_RENDER.items():
        (script.parent / name).write_text(text)
    image = {"imageDir": f"{job.folder}/", "imageFileName": "render", "imageExtension": ".exr"}
    frames = {"imageFramePadding": 0, "seqStart": 1, "seqEnd": 1, "seqStep": 1}
    values = {"values": {"ftrack_version_id": job.version_id}}
    (script.parent / "job.json").write_text(json.dumps({**image, **frames, **values, **known}))
    return job.run(sys.executable, "-B", script, "-jid", job_id)


def ayon(job: Job) -> Ran:
    source = HOOKS / "ayon" / "farmhaul_ayon.py"
    script = job.installed.folder / "farmhaul_ayon.py"
    script.write_text(source.read_text().replace("/opt/farmhaul-hook", str(job.installed.folder)))
    one = {"name": "exr", "files": "render.exr", "stagingDir": str(job.folder)}
    metadata = job.installed.folder / "renderMain_metadata.json"
    metadata.write_text(json.dumps({"instances": [{"representations": [one]}]}))
    return job.run(sys.executable, "-B", script, metadata, "--version-id", job.version_id)


# As a task of the job, which does nothing else


def hqueue(job: Job) -> Ran:
    module = load(HOOKS / "hqueue" / "farmhaul_hqueue.py", HOOK=job.installed.command)
    spec = module.with_upload([], [job.file, "--version-id", job.version_id])
    return job.run(spec["shell"], "-c", spec["command"], PATH=os.environ["PATH"])


def tractor(job: Job) -> Ran:
    module = load(HOOKS / "tractor" / "farmhaul_tractor.py", HOOK=job.installed.command)
    try:
        return job.run(*module.arguments(job.file, version_id=job.version_id))
    except ValueError as error:
        return Ran(str(error))


def opencue(job: Job, monkeypatch: pytest.MonkeyPatch) -> Ran:
    _, outline = pyoutline(monkeypatch, job.installed)
    render = SimpleNamespace(get_name=lambda: "render", get_frame_range=lambda: "1-1")
    try:
        layer = outline.after_layer(render, f"{job.folder}/f.%04d.exr", job.version_id)
    except ValueError as error:
        return Ran(str(error))
    return job.run("/bin/sh", "-c", layer.options["command"])


class Layer:
    """A layer of pyoutline: it keeps what it is given."""

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self.options = options

    def depend_on(self, *_: object) -> None:
        pass


class FrameSet:
    """OpenCue's frames, as far as the jobs here have them: 1-3."""

    def __init__(self, frames: str) -> None:
        first, _, last = frames.partition("-")
        self._frames = [*range(int(first), int(last or first) + 1)]

    def getAll(self) -> list[int]:  # noqa: N802 OpenCue's name
        return self._frames


def pyoutline(monkeypatch: pytest.MonkeyPatch, installed: Installed) -> tuple[Any, Any]:
    """Import the helper where pyoutline is not installed; the module, and its Farmhaul."""
    kinds: dict[str, dict[str, Any]] = {
        "FileSequence": {"FrameSet": FrameSet},
        "outline.depend": {"DependType": SimpleNamespace(FrameByFrame=1, LayerOnLayer=2)},
        "outline.layer": {"OutlinePostCommand": Layer},
        "outline.modules.shell": {"Shell": Layer, "ShellCommand": Layer},
    }
    for name in ("outline", "outline.modules", *kinds):
        module = ModuleType(name)
        module.__dict__.update(kinds.get(name, {}))
        monkeypatch.setitem(sys.modules, name, module)
    module = load(HOOKS / "opencue" / "farmhaul_outline.py")
    return module, module.Farmhaul(installed.command)


def openjd_step(job: Job) -> Ran:
    script = openjd_script(job, "render_then_enqueue.yaml")
    path = f"{job.folder}/f.%04d.exr"
    words = (job.installed.file, path, "1", f"--version-id={job.version_id}", "--name=")
    return job.run(sys.executable, script, *words)


def openjd_script(job: Job, template: str) -> Path:
    """Write the last script of a template to a file, as a session does."""
    text = (HOOKS / "openjd" / template).read_text().rpartition("data: |\n")[2]
    script = job.installed.folder / "openjd.py"
    script.write_text(textwrap.dedent(text))
    return script


def flamenco(job: Job) -> Ran:
    settings = {"frames": "1", "render_output_path": f"{job.folder}/f.####"}
    tasks, said = compiled(ftrack_version_id=job.version_id, **settings)
    if len(tasks["tasks"]) == 1:
        return Ran(said)
    return job.run(*upload_words(tasks, job.installed.file))


def slurm_job(job: Job) -> Ran:
    script = put_in_place(
        "slurm/farmhaul-enqueue.sh", job.installed.folder, HOOK=job.installed.file, PATH=PATH
    )
    # After so many tries, it gives up.
    words = (job.file, "--version-id", job.version_id)
    return job.run(script, *words, SLURM_JOB_ID="7", SLURM_RESTART_COUNT="30")


#: Where the scripts of Slurm find Python.
PATH = f"{Path(sys.executable).parent}:/usr/bin:/bin"


# Next to a render, or in the controller: nothing may fail because of it


def slurm_controller(job: Job) -> Ran:
    log = job.installed.folder / "slurm.log"
    places: dict[str, str | Path] = {"HOOK": job.installed.file, "PATH": PATH, "LOG": log}
    script = put_in_place("slurm/slurmctld-hook.sh", job.installed.folder, **places)
    comment = "farmhaul " + json.dumps({"path": job.file, "version_id": job.version_id})
    ran = job.run(script, SLURM_JOB_ID="7", SLURM_JOB_COMMENT=comment)
    assert ran == Ran("", 0)
    return Ran(log.read_text())


def anything(job: Job) -> Ran:
    script = put_in_place("anything/after_render.py", job.installed.folder, HOOK=job.installed.file)
    upload = (job.file, "--version-id", job.version_id)
    ran = job.run(sys.executable, script, "true", "--", *upload, PATH=os.environ["PATH"])
    assert ran.code == 0
    return Ran(ran.log)


def openjd_frames(job: Job) -> Ran:
    script = openjd_script(job, "render_and_enqueue_frames.yaml")
    version = f"--version-id={job.version_id}"
    words = ("true", "1", job.folder, "f.%04d.exr", job.installed.file, version)
    ran = job.run(sys.executable, script, *words, PATH=os.environ["PATH"])
    assert ran.code == 0
    return Ran(ran.log)


Run = Callable[..., Ran]
#: They import the library, and run in the manager's Python, or in a job of their own.
LIBRARY: dict[str, Run] = {
    "Deadline's event plug-in": deadline_event,
    "Deadline's post-task script": deadline_task,
    "Royal Render": royal_render,
    "AYON": ayon,
}
#: They are tasks of a job, which the manager tries again.
TASKS: dict[str, Run] = {
    "HQueue": hqueue,
    "Tractor": tractor,
    "OpenCue": opencue,
    "OpenJD, a step": openjd_step,
    "Flamenco": flamenco,
    "Slurm, a dependent job": slurm_job,
}
#: They run next to something that must not fail because of them.
NEXT_TO: dict[str, Run] = {
    "Slurm's controller": slurm_controller,
    "anything else": anything,
    "OpenJD, frame by frame": openjd_frames,
}
ALL = {**LIBRARY, **TASKS, **NEXT_TO}


def run(name: str, job: Job, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """Run a hook by its name."""
    hook = ALL[name]
    return hook(job, monkeypatch) if hook in NEED_A_PATCH else hook(job)


NEED_A_PATCH = (deadline_event, deadline_task, opencue)
