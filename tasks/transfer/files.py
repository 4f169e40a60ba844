"""Opening files to upload, and whether they are still the same."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO
from zlib import crc32

from tasks.transfer.allowed import check_kind, check_roots
from tasks.transfer.asked import difference
from tasks.transfer.errors import (
    FileChangedError,
    FileFault,
    FileNotReadyError,
    FileRefusedError,
    UploadError,
)
from tasks.transfer.models import AskedFor, FileIdentity
from tasks.transfer.unicode_forms import in_other_form
from tasks.transfer.windows import is_windows_path

#: Of a file of which nobody knows how it was.
NOT_ASKED = AskedFor()


def identity_of(status: os.stat_result) -> FileIdentity:
    """Return what identifies the version of a file, taken from its stat."""
    # Nodes number their mounts themselves, so two of them may use one number.
    device = crc32(f"{socket.gethostname()} {status.st_dev}".encode())
    return FileIdentity(status.st_size, status.st_mtime_ns, status.st_ino, device)


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Translate the system's errors, so that a stale NFS handle is not taken for an outage.

    Raises:
        FileRefusedError: the path is a directory.
        FileNotReadyError: the system reports any other error.
    """
    try:
        yield
    except IsADirectoryError:
        raise FileRefusedError(path, "is a directory; name the files in it") from None
    except OSError as error:
        # Workers run on Linux: what is mapped by then is no path of Windows any more.
        fault: FileFault = "unmapped" if is_windows_path(path) else ""
        raise FileNotReadyError(path, error.strerror or str(error), fault) from None


def open_checked(path: str, roots: Sequence[str], *, allow_empty: bool = False) -> BinaryIO:
    """Open a file that may be uploaded.

    Everything is checked on the open descriptor, so that nobody can swap the file between
    check and use.

    Raises:
        FileNotReadyError: it is not there, not readable, or empty. This may pass: NFS shows a
            new file late, and a program that overwrites a file empties it first.
        FileRefusedError: it is not a regular file, or it is outside the roots.
    """
    with reading(path), other_form_named(path):
        # O_NONBLOCK: opening a FIFO must not wait for a writer.
        file = open(path, "rb", buffering=0, opener=_open_nonblocking)  # noqa: SIM115 returned
    try:
        status = os.fstat(file.fileno())
        check_kind(path, status, allow_empty=True)
        check_roots(path, _real_path(file, path), roots)
        if not status.st_size and not allow_empty:
            raise FileNotReadyError(path, "it is empty", "empty")
    except UploadError:
        file.close()
        raise
    return file


@contextmanager
def other_form_named(path: str) -> Iterator[None]:
    """Report a name that is on disk in another Unicode form: waiting for it would not help.

    Raises:
        FileNotReadyError: it is.
    """
    try:
        yield
    except FileNotFoundError:
        found = "" if path.isascii() else in_other_form(path)
        if found in {"", path}:  # it has come meanwhile
            raise
        why = f"only the Unicode form of a name differs; on disk it is {found!a}"
        raise FileNotReadyError(path, why) from None


def require_unchanged(
    file: BinaryIO, path: str, known: FileIdentity, asked: AskedFor = NOT_ASKED
) -> None:
    """Check that the descriptor has the ``known`` identity, *and* that the path is the same file.

    The path is checked too, because a renderer often writes a new file and renames it over. If the
    known file is the one that was *asked* for, this node alone may see another one.

    Raises:
        FileChangedError: one of them has another identity.
    """
    with reading(path):
        opened = at_path = identity_of(os.fstat(file.fileno()))
        with suppress(FileNotFoundError):  # removed since, but its bytes can be read
            at_path = identity_of(os.stat(path))
    if what := known.difference(opened) or opened.difference(at_path):
        is_here = not difference(asked, known) and bool(difference(asked, opened))
        raise FileChangedError(path, what, is_here)


def _open_nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _real_path(file: BinaryIO, path: str) -> str:
    # Only Linux has the path of a descriptor; other systems resolve the path again.
    with suppress(OSError):
        return os.readlink(f"/proc/self/fd/{file.fileno()}")
    return os.path.realpath(path)
