"""Deadline 10 event plug-in: queues the outputs of a finished job for ftrack."""

from __future__ import annotations

import importlib.util
from typing import Any

from Deadline.Events import DeadlineEventListener
from Deadline.Scripting import RepositoryUtils


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
        hook = _load(self.GetConfigEntryWithDefault("HookFolder", "/opt/farmhaul/hook"))
        # Somebody may have changed the frames of the job since it was submitted.
        job = RepositoryUtils.GetJob(job.JobId, True) or job  # noqa: FBT003 Deadline's signature
        lookup = job.GetJobExtraInfoKeyValue
        if lookup("ftrack_each_frame"):
            return 0, "farmhaul: the frames of this job were queued one by one"
        outputs = zip(job.JobOutputDirectories, job.JobOutputFileNames)  # noqa: B905 Python 3.7
        uploads = []
        for number, (folder, name) in enumerate(outputs):
            # A job has the paths of the machine that submitted it.
            path = RepositoryUtils.CheckPathMapping(f"{folder.rstrip('/' + chr(92))}/{name}")
            uploads.append(hook.upload(hook.sequence(path, job.JobFramesList), lookup, number))
        answer: tuple[int, str] = hook.enqueue(uploads)
        return answer


def _load(folder: str) -> Any:
    # Loaded by its path, so that Deadline's own search path does not change.
    folder = RepositoryUtils.CheckPathMapping(folder)
    spec = importlib.util.spec_from_file_location("farmhaul_hook", f"{folder}/farmhaul_hook.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"no farmhaul_hook.py in {folder}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
