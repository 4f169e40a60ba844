"""Tractor 2: adds the upload to a job that tractor.api.author makes, when it is submitted."""

from __future__ import annotations

from typing import Any, Iterable  # noqa: UP035 Python 3.7

#: On all blades.
HOOK = "/opt/farmhaul/hook/farmhaul-hook"


def arguments(path: str, frames: Iterable[int] = (), **target: Any) -> list[str]:
    """Give the argv that queues a file or a sequence; *target* are options of farmhaul enqueue.

    In *path* # stands for each digit of the frame: Tractor reads %04d as one of its own %-codes.
    """
    numbers = ",".join(str(frame) for frame in sorted(set(frames)))
    # A lone # has four digits for farmhaul, and @ always has one.
    argv = [HOOK, f"{path.replace('#', '@')} [{numbers}]" if numbers else path]
    for name, value in target.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            argv.append(option)
        elif value:
            argv += [option, str(value)]
    return argv


def enqueue_after_task(task: Any, argv: list[str], service: str = "") -> Any:
    """Add a second Cmd: it runs on a blade when the first one has ended with 0."""
    return task.newCommand(argv=argv, service=service)


def enqueue_after_job(job: Any, argv: list[str], service: str = "") -> Any:
    """Add a postscript: it runs once, when the whole job is done."""
    return job.newPostscript(argv=argv, when="done", service=service)
