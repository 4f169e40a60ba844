"""Royal Render post script: queues the images of a finished job for ftrack."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import Any

#: The file on all clients.
HOOK = "/opt/farmhaul-hook/farmhaul-hook.pyz"
HOOK_WINDOWS = r"C:\Program Files\farmhaul-hook\farmhaul-hook.pyz"

sys.path.insert(0, HOOK_WINDOWS if os.name == "nt" else HOOK)


def job_of(job_id: int) -> Any:
    import rrGlobal  # noqa: PLC0415 only rrPythonconsole has it

    sys.path.append(rrGlobal.rrModPyrrPath())
    import libpyRR2  # noqa: PLC0415 as rrGlobal

    tcp = libpyRR2._rrTCP("")  # noqa: SLF001 its public name
    tcp.setServer(rrGlobal.rrServer(), 7773)
    tcp.setLogin("", "")
    if not tcp.jobList_GetSend(job_id):
        raise OSError(f"rrServer does not return job {job_id}: {tcp.errorMessage()}")
    job = tcp.jobs.getJobSend(job_id)
    tcp.jobs.setPathTargetOS(job.sceneOS)
    return job


def main() -> int:
    parser = ArgumentParser()
    parser.add_argument("-jid", type=int, required=True)
    try:
        import farmhaul_hook  # noqa: PLC0415 it may not be installed here

        job = job_of(parser.parse_args().jid)
        folder = job.imageDir.rstrip("/\\")
        marks = "#" * job.imageFramePadding
        frames = range(job.seqStart, job.seqEnd + 1, max(job.seqStep, 1))
        path = f"{folder}/{job.imageFileName}{marks}{job.imageExtension}"
        path = farmhaul_hook.sequence(path, frames)
        code, line = farmhaul_hook.enqueue([farmhaul_hook.upload(path, job.customData_Str)])
    except Exception as error:  # noqa: BLE001 one line in the log of the job, then a retry
        code, line = 3, f"farmhaul: nothing is queued: {type(error).__name__}: {error}"
    print(line)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
