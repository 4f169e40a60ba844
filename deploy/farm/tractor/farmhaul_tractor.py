"""Tractor 2: adds an upload to a job of tractor.api.author before it is submitted."""

from __future__ import annotations

import re
from typing import Any, Iterable  # noqa: UP035 Python 3.7

#: Python and the hook on all blades. -I: the environment of a manager may break another Python.
HOOK = ("/usr/bin/python3", "-I", "-S", "-X", "utf8", "/opt/farmhaul-hook/farmhaul-hook.pyz")
HOOK_WINDOWS = (
    r"C:\Program Files\Python312\python.exe",
    "-I",
    r"C:\Program Files\farmhaul-hook\farmhaul-hook.pyz",
)


def arguments(
    path: str, frames: Iterable[int] = (), *, windows: bool = False, **target: Any
) -> list[str]:
    """Return the argv that queues a file or a sequence.

    In the name of *path*, each # stands for a digit of the frame number, because Tractor would
    read %04d as one of its own codes. *windows* is for blades that run Windows. *target* are
    options of farmhaul enqueue, such as version_id.

    Raises:
        ValueError: there is no ftrack id; the job would render, and its upload be refused.
    """
    if not (target.get("component_id") or target.get("version_id")):
        raise ValueError(f"no ftrack id for {path}: give version_id or component_id")
    numbers = ",".join(str(frame) for frame in sorted(set(frames)))
    if numbers:
        # For farmhaul, a single # is four digits, and every @ is one.
        marks = re.sub(r"#+(?=[^#/\\]*$)", lambda mark: "@" * len(mark[0]), path)
        path = f"{marks} [{numbers}]"
    argv = [*(HOOK_WINDOWS if windows else HOOK), "enqueue", "--no-stat", path]
    for name, value in target.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            argv.append(option)
        elif isinstance(value, dict):
            for key, text in value.items():
                argv += [option, f"{key}={text}"]
        elif value:
            argv += [option, str(value)]
    return argv


def enqueue_after_task(task: Any, argv: list[str], service: str = "") -> Any:
    """Add a second Cmd, which runs on a blade when the first one has succeeded."""
    return task.newCommand(argv=argv, service=service)


def enqueue_after_job(job: Any, argv: list[str], service: str = "") -> Any:
    """Add a postscript, which runs once, when the whole job is done."""
    return job.newPostscript(argv=argv, when="done", service=service)
