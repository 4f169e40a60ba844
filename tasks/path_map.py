"""Other systems' paths (FARMHAUL_PATH_MAP)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

#: Paths of Windows: with a drive, or of a share (UNC).
WINDOWS = re.compile(r"[A-Za-z]:|\\\\|//")


def mapped(path: str, path_map: Iterable[tuple[str, str]]) -> str:
    """Turn another system's path into this one's (FARMHAUL_PATH_MAP); the longest prefix wins."""
    for source, target in sorted(path_map, key=lambda pair: -len(pair[0])):
        fold = _windows if WINDOWS.match(source) else str
        prefix, whole = fold(source).rstrip("/"), fold(path)
        if whole.startswith(f"{prefix}/") or whole == prefix:
            # As long as before folding, so that the rest keeps its case.
            rest = path[len(prefix) :]
            if fold is _windows:
                rest = rest.replace("\\", "/")
            return os.path.join(target, rest.lstrip("/"))
    return path


def _windows(path: str) -> str:
    # Windows takes both slashes, and capitals for small letters; ASCII alone keeps its length.
    return re.sub("[A-Z]", lambda match: match[0].lower(), path.replace("\\", "/"))
