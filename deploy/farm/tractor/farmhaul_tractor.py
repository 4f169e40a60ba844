"""Tractor 2: adds an upload to a job of tractor.api.author before it is submitted."""

from __future__ import annotations

from typing import Any, Iterable  # noqa: UP035 Python 3.7

#: The path on all blades.
HOOK = "/opt/farmhaul/hook/farmhaul-hook"


def arguments(path: str, frames: Iterable[int] = (), **target: Any) -> list[str]:
    """Return the argv that queues a file or a sequence.

    In *path*, each # stands for a digit of the frame number, because Tractor would read %04d as
    one of its own codes. *target* are options of farmhaul enqueue, such as version_id.
    """
    numbers = ",".join(str(frame) for frame in sorted(set(frames)))
    # For farmhaul, a single # is four digits, and every @ is one.
    argv = [HOOK, f"{path.replace('#', '@')} [{numbers}]" if numbers else path]
    for name, value in target.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            argv.append(option)
        elif value:
            argv += [option, str(value)]
    return argv


def enqueue_after_task(task: Any, argv: list[str], service: str = "") -> Any:
    """Add a second Cmd, which runs on a blade when the first one has succeeded."""
    return task.newCommand(argv=argv, service=service)


def enqueue_after_job(job: Any, argv: list[str], service: str = "") -> Any:
    """Add a postscript, which runs once, when the whole job is done."""
    return job.newPostscript(argv=argv, when="done", service=service)
