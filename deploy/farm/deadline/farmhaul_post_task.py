"""Deadline 10 post-task script: queues the frames of a task as soon as it has finished.

For jobs with ftrack_each_frame=1 and a version id: each frame becomes a component of its own.
"""

from __future__ import annotations

import importlib.util
from pathlib import PurePath
from typing import Any

from Deadline.Scripting import RepositoryUtils

#: The folder of farmhaul_hook.py on all Workers.
HOOK_FOLDER = "/opt/farmhaul/hook"


def __main__(*args: Any) -> None:  # noqa: N807 Deadline's name
    plugin = args[0]
    # An exception here would fail a task whose render has succeeded.
    try:
        line = _enqueue(plugin)
    except Exception as error:  # noqa: BLE001
        line = f"farmhaul: nothing is queued: {type(error).__name__}: {error}"
    plugin.LogInfo(line)


def _enqueue(plugin: Any) -> str:
    folder = RepositoryUtils.CheckPathMapping(HOOK_FOLDER)
    spec = importlib.util.spec_from_file_location("farmhaul_hook", f"{folder}/farmhaul_hook.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"no farmhaul_hook.py in {folder}")
    hook: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)

    job = plugin.GetJob()
    first, last = plugin.GetStartFrame(), plugin.GetEndFrame()
    frames = [frame for frame in job.JobFramesList if first <= frame <= last]
    outputs = zip(job.JobOutputDirectories, job.JobOutputFileNames)  # noqa: B905 Python 3.7
    uploads = []
    for number, (place, name) in enumerate(outputs):
        output = RepositoryUtils.CheckPathMapping(f"{place.rstrip('/' + chr(92))}/{name}")
        for frame in frames:
            path = hook.sequence(output, [frame])
            upload = hook.upload(path, job.GetJobExtraInfoKeyValue, number)
            if upload.get("version_id"):
                # With the same name, all frames would be the same component.
                upload["name"] = PurePath(path.replace("\\", "/")).stem
                uploads.append(upload)
    line: str = hook.enqueue(uploads)[1]
    return line
