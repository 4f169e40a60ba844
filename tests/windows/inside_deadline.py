"""Runs on Windows: Deadline's side of its event plug-in and post-task script; prints their log.

As tests/farm_hooks/test_deadline.py, but on a Windows Worker, whose path mapping leads to drives.

    python -m tests.windows.inside_deadline HOOK-FOLDER FIRST-FRAME LAST-FRAME
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Self

HOOKS = Path(__file__).parents[2] / "deploy" / "farm" / "deadline"
IDS = {
    "ftrack_version_id": "9f1d2c3b-0000-4000-8000-000000000001",
    "ftrack_name0": "beauty",
    "ftrack_name1": "depth",
}

LOG: list[tuple[str, str]] = []


class Callback(list[Any]):
    def __iadd__(self, call: Any) -> Self:  # type: ignore[misc]
        self.append(call)
        return self


class DeadlineEventListener:
    def __init__(self) -> None:
        self.OnJobFinishedCallback = Callback()

    def GetConfigEntryWithDefault(self, key: str, default: str) -> str:  # noqa: N802 Deadline's name
        return {"HookFolderWindows": sys.argv[1]}.get(key, default)

    def LogInfo(self, text: str) -> None:  # noqa: N802 Deadline's name
        LOG.append(("info", text))

    def LogWarning(self, text: str) -> None:  # noqa: N802 Deadline's name
        LOG.append(("warning", text))


class RepositoryUtils:
    @staticmethod
    def GetJob(job_id: str, invalidate: bool) -> Any:  # noqa: N802 Deadline's signature
        return None

    @staticmethod
    def CheckPathMapping(path: str) -> str:  # noqa: N802 Deadline's name
        return path.replace("/mnt/prod/", "P:\\")


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(folder: str, first: int, last: int) -> None:
    modules = {
        name: ModuleType(name) for name in ("Deadline", "Deadline.Events", "Deadline.Scripting")
    }
    modules["Deadline.Events"].DeadlineEventListener = DeadlineEventListener  # type: ignore[attr-defined]
    modules["Deadline.Scripting"].RepositoryUtils = RepositoryUtils  # type: ignore[attr-defined]
    sys.modules.update(modules)
    before = list(sys.path)
    ids = dict(IDS)
    job = SimpleNamespace(
        JobId="65a0",
        JobFramesList=list(range(first, last + 1)),
        JobOutputDirectories=["/mnt/prod/sh 010/", "\\\\server\\prod\\größe"],
        JobOutputFileNames=["f.####.exr", "z_####.exr"],
        JobPostTaskScript="farmhaul_post_task.py",
        JobTileJob=False,
        GetJobExtraInfoKeyValue=lambda key: ids.get(key, ""),
    )
    listener = load(
        HOOKS / "custom" / "events" / "Farmhaul" / "Farmhaul.py"
    ).GetDeadlineEventListener()
    for call in listener.OnJobFinishedCallback:
        call(job)

    ids["ftrack_each_frame"] = "1"
    script = load(HOOKS / "farmhaul_post_task.py")
    script.FOLDER_WINDOWS = folder
    task = SimpleNamespace(
        GetJob=lambda: job,
        GetStartFrame=lambda: first,
        GetEndFrame=lambda: first,
        LogInfo=lambda text: LOG.append(("info", text)),
        LogWarning=lambda text: LOG.append(("warning", text)),
    )
    script.__main__(task)
    assert sys.path == before
    print(json.dumps(LOG))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
