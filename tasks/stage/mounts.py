"""Mounts that do not answer: when several files hang, the others are not tried one by one.

Each try of a file that hangs occupies a process for most of a minute. A thread that was left behind
in a file, and still hangs, shows that the mount has not come back. One such file proves nothing:
others on the same mount may be on another disk of its server.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

MOUNTS = "/proc/self/mountinfo"
#: So many files of a mount hang, and none has answered since: the mount is gone.
HANG_TOGETHER = 3
#: After this time one file is tried again, in case that threads hang although the mount is back.
PROBE_S = 300.0


class Mounts:
    """What this process knows about mounts; nothing here touches them.

    ``hanging`` returns the paths in which threads of this process hang now.
    """

    def __init__(
        self,
        hanging: Callable[[], Iterable[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hanging = hanging
        self._clock = clock
        #: When a file of a mount last hung, and when it was last tried in spite of that.
        self._hung: dict[str, float] = {}
        self._tried: dict[str, float] = {}

    def dead(self, paths: Sequence[str]) -> dict[str, str]:
        """Return those of the paths that are on a mount which does not answer, with the mount."""
        if not self._hung:
            return {}
        mounts = _mount_points()
        hanging = [_mount_of(path, mounts) for path in self._hanging()]
        found: dict[str, str] = {}
        for path in paths:
            mount = _mount_of(path, mounts)
            # Below the root of all, a symlink may lead anywhere.
            is_dead = mount != "/" and mount in self._hung
            if is_dead and hanging.count(mount) >= HANG_TOGETHER and not self._is_probe(mount):
                found[path] = mount
        return found

    def note(self, hung: Mapping[str, bool]) -> None:
        """Note which of these paths hung, and which answered."""
        if not (self._hung or any(hung.values())):
            return
        mounts = _mount_points()
        for path in sorted(hung, key=lambda path: not hung[path]):  # what answered comes last
            mount = _mount_of(path, mounts)
            if hung[path]:
                self._hung[mount] = self._tried[mount] = self._clock()
            else:
                self._hung.pop(mount, None)

    def _is_probe(self, mount: str) -> bool:
        now = self._clock()
        if now - self._tried[mount] < PROBE_S:
            return False
        self._tried[mount] = now
        return True


def _mount_points() -> list[str]:
    """Return all mount points, the longest first; none where the system does not tell."""
    try:
        with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            rows = [line.split(" ")[4] for line in file]
    except (OSError, IndexError):
        return []
    unescaped = [re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), row) for row in rows]
    return sorted(unescaped, key=len, reverse=True)


def _mount_of(path: str, mounts: Sequence[str]) -> str:
    return next((mount for mount in mounts if f"{path}/".startswith(f"{mount}/")), "/")
