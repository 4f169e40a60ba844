"""Small files on local disk, on any system: new files, renames, locks."""

from __future__ import annotations

import errno
import os
import stat
import time

from tasks.transfer import durable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

WINDOWS = os.name == "nt"
#: On Windows, a virus scanner may hold a new file open for a moment.
TRIES = 5
TRY_AGAIN_S = 0.02

_BINARY = getattr(os, "O_BINARY", 0)  # else Windows changes line ends
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY
#: A FIFO must not hang us, and a link must not lead elsewhere. Windows lacks both flags.
SAFE = os.O_RDONLY | _BINARY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)


def write_new(folder: str, content: bytes, suffix: str, prefix: str = "") -> str:
    """Write a new file that only this user can read, and return its path. Names sort by time.

    Raises:
        OSError: the folder cannot be written.
    """
    name = f"{prefix}{int(time.time() * 1000)}-{os.urandom(6).hex()}{suffix}"
    path = os.path.join(folder, name)
    descriptor = os.open(path, NEW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError:
        os.unlink(path)  # the disk is full, and half a request is none
        raise
    return path


def move(source: str, target: str) -> None:
    """Rename a file over another, if there is one.

    Raises:
        OSError: the folder does not allow it.
    """
    _patiently(os.replace, source, target)


def remove(path: str) -> None:
    """Remove a file.

    Raises:
        OSError: the folder does not allow it.
    """
    _patiently(os.unlink, path)


def sync(path: str) -> None:
    """Wait until a file is on the disk.

    Raises:
        OSError: the disk does not take it.
    """
    _fsync(path, os.O_RDWR | _BINARY)  # Windows flushes only what is open for writing


def sync_folder(folder: str) -> None:
    """Wait until the names in a folder are on the disk; not every system can be asked for that.

    Raises:
        OSError: the disk does not take them.
    """
    if not WINDOWS:
        _fsync(folder, os.O_RDONLY)


def lock(folder: str, wait_s: float = 0.0) -> int | None:
    """Return a descriptor that holds the folder's lock until it is closed; None if another has it.

    Raises:
        OSError: the folder cannot be opened.
    """
    end = time.monotonic() + wait_s
    while True:
        held = _lock_now(folder)
        if held is not None or time.monotonic() >= end:
            return held
        time.sleep(TRY_AGAIN_S)


def names(folder: str) -> list[str]:
    """Return the names in a folder, sorted; none if it does not exist.

    Raises:
        OSError: the folder cannot be read.
    """
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def _patiently(call: Callable[..., object], *paths: str) -> None:
    for left in range(TRIES - 1, -1, -1):
        try:
            call(*paths)
        except PermissionError:
            if not WINDOWS or not left:
                raise
            time.sleep(TRY_AGAIN_S)
        else:
            return


def _fsync(path: str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        durable.sync(descriptor)
    finally:
        os.close(descriptor)


def _lock_now(folder: str) -> int | None:
    if WINDOWS:
        import msvcrt

        held = os.open(os.path.join(folder, ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            msvcrt.locking(held, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            os.close(held)
            return None
        return held
    import fcntl

    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # a FIFO would hang us
    if os.fstat(held).st_mode & stat.S_ISVTX:
        # Others may open a shared folder, and one of them could hold its lock for ever.
        own = _own_lock(folder)
        if own is None:
            return held
        os.close(held)
        held = own
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            os.close(held)
            return None
        # Some network file systems lock no folders. To send something twice does no harm.
    return held


def _own_lock(folder: str) -> int | None:
    """Return a file of this user's in a shared folder; None if something else has its name."""
    path = os.path.join(folder, f".lock-{os.geteuid()}")
    try:
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError:
        return None
    status = os.fstat(held)
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
        return held
    os.close(held)
    return None
