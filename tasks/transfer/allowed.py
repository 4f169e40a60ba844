"""Which files may be uploaded: regular files that are in the storage roots."""

from __future__ import annotations

import os
import stat

from tasks.transfer.errors import FileRefusedError
from tasks.transfer.hanging import HungError, look
from tasks.transfer.windows import ordinary
from tasks.transfer.windows import real_path as without_symlinks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = (
    (stat.S_ISDIR, "is a directory; name the files in it"),
    (stat.S_ISFIFO, "is a FIFO; only regular files can be uploaded"),
    (stat.S_ISSOCK, "is a socket; only regular files can be uploaded"),
    (stat.S_ISCHR, "is a device; only regular files can be uploaded"),
    (stat.S_ISBLK, "is a device; only regular files can be uploaded"),
)

#: Storage roots with all symlinks resolved, each of which is looked up once.
_real_roots: dict[str, str] = {}
#: Those whose lookup has begun. What has begun and not ended may hang.
_begun: set[str] = set()
#: A lookup takes milliseconds, unless its mount is slow or dead.
ROOT_S = 2.0


def check_kind(path: str, status: os.stat_result, *, allow_empty: bool) -> None:
    """Check that a file is regular, and not empty.

    Raises:
        FileRefusedError: it is not.
    """
    for is_kind, why in KINDS:
        if is_kind(status.st_mode):
            raise FileRefusedError(path, why)
    if not status.st_size and not allow_empty:
        raise FileRefusedError(path, "is empty, perhaps after a failed render", "empty")


def check_roots(path: str, real_path: str, roots: Sequence[str]) -> None:
    """Check that ``real_path``, which is ``path`` with all symlinks resolved, is in ``roots``.

    A real path has no symlinks, so a root that it begins with is not looked at. The mount of any
    root may hang: that holds up only files that are in no other root.

    Raises:
        FileRefusedError: it is outside of all of them.
    """
    if is_below(real_path, roots):
        return
    if not _is_below_resolved(real_path, roots):
        # A symlink may point to any bytes, but an error must fit into a line of a record.
        target = real_path if real_path.isprintable() else ascii(real_path)[1:-1]
        is_itself = _comparable(real_path) == _comparable(path)
        where = "is" if is_itself else f"leads to {target}, which is"
        listed = os.pathsep.join(roots) or "there are none"
        if any(mark in root for root in roots for mark in ",; "):
            listed += f", where {os.pathsep} separates folders"
        known = map(_composed, (*roots, *map(_resolved, roots)))
        if not real_path.isascii() and is_below(_composed(real_path), [*known]):
            listed += ": only the Unicode form of a name differs"
        raise FileRefusedError(
            path, f"{where} outside the storage roots ({listed})", "outside_roots"
        )


def _is_below_resolved(path: str, roots: Sequence[str]) -> bool:
    if any(_answers(root) and is_below(path, [_real_roots[root]]) for root in roots):
        return True
    # The path may be in a root that does not answer, so it waits for that.
    return any(is_below(path, [_resolved(root)]) for root in roots)


def _answers(root: str) -> bool:
    """Return whether a root is resolved. Only the first call for it waits."""
    if root not in _real_roots and root not in _begun:
        _begun.add(root)
        try:
            look(lambda: _resolved(root), ROOT_S)
        except HungError:
            return False
    return root in _real_roots


def _resolved(root: str) -> str:
    if root not in _real_roots:
        _real_roots[root] = without_symlinks(root)
    return _real_roots[root]


def is_below(path: str, folders: Sequence[str]) -> bool:
    """Return whether a path is one of the folders, or in one; nothing is looked up."""
    whole = _comparable(path)
    starts = (_comparable(folder).rstrip(os.sep) for folder in folders)
    return any(whole == start or whole.startswith(start + os.sep) for start in starts)


def _comparable(path: str) -> str:
    # Windows ignores case, and takes both slashes.
    return os.path.normcase(ordinary(path))


def _composed(path: str) -> str:
    from unicodedata import normalize

    return normalize("NFC", path)


def open_folder(path: str, roots: Sequence[str] | None = None) -> int:
    """Open a folder to fetch into, and return its descriptor.

    With ``roots``, the folder must be below one of them. The check follows the descriptor, so
    nobody can swap the folder between check and use.

    Raises:
        OSError: the path does not exist, or is not a folder.
        FileRefusedError: the folder, with all symlinks followed, is outside the roots.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if roots is not None:
        try:
            check_roots(path, os.readlink(f"/proc/self/fd/{folder}"), roots)
        except BaseException:
            os.close(folder)
            raise
    return folder
