"""Deadline 10 post-task script: queues the frames of a task as soon as it has finished.

For jobs with ftrack_each_frame=1 and a version id: each frame becomes a component of its own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path, PurePath
from typing import Any

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
    log(line)


def _enqueue(plugin: Any) -> tuple[int, str]:
    hook = _load()
    job = plugin.GetJob()
    lookup = job.GetJobExtraInfoKeyValue
    # The event plug-in keeps the outputs of a job whose flag is no flag.
    if not hook.flag(lookup("ftrack_each_frame"), "ftrack_each_frame"):
        return 0, "farmhaul: ftrack_each_frame is not set; the job is queued when it has finished"
    first, last = plugin.GetStartFrame(), plugin.GetEndFrame()
    frames = [frame for frame in job.JobFramesList if first <= frame <= last]
    folders, names = job.JobOutputDirectories or (), job.JobOutputFileNames or ()
    paths, missing = hook.outputs([*folders], [*names])
    uploads = []
    for number, place in paths.items():
        output = RepositoryUtils.CheckPathMapping(place)
        for frame in frames:
            upload = hook.upload(hook.sequence(output, [frame]), lookup, number)
            if upload.get("version_id"):
                # With the same name, all frames would be the same component.
                upload["name"] = PurePath(upload["path"].replace("\\", "/")).stem
                uploads.append(upload)
    if getattr(job, "JobTileJob", False):
        tiles = "this job renders tiles, whose tasks are no frames"
        refused: tuple[int, str] = hook.refuse(uploads, f"{tiles}; leave out ftrack_each_frame")
        return refused
    code, line = hook.enqueue(uploads)
    if missing:
        return max(code, 2), f"{line}; not queued: {'; '.join(missing)}"
    return code, line


def _load() -> Any:
    """Import farmhaul_hook from its file; Deadline's search path stays as it was."""
    folder = RepositoryUtils.CheckPathMapping(FOLDER_WINDOWS if os.name == "nt" else FOLDER)
    file = Path(folder, "farmhaul-hook.pyz")
    if not file.exists():
        raise FileNotFoundError(f"{file} is not on this host")
    sys.path.insert(0, str(file))
    try:
        import farmhaul_hook  # noqa: PLC0415 it is in that file
    finally:
        sys.path.remove(str(file))
    return farmhaul_hook
