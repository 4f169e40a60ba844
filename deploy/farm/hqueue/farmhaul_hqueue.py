"""HQueue: a job that queues the files that its children have rendered."""

from __future__ import annotations

import shlex
from typing import Any, Sequence  # noqa: UP035 Python 3.7

#: Python and the hook on all clients. -I: the environment of a manager may break another Python.
HOOK = ("/usr/bin/python3", "-I", "-S", "-X", "utf8", "/opt/farmhaul-hook/farmhaul-hook.pyz")

#: Where an upload goes; a manifest has it in its lines.
TARGETS = {"--version-id", "--component-id", "--context", "--manifest"}


def with_upload(
    children: Sequence[dict[str, Any]], *uploads: Sequence[str], name: str = "ftrack"
) -> dict[str, Any]:
    """Return the spec of a parent job; HQueue runs it when all children have succeeded.

    Each of *uploads* is a list of arguments for farmhaul enqueue, such as
    ["/mnt/prod/f.%04d.exr [1001-1240]", "--version-id", "9f1d…", "--name", "main"].

    Raises:
        TypeError: an upload is a text.
        ValueError: there is no upload, or one that farmhaul would refuse after the render.
    """
    if not uploads:
        raise ValueError("write what to upload; without it, submit the children alone")
    for upload in uploads:
        if isinstance(upload, str):
            raise TypeError(f"{upload!r} is one text: write its words as a list")
        if not {word.partition("=")[0] for word in upload} & TARGETS:
            raise ValueError(f"no ftrack id for {list(upload)}: give one of {sorted(TARGETS)}")
    commands = [
        " ".join(shlex.quote(word) for word in (*HOOK, "enqueue", "--no-stat", *upload))
        for upload in uploads
    ]
    return {
        "name": name,
        "shell": "bash",
        # One that is refused does not hold up the others, and the job fails nevertheless.
        "command": "; ".join(["code=0", *(f"{one} || code=$?" for one in commands), "exit $code"]),
        "triesLeft": 3,
        "children": list(children),
    }
