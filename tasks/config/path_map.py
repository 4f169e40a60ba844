"""Paths of other systems, and how FARMHAUL_PATH_MAP maps them."""

from __future__ import annotations

import os
import posixpath

from tasks.transfer.allowed import check_roots
from tasks.transfer.errors import FileRefusedError
from tasks.transfer.windows import has_drive, is_posix_path, is_windows_path, ordinary, with_slashes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


def mapped(path: str, path_map: Iterable[tuple[str, str]]) -> str:
    """Return this system's path for a path of another system; the longest prefix wins.

    Safe to run twice: a path below one of the map's targets is already this system's. Hooks
    map the paths that they are given. Workers, which may have other mounts, map those in records.

    Args:
        path: a path of this or another system.
        path_map: prefixes of other systems, each with the folder it stands for on this one.
    """
    pairs = sorted(path_map, key=lambda pair: -len(pair[0]))
    for _, target in pairs:
        fold = _fold_of(target)
        if target != "/" and _below(fold(path), fold(target)):
            return path
    for source, target in pairs:
        fold = _fold_of(source)
        prefix, whole = fold(source).rstrip("/"), fold(path)
        if _below(whole, prefix):
            # Folding keeps the length, so the rest of the path can keep its case.
            rest = path[len(prefix) :]
            if fold is _windows:
                rest = rest.replace("\\", "/")
            # Not os.path.join, as a host of one system may map to the paths of another.
            return f"{target.rstrip('/')}/{rest.lstrip('/')}"
    return path


def absolute(path: str, path_map: Iterable[tuple[str, str]]) -> str:
    """Return the path for the record: mapped and absolute.

    Another system's path is left to the workers' maps, unless this host's map covers it.
    """
    here = mapped(ordinary(path), path_map)
    if os.sep == "\\":
        if is_posix_path(here):
            # Windows would put its current drive before it, and no worker could map that.
            return posixpath.normpath(here)
        here = ordinary(os.path.abspath(here))
    elif not is_windows_path(here):
        return os.path.abspath(here)
    return with_slashes(here)


def check_here(path: str, real_path: str, roots: Sequence[str], *, look: bool) -> None:
    """Check that a path is below the storage roots, as far as this host can know.

    Args:
        path: the path as it will be recorded.
        real_path: the same after all symlinks.
        roots: the storage roots.
        look: whether this host looks at the file.

    Raises:
        FileRefusedError: the path is outside, or another system must look at it.
    """
    on_windows = os.sep == "\\"
    is_foreign = is_posix_path(path) if on_windows else is_windows_path(path)
    if not is_foreign:
        if look or not on_windows:
            check_roots(path, real_path, roots)
    elif look:
        kind, what = ("Linux", "folder") if on_windows else ("Windows", "drive or share")
        raise FileRefusedError(
            path,
            f"is a {kind} path that FARMHAUL_PATH_MAP does not map here; add its {what}, "
            "or use --no-stat to let workers map it",
        )


def _below(path: str, folder: str) -> bool:
    folder = folder.rstrip("/")
    return path == folder or path.startswith(f"{folder}/")


def _fold_of(prefix: str) -> Callable[[str], str]:
    """Return how paths are made equal that a prefix of a map covers."""
    return _windows if has_drive(prefix) or prefix.startswith(("\\\\", "//")) else str


def _windows(path: str) -> str:
    # Windows accepts both slashes and ignores case. Only ASCII, because other letters may change
    # their length in lower case.
    return path.translate(_FOLDED)


_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FOLDED = str.maketrans(_UPPER + "\\", _UPPER.lower() + "/")
