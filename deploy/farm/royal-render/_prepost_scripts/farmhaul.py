"""Royal Render post script: queues the images of a finished job for ftrack."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import Any

#: The file on all clients.
HOOK = "/opt/farmhaul-hook/farmhaul-hook.pyz"
HOOK_WINDOWS = r"C:\Program Files\farmhaul-hook\farmhaul-hook.pyz"

HERE = HOOK_WINDOWS if os.name == "nt" else HOOK
sys.path.insert(0, HERE)


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
    job_id = parser.parse_args().jid
    try:
        import farmhaul_hook  # noqa: PLC0415 it may not be installed here
    except Exception as error:  # noqa: BLE001 one line in the log of the job
        print(f"farmhaul: job {job_id} is not queued: install {HERE} on this client: {error}")
        return 3
    try:
        job = job_of(job_id)
        name = f"{job.imageFileName}{'#' * job.imageFramePadding}{job.imageExtension}"
        frames = range(job.seqStart, job.seqEnd + 1, max(job.seqStep, 1))
        uploads, faults = farmhaul_hook.job_uploads(
            [job.imageDir], [name], frames, job.customData_Str
        )
        code, line = farmhaul_hook.enqueue(uploads, faults)
    except Exception as error:  # noqa: BLE001 as above
        code, line = 3, f"farmhaul: job {job_id} is not queued: {type(error).__name__}: {error}"
    print(printable(line))
    return int(code)


def printable(text: str) -> str:
    """Return a text in ASCII on one line; what a job says may not print, or not in this log."""
    plain = (one if " " <= one <= "~" else ascii(one)[1:-1] for one in text)
    return "".join(plain)


if __name__ == "__main__":
    sys.exit(main())
