"""HQueue: a job that queues what its children have rendered."""

from __future__ import annotations

import shlex
from typing import Any, Sequence  # noqa: UP035 Python 3.7

#: On all clients.
HOOK = "/opt/farmhaul/hook/farmhaul-hook"


def with_upload(
    children: Sequence[dict[str, Any]], *uploads: Sequence[str], name: str = "ftrack"
) -> dict[str, Any]:
    """Make the spec of a parent; HQueue runs its command when all children have succeeded.

    Each of *uploads* are the arguments of one farmhaul enqueue, as in
    ["/mnt/prod/f.%04d.exr [1001-1240]", "--version-id", "9f1d…", "--name", "main"].
    """
    commands = [" ".join(shlex.quote(word) for word in (HOOK, *upload)) for upload in uploads]
    return {
        "name": name,
        "shell": "bash",
        "command": " && ".join(commands),
        "triesLeft": 3,
        "children": list(children),
    }
