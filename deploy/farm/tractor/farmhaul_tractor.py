"""Tractor 2: adds an upload to a job of tractor.api.author before it is submitted."""

from __future__ import annotations

from typing import Any, Iterable  # noqa: UP035 Python 3.7

#: Python and the hook on all blades. -I: the environment of a manager may break another Python.
HOOK = ("/usr/bin/python3", "-I", "-S", "-X", "utf8", "/opt/farmhaul-hook/farmhaul-hook.pyz")
HOOK_WINDOWS = (
    r"C:\Program Files\Python312\python.exe",
    "-I",
    r"C:\Program Files\farmhaul-hook\farmhaul-hook.pyz",
)

#: The longest path that farmhaul takes, in characters.
MAX_PATH = 4096


def arguments(
    path: str, frames: Iterable[int] = (), *, windows: bool = False, **target: Any
) -> list[str]:
    """Return the argv that queues a file or a sequence.

    In the name of *path*, each # stands for a digit of the frame number, because Tractor would
    read %04d as one of its own codes. *windows* is for blades that run Windows. *target* are
    options of farmhaul enqueue, such as version_id.

    Raises:
        ValueError: there is no ftrack id, or a frame that farmhaul refuses; the job would render,
            and its upload be refused.
    """
    if not any(map(target.get, ("component_id", "version_id", "context"))):
        raise ValueError(f"no ftrack id for {path}: give version_id, component_id or context")
    numbers = set(frames)
    if numbers:
        path = f"{_marked(path)} [{_ranges(numbers)}]"
        if min(numbers) < 0 or len(path) > MAX_PATH:
            raise ValueError(f"farmhaul refuses the frames of {path[:200]}: negative, or too many")
    argv = [*(HOOK_WINDOWS if windows else HOOK), "enqueue", "--no-stat"]
    for name, value in target.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            argv.append(option)
        elif isinstance(value, dict):
            for key, text in value.items():
                argv += [option, f"{key}={text}"]
        elif value:
            several = value if isinstance(value, (list, tuple)) else [value]
            argv += [word for one in several for word in (option, str(one))]
    return [*argv, "--", path]  # a path is never an option


def _marked(path: str) -> str:
    """Return a path with an @ for each # of the last ones; a single # would be four digits."""
    head, mark, tail = path.rpartition("#")
    start = head.rstrip("#")
    if not mark or "/" in tail or "\\" in tail:
        return path
    return f"{start}{'@' * (len(head) - len(start) + 1)}{tail}"


def _ranges(numbers: set[int]) -> str:
    """Return numbers as ranges: 1001-1100,1110."""
    firsts = sorted(number for number in numbers if number - 1 not in numbers)
    lasts = sorted(number for number in numbers if number + 1 not in numbers)
    pairs = zip(firsts, lasts)  # noqa: B905 Python 3.7
    return ",".join(f"{a}-{b}" if a != b else f"{a}" for a, b in pairs)


def enqueue_after_task(task: Any, argv: list[str], service: str = "") -> Any:
    """Add a second Cmd, which runs on a blade when the first one has succeeded."""
    return task.newCommand(argv=argv, service=service)


def enqueue_after_job(job: Any, argv: list[str], service: str = "") -> Any:
    """Add a postscript, which runs once, when the whole job is done."""
    return job.newPostscript(argv=argv, when="done", service=service)
