"""Send what is in the spool: requests that hooks kept while Redis was unreachable."""

from __future__ import annotations

import os
import time

from tasks.intake import disk
from tasks.intake.envelope import EntryRefusedError
from tasks.intake.errors import BadInputError
from tasks.intake.spool import UnfitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tasks.intake.spool import Spool

    #: What to send of a file: bodies, the number of their uploads, and the lines of a manifest
    #: that are refused, each with the reason.
    Built = tuple[Sequence[bytes], int, Sequence[tuple[str, str]]]
    #: Gets the path of a file, its content and the time when it was written.
    Build = Callable[[str, bytes, float], Built]
    Push = Callable[[Sequence[bytes]], object]
    Say = Callable[[str, str], object]

#: What one command carries: enough for speed, little enough for a slow line.
BODIES_AT_ONCE = 50
BYTES_AT_ONCE = 1024 * 1024
#: Errors about a file whose text says what is wrong with it.
FIT_FOR_PEOPLE = (BadInputError, UnfitError, EntryRefusedError)


class NotNowError(Exception):
    """A file cannot be sent by this process; the text says why, and the file stays."""


def flush(
    spool: Spool,
    build: Build,
    push: Push,
    say: Say,
    *,
    limit: int | None = None,
    until: float | None = None,
    wait_s: float = 0.0,
) -> int:
    """Send what is waiting, remove its files, and return the number of uploads.

    Only one process at a time sends a spool. If another one does, nothing is left to do here.

    Args:
        spool: the folder.
        build: reads a file. If it raises an error other than NotNowError, the file is put aside.
        push: sends bodies. If it raises an error, files that are not sent stay.
        say: gets the path and the reason when a file is put aside or cannot be read.
        limit: the maximum number of files.
        until: start no file after this time (``time.monotonic``).
        wait_s: how long to wait for another process that sends the spool.

    Raises:
        OSError: the folder cannot be read, or it belongs to another user.
    """
    if not spool.waiting():  # the rule, so it is first
        return 0
    spool.check_owner()
    lock = disk.lock(spool.folder, wait_s)
    if lock is None:
        return 0
    try:
        count = 0
        parcel = _Parcel()
        for path in spool.waiting()[:limit]:
            if until is not None and time.monotonic() >= until:
                break
            parcel.add(path, _read(spool, path, build, say))
            if parcel.is_full:
                count += parcel.send(spool, push, say)
                parcel = _Parcel()
        return count + parcel.send(spool, push, say)
    finally:
        os.close(lock)


class _Parcel:
    """Files that one command sends."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.count = 0
        self.files: list[tuple[str, Sequence[tuple[str, str]]]] = []

    def add(self, path: str, built: Built) -> None:
        bodies, count, refused = built
        if bodies:
            self.bodies += bodies
            self.count += count
            self.files.append((path, refused))

    @property
    def is_full(self) -> bool:
        return len(self.bodies) >= BODIES_AT_ONCE or sum(map(len, self.bodies)) >= BYTES_AT_ONCE

    def send(self, spool: Spool, push: Push, say: Say) -> int:
        """Send the files, remove them, and return the number of their uploads."""
        if self.bodies:
            push(self.bodies)
        for path, refused in self.files:
            if refused:
                # The good uploads of a manifest are sent. Somebody has to fix the bad ones.
                lines = "".join(f"{line}\n" for line, _ in refused)
                bad = spool.keep_manifest(lines.encode("utf-8", "surrogateescape"), ".bad")
                say(path, f"put into {bad}: {'; '.join(reason for _, reason in refused)}")
            spool.discard([path])
        return self.count


def _read(spool: Spool, path: str, build: Build, say: Say) -> Built:
    """Return what to send of a file: nothing if it is put aside, or if it cannot be read."""
    try:
        return build(path, *spool.read(path))
    except FileNotFoundError:  # its hook has just finished with it
        return (), 0, ()
    except NotNowError as error:
        say(path, str(error))
        return (), 0, ()
    except Exception as error:  # noqa: BLE001 one bad file does not hold up the others
        reason = str(error) if isinstance(error, FIT_FOR_PEOPLE) else repr(error)
        if isinstance(error, OSError):
            reason = f"cannot be read: {error.strerror}"
        if not isinstance(error, OSError) or isinstance(error, PermissionError):
            try:
                spool.put_aside(path)
                reason = f"renamed to .bad: {reason}"
            except OSError as why:
                reason = f"{reason}; it cannot be renamed to .bad either: {why.strerror}"
    say(path, reason)
    return (), 0, ()
