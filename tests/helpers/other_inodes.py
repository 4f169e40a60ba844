"""For a worker started with ``-I tests.helpers.other_inodes``: its node sees inodes of its own.

So it is with SMB and FUSE. The numbers of the mounts stay as they are: two nodes may number them
alike.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any
from zlib import crc32


def _with_own_inode(really: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
    def status_of(*args: Any, **options: Any) -> os.stat_result:
        status = really(*args, **options)
        inode = crc32(f"{socket.gethostname()} {status.st_ino}".encode())
        named = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
        return os.stat_result((status.st_mode, inode, *status[2:]), named)

    return status_of


for _name in ("stat", "lstat", "fstat"):
    setattr(os, _name, _with_own_inode(getattr(os, _name)))
