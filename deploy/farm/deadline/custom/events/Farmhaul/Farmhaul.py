"""Deadline 10 event plug-in: queues the outputs of a finished job for ftrack."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from Deadline.Events import DeadlineEventListener
from Deadline.Scripting import RepositoryUtils

FOLDER = "/opt/farmhaul-hook"
FOLDER_WINDOWS = r"C:\Program Files\farmhaul-hook"


def GetDeadlineEventListener() -> DeadlineEventListener:  # noqa: N802 Deadline's name
    return FarmhaulListener()


def CleanupDeadlineEventListener(listener: FarmhaulListener) -> None:  # noqa: N802 Deadline's name
    listener.Cleanup()


class FarmhaulListener(DeadlineEventListener):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.OnJobFinishedCallback += self.OnJobFinished

    def Cleanup(self) -> None:  # noqa: N802 Deadline's name
        del self.OnJobFinishedCallback

    def OnJobFinished(self, job: Any) -> None:  # noqa: N802 Deadline's name
        """Queue every output of a job that names an ftrack id. An error never fails the job."""
        try:
            code, line = self._enqueue(job)
        except Exception as error:  # noqa: BLE001 an event plug-in must not stop Deadline
            code, line = 3, f"farmhaul: nothing is queued: {type(error).__name__}: {error}"
        log = self.LogWarning if code else self.LogInfo
        log(line)

    def _enqueue(self, job: Any) -> tuple[int, str]:
        if os.name == "nt":
            folder = self.GetConfigEntryWithDefault("HookFolderWindows", FOLDER_WINDOWS)
        else:
            folder = self.GetConfigEntryWithDefault("HookFolder", FOLDER)
        hook = load(folder)
        # Somebody may have changed the frames of the job since it was submitted.
        job = RepositoryUtils.GetJob(job.JobId, True) or job  # noqa: FBT003 Deadline's signature
        lookup = job.GetJobExtraInfoKeyValue
        folders, names = job.JobOutputDirectories or (), job.JobOutputFileNames or ()
        paths, missing = hook.outputs([*folders], [*names])
        uploads = []
        for number, path in paths.items():
            # A job has the paths of the machine that submitted it.
            here = RepositoryUtils.CheckPathMapping(path)
            uploads.append(hook.upload(hook.sequence(here, job.JobFramesList), lookup, number))
        answer: tuple[int, str]
        try:
            each_frame = hook.flag(lookup("ftrack_each_frame"), "ftrack_each_frame")
        except ValueError as error:
            answer = hook.refuse(uploads, str(error))
            return answer
        if getattr(job, "JobTileJob", False):
            answer = hook.refuse(uploads, TILES) if any(uploads) else hook.enqueue([])
            return answer
        if each_frame and getattr(job, "JobPostTaskScript", "unknown"):
            return 0, "farmhaul: the frames of this job were queued one by one"
        answer = hook.enqueue(uploads)
        if missing and (any(uploads) or names_id(hook, lookup)):
            # A part of the job is not in ftrack, and nobody would look for it there.
            return max(answer[0], 2), f"{answer[1]}; not queued: {'; '.join(missing)}"
        if each_frame:
            return max(answer[0], 2), f"{answer[1]}; ftrack_each_frame needs a PostTaskScript"
        return answer


TILES = (
    "this job renders tiles, whose tasks are no frames; "
    "give the ftrack ids to the job that assembles them"
)


def names_id(hook: Any, lookup: Any) -> bool:
    """Return whether a job names an ftrack id for any of its outputs."""
    return any(hook.upload("", lookup, number) for number in ("", *range(10)))


def load(folder: str) -> Any:
    """Import farmhaul_hook from its file; Deadline's search path stays as it was."""
    file = Path(RepositoryUtils.CheckPathMapping(folder), "farmhaul-hook.pyz")
    if not file.exists():
        raise FileNotFoundError(f"{file} is not on this host")
    sys.path.insert(0, str(file))
    try:
        import farmhaul_hook  # noqa: PLC0415 it is in that file
    finally:
        sys.path.remove(str(file))
    return farmhaul_hook
