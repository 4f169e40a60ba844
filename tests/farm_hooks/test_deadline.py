"""Deadline 10, by a stand-in for its Python modules.

Deadline is closed and was not run. The stand-in has what docs.thinkboxsoftware.com says of event
plug-ins, job scripts and the class Job, and what the plug-ins of ThinkboxSoftware/Deadline use:
callbacks that are added to and deleted; `RepositoryUtils.GetJob` and `CheckPathMapping`;
a job's output folders and file names as parallel lists, with the paths of the submitting machine.
"""

from __future__ import annotations

import configparser
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar, Self

import pytest

from tests.farm_hooks.conftest import Installed, load, looking_up
from tests.farm_hooks.stand import HOOKS

FOLDER = HOOKS / "deadline"
EVENT = FOLDER / "custom" / "events" / "Farmhaul"
VERSION = "9f1d2c3b-0000-4000-8000-000000000001"
IDS = {"ftrack_version_id": VERSION, "ftrack_name0": "beauty", "ftrack_name1": "depth"}


class Callback:
    def __init__(self) -> None:
        self.called: list[Callable[[Any], None]] = []

    def __iadd__(self, call: Callable[[Any], None]) -> Self:
        self.called.append(call)
        return self


class DeadlineEventListener:
    hook_folder = ""

    def __init__(self) -> None:
        self.OnJobFinishedCallback = Callback()
        self.log: list[tuple[str, str]] = []

    def GetConfigEntryWithDefault(self, key: str, default: str) -> str:  # noqa: N802 Deadline's name
        return {"HookFolder": self.hook_folder}.get(key, default)

    def LogInfo(self, text: str) -> None:  # noqa: N802 Deadline's name
        self.log.append(("info", text))

    def LogWarning(self, text: str) -> None:  # noqa: N802 Deadline's name
        self.log.append(("warning", text))


class Repository:
    jobs: ClassVar[dict[str, Any]] = {}

    @classmethod
    def GetJob(cls, job_id: str, invalidate: bool) -> Any:  # noqa: N802 Deadline's name
        return cls.jobs.get(job_id)

    @staticmethod
    def CheckPathMapping(path: str) -> str:  # noqa: N802 Deadline's name
        return path.replace("P:\\", "/mnt/prod/").replace("\\", "/")


@pytest.fixture(autouse=True)
def deadline(monkeypatch: pytest.MonkeyPatch, installed: Installed) -> Iterator[None]:
    modules = {
        name: ModuleType(name) for name in ("Deadline", "Deadline.Events", "Deadline.Scripting")
    }
    modules["Deadline.Events"].DeadlineEventListener = DeadlineEventListener  # type: ignore[attr-defined]
    modules["Deadline.Scripting"].RepositoryUtils = Repository  # type: ignore[attr-defined]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(DeadlineEventListener, "hook_folder", str(installed.folder))
    yield
    Repository.jobs.clear()


def make_job(ids: dict[str, str], frames: list[int]) -> Any:
    return SimpleNamespace(
        JobId="65a0",
        JobFramesList=frames,
        JobOutputDirectories=["P:\\sh 010\\", "P:\\sh 010\\depth"],
        JobOutputFileNames=["f.####.exr", "z_####.exr"],
        GetJobExtraInfoKeyValue=looking_up(ids),
    )


def finish(job: Any) -> list[tuple[str, str]]:
    """Let a job finish as Deadline does; gives what the event plug-in logged."""
    plugin = load(EVENT / "Farmhaul.py")
    listener = plugin.GetDeadlineEventListener()
    for call in listener.OnJobFinishedCallback.called:
        call(job)
    plugin.CleanupDeadlineEventListener(listener)
    assert not hasattr(listener, "OnJobFinishedCallback")
    log: list[tuple[str, str]] = listener.log
    return log


def test_each_output_of_a_finished_job_is_queued_as_a_sequence(installed: Installed) -> None:
    [(level, text)] = finish(make_job(IDS, [1001, 1002, 1004]))
    assert (level, "queued" in text) == ("info", True)
    assert [(one["path"], one["name"]) for one in installed.queued] == [
        ("/mnt/prod/sh 010/f.%04d.exr [1001-1002, 1004]", "beauty"),
        ("/mnt/prod/sh 010/depth/z_%04d.exr [1001-1002, 1004]", "depth"),
    ]


def test_frames_that_were_changed_since_are_those_that_count(installed: Installed) -> None:
    Repository.jobs["65a0"] = make_job(IDS, [5, 6])
    finish(make_job(IDS, [1, 2, 3]))
    assert installed.queued[0]["path"] == "/mnt/prod/sh 010/f.%04d.exr [5-6]"


def test_a_job_without_ftrack_ids_is_left_alone(installed: Installed) -> None:
    assert finish(make_job({}, [1])) == [
        ("info", "farmhaul: the job names no ftrack id; nothing is queued")
    ]
    assert installed.calls == []


def test_without_the_hook_the_job_stays_done_and_the_log_warns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(DeadlineEventListener, "hook_folder", "/nowhere")
    [(level, text)] = finish(make_job(IDS, [1]))
    assert (level, text[:45]) == ("warning", "farmhaul: nothing is queued: FileNotFoundErro")


def test_the_settings_page_has_the_states_that_deadline_asks_for() -> None:
    settings = configparser.ConfigParser()
    settings.optionxform = str  # type: ignore[assignment, method-assign]
    settings.read_string((EVENT / "Farmhaul.param").read_text())
    assert settings["State"]["Items"] == "Global Enabled;Opt-In;Disabled"
    assert settings["State"]["Default"] == "Disabled"
    assert settings["HookFolder"]["Default"] == "/opt/farmhaul/hook"


def run_task(job: Any, first: int, last: int, folder: str) -> list[str]:
    log: list[str] = []
    plugin = SimpleNamespace(
        GetJob=lambda: job,
        GetStartFrame=lambda: first,
        GetEndFrame=lambda: last,
        LogInfo=log.append,
    )
    load(FOLDER / "farmhaul_post_task.py", HOOK_FOLDER=folder).__main__(plugin)
    return log


def test_the_frames_of_a_task_are_queued_singly_and_only_once(
    installed: Installed,
) -> None:
    job = make_job({**IDS, "ftrack_each_frame": "1"}, [1, 3, 5, 7])
    [text] = run_task(job, 3, 5, str(installed.folder))
    assert "queued" in text
    assert [(one["path"], one["name"]) for one in installed.queued] == [
        ("/mnt/prod/sh 010/f.0003.exr", "f.0003"),
        ("/mnt/prod/sh 010/f.0005.exr", "f.0005"),
        ("/mnt/prod/sh 010/depth/z_0003.exr", "z_0003"),
        ("/mnt/prod/sh 010/depth/z_0005.exr", "z_0005"),
    ]
    finish(job)
    assert len(installed.calls) == 1


def test_a_post_task_script_never_fails_its_task() -> None:
    [text] = run_task(make_job(IDS, [1]), 1, 1, "/nowhere")
    assert text.startswith("farmhaul: nothing is queued: FileNotFoundError")
