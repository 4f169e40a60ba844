"""Deadline 10 post-task script: queues the frames of a task as soon as it has finished.

For jobs with ftrack_each_frame=1 and a version id: each frame becomes a component of its own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, cast

from Deadline.Scripting import RepositoryUtils

#: The folder of farmhaul-hook.pyz on all Workers.
FOLDER = "/opt/farmhaul-hook"
FOLDER_WINDOWS = r"C:\Program Files\farmhaul-hook"


def __main__(*args: Any) -> None:  # noqa: N807 Deadline's name
    plugin = args[0]
    # An exception here would fail a task whose render has succeeded.
    try:
        code, line = _enqueue(plugin)
    except Exception as error:  # noqa: BLE001
        code, line = 3, f"farmhaul: nothing is queued: {type(error).__name__}: {error}"
    log = plugin.LogWarning if code else plugin.LogInfo
    log(printable(line))


def _enqueue(plugin: Any) -> tuple[int, str]:
    hook = _load()
    job = plugin.GetJob()
    lookup = job.GetJobExtraInfoKeyValue
    # The event plug-in keeps the outputs of a job whose flag is no flag.
    if not hook.flag(lookup("ftrack_each_frame"), "ftrack_each_frame"):
        return 0, "farmhaul: ftrack_each_frame is not set; the job is queued when it has finished"
    uploads, faults = hook.job_uploads(
        job.JobOutputDirectories,
        job.JobOutputFileNames,
        frames_of(plugin, job),
        lookup,
        here=RepositoryUtils.CheckPathMapping,
        each_frame=True,
    )
    # A movie of several frames is complete when the job is; the event plug-in queues it.
    frames = list(job.JobFramesList or ())
    if len(frames) > 1:
        names = (job.JobOutputDirectories, job.JobOutputFileNames)
        of_job, _ = hook.job_uploads(*names, frames, lookup, here=RepositoryUtils.CheckPathMapping)
        whole = [upload["path"] for upload in of_job]
        uploads = [upload for upload in uploads if upload["path"] not in whole]
    reasons = [NO_FRAMES] if getattr(job, "JobTileJob", False) else []
    for upload in uploads:
        upload.pop("name", None)  # all frames would be the same component
        if "component_id" in upload:
            reasons.append("frames need ftrack_version_id, because each is a component of its own")
        if "publish" in upload:
            reasons.append("each frame would replace the publish; leave out ftrack_publish")
    if reasons and uploads:
        reason = "; ".join([*dict.fromkeys(reasons), *faults])
        return cast("tuple[int, str]", hook.refuse(uploads, reason))
    return cast("tuple[int, str]", hook.enqueue(uploads, faults))


NO_FRAMES = "this job renders tiles, whose tasks are no frames; leave out ftrack_each_frame"


def frames_of(plugin: Any, job: Any) -> list[int]:
    """Return the frames of a task. The list of a job tells which of its range are left out."""
    first, last = sorted([plugin.GetStartFrame(), plugin.GetEndFrame()])
    of_job = [frame for frame in job.JobFramesList or () if first <= frame <= last]
    return of_job or [*range(first, last + 1)]


def printable(text: str) -> str:
    """Return a text in ASCII on one line; what a job says may not print, or not in this log."""
    plain = (one if " " <= one <= "~" else ascii(one)[1:-1] for one in text)
    return "".join(plain)


def _load() -> Any:
    """Import farmhaul_hook from its file; Deadline's search path stays as it was."""
    folder = RepositoryUtils.CheckPathMapping(FOLDER_WINDOWS if os.name == "nt" else FOLDER)
    file = Path(folder, "farmhaul-hook.pyz")
    if not file.exists():
        raise FileNotFoundError(f"{file} is not on this host; install it, or change FOLDER")
    sys.path.insert(0, str(file))
    try:
        import farmhaul_hook  # noqa: PLC0415 it is in that file
    finally:
        sys.path.remove(str(file))
    return farmhaul_hook
