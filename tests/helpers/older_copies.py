"""For a worker started with ``-I tests.helpers.older_copies``: each file is an hour older there.

So a mirror or a snapshot shows it. It is of the same size, as rendered frames are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

OLDER_NS = 3600 * 10**9


def _of_a_copy(really: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
    def status_of(*args: Any, **options: Any) -> os.stat_result:
        status = really(*args, **options)
        named = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
        named["st_mtime_ns"] = status.st_mtime_ns - OLDER_NS
        return os.stat_result(tuple(status), named)

    return status_of


for _name in ("stat", "fstat"):
    setattr(os, _name, _of_a_copy(getattr(os, _name)))
