"""Deadline 10 event plug-in: queues the outputs of a finished job for ftrack."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, cast

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
        log(printable(line))

    def _enqueue(self, job: Any) -> tuple[int, str]:
        if os.name == "nt":
            folder = self.GetConfigEntryWithDefault("HookFolderWindows", FOLDER_WINDOWS)
        else:
            folder = self.GetConfigEntryWithDefault("HookFolder", FOLDER)
        hook = load(folder)
        job = self._as_it_is_now(job)
        lookup = job.GetJobExtraInfoKeyValue
        # A job has the paths of the machine that submitted it.
        outputs = (job.JobOutputDirectories, job.JobOutputFileNames)
        frames = list(job.JobFramesList or ())
        here = RepositoryUtils.CheckPathMapping
        uploads, faults = hook.job_uploads(*outputs, frames, lookup, here=here)
        try:
            each_frame = hook.flag(lookup("ftrack_each_frame"), "ftrack_each_frame")
        except ValueError as error:
            faults.append(str(error))
            return cast("tuple[int, str]", hook.refuse(uploads, "; ".join(faults)))
        if uploads and getattr(job, "JobTileJob", False):
            return cast("tuple[int, str]", hook.refuse(uploads, TILES))
        if each_frame and (uploads or faults):
            # A Deadline that does not tell has run the script, as far as one can know.
            script = str(getattr(job, "JobPostTaskScript", NAME) or "")
            if script.lower().endswith(NAME):
                # What has one path for all frames, such as a movie, is complete only now.
                first, _ = hook.job_uploads(*outputs, frames[:1], lookup, here=here)
                known = [upload["path"] for upload in first]
                whole = [upload for upload in uploads if upload["path"] in known and frames[1:]]
                if whole:
                    return cast("tuple[int, str]", hook.enqueue(whole))
                return 0, "farmhaul: the tasks of this job have queued their frames; see their logs"
            faults.append(f"its frames one by one: set PostTaskScript ({script!r}) to {NAME}")
        return cast("tuple[int, str]", hook.enqueue(uploads, faults))

    def _as_it_is_now(self, job: Any) -> Any:
        """Return the job with the frames that somebody may have changed since it was submitted."""
        try:
            return RepositoryUtils.GetJob(job.JobId, True) or job  # noqa: FBT003 Deadline's signature
        except Exception as error:  # noqa: BLE001 the job has frames without it
            self.LogWarning(f"farmhaul: frames that were changed may be missing: {error}")
            return job


TILES = (
    "this job renders tiles, whose tasks are no frames; "
    "give the ftrack ids to the job that assembles them"
)
NAME = "farmhaul_post_task.py"


def printable(text: str) -> str:
    """Return a text in ASCII on one line; what a job says may not print, or not in this log."""
    plain = (one if " " <= one <= "~" else ascii(one)[1:-1] for one in text)
    return "".join(plain)


def load(folder: str) -> Any:
    """Import farmhaul_hook from its file; Deadline's search path stays as it was."""
    file = Path(RepositoryUtils.CheckPathMapping(folder), "farmhaul-hook.pyz")
    if not file.exists():
        raise FileNotFoundError(
            f"{file} is not on this host; install it, or set its folder in Configure Events"
        )
    sys.path.insert(0, str(file))
    try:
        import farmhaul_hook  # noqa: PLC0415 it is in that file
    finally:
        sys.path.remove(str(file))
    return farmhaul_hook
