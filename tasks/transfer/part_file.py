"""The hidden file for what arrives of a download: whose it is, who may continue it, and of what.

It lies next to the target, so that a rename makes it the target.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from typing import Self

#: What takes no longer is not worth a note of its ETag: after a kill it is fetched from the start.
NOTE_AFTER_S = 1.0

#: Nobody fetches what has not grown for so long, whoever holds its lock: a fetch that stalls ends
#: within a minute. If it only waits for its turn, the file is fetched twice, which is harmless.
SILENT_S = 600.0

#: How often a file that another holder has just renamed may be met. Some file systems of FUSE and
#: SMB tell another inode for a name than for the open file: there it would never end.
MOST_TRIES = 5


class BeingFetchedError(Exception):
    """Another process or thread is fetching the same component into the same folder."""


def part_name_of(component_id: str) -> str:
    """Return the name of what has arrived of a file so far."""
    return f".{component_id}.part"


@contextmanager
def locked_part(folder: int, component_id: str) -> Iterator[tuple[FileIO, str]]:
    """Yield the file for what arrives, which is this caller's alone, and its name."""
    name, is_held = part_name_of(component_id), False
    for _ in range(MOST_TRIES):
        if _is_of_another_user(name, folder):
            break
        with _opened(name, folder) as part:
            if not _is_trusted(os.fstat(part.fileno()), folder):
                break
            try:
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                # To lock a file, it is enough to be able to read it.
                is_held = time.time() - os.fstat(part.fileno()).st_mtime >= SILENT_S
                if not is_held:
                    raise BeingFetchedError from None
                break
            except OSError:  # some file systems lock no files, and say so in many ways
                break
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue  # the previous holder of the lock has renamed the file to its target
            if os.path.samestat(status, os.fstat(part.fileno())):
                with suppress(OSError):  # a part of yesterday is being fetched from now on
                    os.utime(part.fileno())
                yield part, name
                return
    # Without its lock, each caller has a file of its own, which nobody continues.
    if not is_held:
        with suppress(OSError):  # in a sticky folder, that of another user stays
            os.unlink(name, dir_fd=folder)
    own_name = f"{name}-{os.urandom(4).hex()}"
    try:
        with _opened(own_name, folder) as part:
            yield part, own_name
    finally:
        with suppress(FileNotFoundError):  # it has become the file
            os.unlink(own_name, dir_fd=folder)


def _is_of_another_user(name: str, folder: int) -> bool:
    try:
        return not _is_trusted(os.stat(name, dir_fd=folder, follow_symlinks=False), folder)
    except OSError:
        return False


def _is_trusted(status: os.stat_result, folder: int) -> bool:
    """Return whether nobody can hold the file's lock for ever, or change its bytes.

    The owner of the folder could do so anyway. On a mount that gives all files to one user, that
    is the owner. A file with another name is somebody's hard link to our file.
    """
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        return False
    return status.st_uid in {os.geteuid(), os.fstat(folder).st_uid}


def _opened(name: str, folder: int) -> FileIO:
    # O_NONBLOCK: a FIFO must not hang us.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    descriptor = os.open(name, flags, 0o666, dir_fd=folder)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        why = "is in the way: it is not a file, or the file has another name too (a hard link)"
        raise FileExistsError(errno.EEXIST, f"{name} {why}")
    return os.fdopen(descriptor, "r+b", buffering=0)


class EtagNote:
    """The ETag of what a part is of, in a file next to it. A file that comes fast needs none.

    Inside a ``with``, it is written before an error leaves.
    """

    def __init__(self, component_id: str, folder: int) -> None:
        self._name = f".{component_id}.etag"
        self._folder = folder
        self._etag = ""
        self._due = math.inf

    def read(self) -> str:
        # Without it, the file is fetched from the start.
        with suppress(OSError), _opened(self._name, self._folder) as file:
            return file.read(1000).decode("latin-1")
        return ""

    def remove(self) -> None:
        """Remove it, if it can be."""
        with suppress(OSError):  # it is gone, or something is in its way
            os.unlink(self._name, dir_fd=self._folder)

    def begin(self, etag: str) -> None:
        """Note later that the part is of this ETag; at once if there is an older note."""
        self._etag = etag
        self._due = time.monotonic() + NOTE_AFTER_S
        with suppress(OSError):
            os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)
            self._write()

    def write_if_due(self) -> None:
        if time.monotonic() > self._due:
            self._write()

    def _write(self) -> None:
        self._due = math.inf
        # An old one does no harm: If-Range compares it.
        with suppress(OSError), _opened(self._name, self._folder) as file:
            file.truncate()
            file.write(self._etag.encode("latin-1", "replace"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind and self._due < math.inf:
            self._write()
