"""Files as they are on disk: which may be sent, and whether they are still the same."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tasks.transfer.errors import (
    FileChangedError,
    FileNotReadyError,
    FileRefusedError,
    UploadError,
)
from tasks.transfer.models import FileIdentity

KINDS = (
    (stat.S_ISDIR, "is a directory; name the files in it"),
    (stat.S_ISFIFO, "is a FIFO; only regular files can be uploaded"),
    (stat.S_ISSOCK, "is a socket; only regular files can be uploaded"),
    (stat.S_ISCHR, "is a device; only regular files can be uploaded"),
    (stat.S_ISBLK, "is a device; only regular files can be uploaded"),
)


def identity_of(status: os.stat_result) -> FileIdentity:
    """Take from a stat what tells one state of a file from another."""
    return FileIdentity(status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)


def check_kind(path: str, status: os.stat_result, *, allow_empty: bool) -> None:
    """Raise FileRefusedError for what is not a regular file, or is empty."""
    for is_kind, why in KINDS:
        if is_kind(status.st_mode):
            raise FileRefusedError(path, why)
    if not status.st_size and not allow_empty:
        raise FileRefusedError(
            path, "is empty, as a failed render leaves it; --allow-empty sends it all the same"
        )


def check_roots(path: str, real_path: str, roots: Sequence[str]) -> None:
    """Raise FileRefusedError unless ``real_path`` lies below one of ``roots``.

    ``real_path`` is ``path`` after all symlinks; ``roots`` are real paths as well.
    """
    if not any(Path(real_path).is_relative_to(root) for root in roots):
        # A symlink may lead to any bytes; what is said of it has to fit into a record.
        shown = real_path.encode(errors="backslashreplace").decode()
        raise FileRefusedError(
            path,
            f"{'is' if real_path == path else f'leads to {shown}, which is'} "
            f"outside FARMHAUL_STORAGE_ROOTS ({os.pathsep.join(roots) or 'not set'}); "
            "move it there, or add its folder",
        )


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Translate what the system says of a file; a stale NFS handle is no fault of the store's."""
    try:
        yield
    except IsADirectoryError:
        raise FileRefusedError(path, "is a directory; name the files in it") from None
    except OSError as error:
        raise FileNotReadyError(path, error.strerror or str(error)) from None


def open_checked(path: str, roots: Sequence[str], *, allow_empty: bool = False) -> BinaryIO:
    """Open a file that may be uploaded.

    All is checked on the open descriptor, so that nobody can swap the file between
    check and use.

    Raises:
        FileNotReadyError: it is not there, not readable or empty, which may pass: NFS shows
            a file late, and who overwrites one empties it first.
        FileRefusedError: not a regular file, or outside the roots.
    """
    with reading(path):
        # O_NONBLOCK: opening a FIFO must not wait for a writer.
        file = open(path, "rb", buffering=0, opener=_open_nonblocking)  # noqa: SIM115 handed on
    try:
        status = os.fstat(file.fileno())
        check_kind(path, status, allow_empty=True)
        check_roots(path, _real_path(file, path), roots)
        if not status.st_size and not allow_empty:
            raise FileNotReadyError(path, "it is empty (--allow-empty sends it all the same)")
    except UploadError:
        file.close()
        raise
    return file


def require_unchanged(file: BinaryIO, path: str, known: FileIdentity) -> None:
    """Raise FileChangedError unless descriptor *and* path still are what is ``known``.

    The path too, because a renderer often writes a new file and renames it over.
    """
    with reading(path):
        statuses = [os.fstat(file.fileno())]
        with suppress(FileNotFoundError):  # removed after it was opened: the bytes are still ours
            statuses.append(os.stat(path))
    for status in statuses:
        if identity_of(status) != known:
            raise FileChangedError(path, known.difference(identity_of(status)))


def _open_nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _real_path(file: BinaryIO, path: str) -> str:
    # Only Linux tells the path of a descriptor; elsewhere the path is resolved again.
    with suppress(OSError):
        return os.readlink(f"/proc/self/fd/{file.fileno()}")
    return os.path.realpath(path)
