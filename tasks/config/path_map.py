"""Other systems' paths (FARMHAUL_PATH_MAP)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from tasks.transfer.errors import FileRefusedError
from tasks.transfer.files import check_roots

#: Paths of Windows: with a drive, or of a share (UNC).
WINDOWS = re.compile(r"[A-Za-z]:|\\\\|//")
#: What can be nothing else, so that no node of ours finds a file there.
FOREIGN = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def mapped(path: str, path_map: Iterable[tuple[str, str]]) -> str:
    """Turn another system's path into this one's (FARMHAUL_PATH_MAP); the longest prefix wins.

    Safe to run twice: what lies below one of the map's targets is this system's already. So hooks
    map the paths they are given, and workers, which may have other mounts, those in records.
    """
    pairs = sorted(path_map, key=lambda pair: -len(pair[0]))
    if any(target != "/" and _below(path, target) for _, target in pairs):
        return path
    for source, target in pairs:
        fold = _windows if WINDOWS.match(source) else str
        prefix, whole = fold(source).rstrip("/"), fold(path)
        if _below(whole, prefix):
            # As long as before folding, so that the rest keeps its case.
            rest = path[len(prefix) :]
            if fold is _windows:
                rest = rest.replace("\\", "/")
            return os.path.join(target, rest.lstrip("/"))
    return path


def absolute(path: str, path_map: Iterable[tuple[str, str]]) -> str:
    """Give the path as a record is to hold it: mapped, and whole.

    One of Windows that this node's map lacks is left to the workers' maps.
    """
    here = mapped(path, path_map)
    if FOREIGN.match(here):
        return here[:2] + here[2:].replace("\\", "/")
    return os.path.abspath(here)


def check_here(path: str, real_path: str, roots: Sequence[str], *, look: bool) -> None:
    """Raise FileRefusedError for a path outside the roots, as far as this node can tell."""
    if not FOREIGN.match(path):
        check_roots(path, real_path, roots)
    elif look:
        raise FileRefusedError(
            path,
            "is a path of Windows that FARMHAUL_PATH_MAP has nothing for here; add its drive or "
            "share, or leave it to the workers' maps with --no-stat",
        )


def _below(path: str, folder: str) -> bool:
    folder = folder.rstrip("/")
    return path == folder or path.startswith(f"{folder}/")


def _windows(path: str) -> str:
    # Windows takes both slashes, and capitals for small letters; ASCII alone keeps its length.
    return re.sub("[A-Z]", lambda match: match[0].lower(), path.replace("\\", "/"))
