"""Stand-ins for the Python modules of Deadline 10, and how it calls what a farm installs.

Deadline is closed and was not run. The stand-in has what docs.thinkboxsoftware.com says of event
plug-ins, job scripts and the class Job, and what the plug-ins of ThinkboxSoftware/Deadline use:
callbacks that are added to and deleted; `RepositoryUtils.GetJob` and `CheckPathMapping`;
a job's output folders and file names as parallel lists, with the paths of the submitting machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar, Self

import pytest

from tests.farm_hooks.conftest import load, looking_up
from tests.farm_hooks.stand import HOOKS

FOLDER = HOOKS / "deadline"
EVENT = FOLDER / "custom" / "events" / "Farmhaul"


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
        return f"/mnt/prod/{path[3:]}".replace("\\", "/") if path.startswith("P:\\") else path


def put_in_place(monkeypatch: pytest.MonkeyPatch, hook_folder: object) -> None:
    """Let this Python have Deadline's modules, and the hook in a folder."""
    names = ("Deadline", "Deadline.Events", "Deadline.Scripting")
    modules = {name: ModuleType(name) for name in names}
    modules["Deadline.Events"].DeadlineEventListener = DeadlineEventListener  # type: ignore[attr-defined]
    modules["Deadline.Scripting"].RepositoryUtils = Repository  # type: ignore[attr-defined]
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(DeadlineEventListener, "hook_folder", str(hook_folder))
    monkeypatch.setattr(Repository, "jobs", {})


def make_job(ids: dict[str, str], frames: list[int], **more: Any) -> Any:
    known = {
        "JobId": "65a0",
        "JobFramesList": frames,
        "JobOutputDirectories": ["P:\\sh 010\\", "P:\\sh 010\\depth"],
        "JobOutputFileNames": ["f.####.exr", "z_####.exr"],
        "JobTileJob": False,
        "JobPostTaskScript": "",
        "GetJobExtraInfoKeyValue": looking_up(ids),
    }
    return SimpleNamespace(**{**known, **more})


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


def run_task(job: Any, first: int, last: int, folder: str) -> list[tuple[str, str]]:
    """Let a task finish; gives what the post-task script logged."""
    log: list[tuple[str, str]] = []
    plugin = SimpleNamespace(
        GetJob=lambda: job,
        GetStartFrame=lambda: first,
        GetEndFrame=lambda: last,
        LogInfo=lambda text: log.append(("info", text)),
        LogWarning=lambda text: log.append(("warning", text)),
    )
    load(FOLDER / "farmhaul_post_task.py", FOLDER=folder).__main__(plugin)
    return log
