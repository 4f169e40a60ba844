"""Requests on local disk until Redis has them (FARMHAUL_SPOOL).

    NAME.json               a body of an envelope, unsigned: it is signed when it is sent
    manifests/NAME.jsonl    a manifest that a hook could not check, or that somebody else wrote
    NAME.jsonl              the same in a shared spool, if manifests is another user's or root's
    ….json.new, ….jsonl.new a hook works on it, or was killed
    ….bad                   refused: somebody has to look at it

Any number of hooks may write at once. Sending a request twice is harmless: it is the same upload.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from tasks.intake import disk
from tasks.transfer.hanging import HungError, look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: A hook finishes with its file within 2 s; a hook that was killed leaves an older one.
IN_FLIGHT_S = 10.0
#: A hook does not wait longer for the file system of the spool: it must return within 2 s.
ANSWERS_WITHIN_S = 1.0
#: A larger file is not from a hook.
MAX_BYTES = 64 * 1024 * 1024


class UnfitError(Exception):
    """A file in the spool is not a request of this user's; the text says why."""


class Spool:
    """A folder of requests. Only its owner can use it, because paths may be secret."""

    def __init__(self, folder: str) -> None:
        self.folder = _without_end(folder)
        self.manifests = os.path.join(self.folder, "manifests")

    def keep(self, body: bytes) -> str:
        """Write a body, and return its path.

        If this process is killed then, the body is sent later. Call ``settle`` to make sure of
        that even if the host fails.

        Raises:
            OSError: the folder cannot be written, or does not answer.
        """
        return _in_time(lambda: disk.write_new(self._own(self.folder), body, ".json.new"))

    def keep_manifest(self, lines: bytes, suffix: str = ".jsonl.new") -> str:
        """Write a manifest as ``keep`` does; with the suffix ``.bad``, it is not sent.

        Raises:
            OSError: the folder cannot be written, or does not answer.
        """
        return _in_time(lambda: self._write_manifest(lines, suffix))

    def _write_manifest(self, lines: bytes, suffix: str) -> str:
        folder = self._own(self.folder)
        is_shared = _is_sticky(folder)
        # Root may have linked it to a folder of this user's, which stays as open as it is.
        if is_shared and os.path.islink(self.manifests):
            return disk.write_new(folder, lines, suffix)
        try:
            manifests = self._own(self.manifests)
            status = os.lstat(manifests)
            # In a shared folder, another user may have put anything there under that name.
            if not is_shared or (stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()):
                return disk.write_new(manifests, lines, suffix)
        except OSError:
            if not is_shared:
                raise
        return disk.write_new(folder, lines, suffix)

    def settle(self, paths: Iterable[str]) -> list[str]:
        """Wait until kept files are on the disk, let others send them, and return their new paths.

        Raises:
            OSError: the disk does not take them.
        """
        settled = []
        for path in paths:
            settled.append(os.path.splitext(path)[0])
            try:
                disk.sync(path)
                disk.move(path, settled[-1])
            except FileNotFoundError:
                # This hook was stopped for a while, and another process has sent what it left.
                if not os.path.isdir(os.path.dirname(path)):
                    raise
        for folder in {os.path.dirname(path) for path in settled}:
            disk.sync_folder(folder)
        return settled

    def discard(self, paths: Iterable[str]) -> None:
        """Remove files that were sent. One that cannot be removed is sent again, harmlessly."""
        for path in paths:
            try:
                disk.remove(path)
            except OSError:
                continue

    def put_aside(self, path: str) -> str:
        """Rename a file to ``.bad``, and return its new path.

        Raises:
            OSError: the folder does not allow it.
        """
        folder, name = os.path.split(path)
        stem = os.path.join(folder, name.split(".", 1)[0] or "spool")
        bad = f"{stem}.bad"
        if os.path.lexists(bad):
            bad = f"{stem}-{os.urandom(3).hex()}.bad"
        disk.move(path, bad)
        return bad

    def waiting(self) -> list[str]:
        """Return the files to send, oldest first: those that are settled, and those left behind.

        Raises:
            OSError: the folder cannot be read.
        """
        names = self._names()
        places = [(self.folder, names, ".json"), (self.folder, names, ".jsonl")]
        places.append((self.manifests, self._names_of_manifests(), ".jsonl"))
        found = [
            os.path.join(folder, name)
            for folder, names, suffix in places
            for name in names
            if name.endswith(suffix)
            or (name.endswith(f"{suffix}.new") and _is_left_behind(os.path.join(folder, name)))
        ]
        return [path for path in found if self._is_ours(path)] if found else []

    def unreadable(self) -> list[str]:
        """Return the files that were put aside for somebody to fix.

        Raises:
            OSError: the folder cannot be read.
        """
        return [
            os.path.join(folder, name)
            for folder, names in (
                (self.folder, self._names()),
                (self.manifests, self._names_of_manifests()),
            )
            for name in names
            if name.endswith(".bad")
        ]

    def read(self, path: str) -> tuple[bytes, float]:
        """Return the content of a file, and when it was written.

        Raises:
            UnfitError: it is not a request of this user's.
            OSError: it cannot be read.
        """
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise UnfitError("it is not a file")
        descriptor = os.open(path, disk.SAFE)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)  # the name may lead to something else by now
            if not stat.S_ISREG(status.st_mode):
                raise UnfitError("it is not a file")
            if status.st_size > MAX_BYTES:
                raise UnfitError(f"it has {status.st_size} bytes; the maximum is {MAX_BYTES}")
            if not self._is_trusted(status.st_uid):
                raise UnfitError(
                    f"it belongs to user {status.st_uid}, and user {os.geteuid()} does not sign "
                    "requests of others"
                )
            return file.read(MAX_BYTES), status.st_mtime

    def check_owner(self, folder: str = "") -> os.stat_result:
        """Return the status of the folder, if nobody else can change what is in it.

        Raises:
            OSError: it belongs to another user, or it is not a folder.
        """
        folder = folder or self.folder
        status = os.stat(folder)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder)
        link = os.lstat(folder)
        if not disk.WINDOWS and stat.S_ISLNK(link.st_mode) and link.st_uid not in {os.geteuid(), 0}:
            # A service account may link the spool from a folder that is closed to others.
            parent = os.stat(os.path.dirname(folder) or ".").st_mode
            if folder != self.folder or parent & (stat.S_ISVTX | stat.S_IWOTH):
                raise PermissionError(errno.EPERM, f"it is a link of user {link.st_uid}", folder)
        if not disk.WINDOWS and os.geteuid() != 0 and status.st_uid not in {os.geteuid(), 0}:
            raise PermissionError(errno.EPERM, f"it belongs to user {status.st_uid}", folder)
        return status

    def _own(self, folder: str) -> str:
        """Make a folder if it does not exist, and close it to others if it is ours."""
        try:
            os.makedirs(os.path.dirname(folder), exist_ok=True)  # others may need to enter these
            os.mkdir(folder, 0o700)
        except FileExistsError:
            status = self.check_owner(folder)
            is_ours = not disk.WINDOWS and status.st_uid == os.geteuid()
            # Another user's link must not close what it leads to.
            is_ours = is_ours and os.lstat(folder).st_uid in {os.geteuid(), 0}
            # Several users share a sticky folder on purpose, and each sends his own requests.
            is_open = status.st_mode & 0o077 and not status.st_mode & stat.S_ISVTX
            if is_ours and is_open and (folder != self.folder or self.check_alone()):
                os.chmod(folder, 0o700)
        return folder

    def check_alone(self) -> bool:
        """Return whether the folder has nothing in it but a spool.

        Raises:
            OSError: it has, and others may write there.
        """
        if not _holds_others(disk.names(self.folder)):
            return True
        mode = os.stat(self.folder).st_mode
        if not disk.WINDOWS and mode & 0o022 and not mode & stat.S_ISVTX:
            why = "it holds other files, and others may write there; name a folder of its own"
            raise OSError(errno.ENOTEMPTY, why, self.folder)
        return False

    def _names(self) -> list[str]:
        """Return the names of the spool's files; a home or / may have JSON files of others.

        Raises:
            OSError: the folder cannot be read.
        """
        names = disk.names(self.folder)
        return [name for name in names if name[0].isdigit()] if _holds_others(names) else names

    def _names_of_manifests(self) -> list[str]:
        """Return the names in the folder of manifests.

        In a shared folder, another user may have put a folder of its own there, or a symlink that
        leads to files of this one; root's may be closed to this user.

        Raises:
            OSError: it cannot be read, and the folder is not shared.
        """
        try:
            status = os.lstat(self.manifests)
        except OSError:  # there are none
            return []
        if not _is_sticky(self.folder):
            return disk.names(self.manifests)
        if not stat.S_ISDIR(status.st_mode) or not self._is_trusted(status.st_uid):
            return []
        try:
            return disk.names(self.manifests)
        except PermissionError:
            return []

    def _is_trusted(self, owner: int) -> bool:
        """Return whether this user signs the requests of another one."""
        if disk.WINDOWS or owner in {0, os.geteuid()}:
            return True
        if os.geteuid() != 0:
            return False
        # Root sends for the user that the folder was made for; in a shared one, for all.
        folder = os.stat(self.folder)
        return owner == folder.st_uid or bool(folder.st_mode & stat.S_ISVTX)

    def _is_ours(self, path: str) -> bool:
        """Return whether a file is this user's to send; in a shared folder, others send theirs."""
        if not _is_sticky(self.folder):
            return True
        try:
            return self._is_trusted(os.lstat(path).st_uid)
        except OSError:  # its hook has just finished with it
            return False


def _in_time(write: Callable[[], str]) -> str:
    """Write a file; a hook must not hang with the mount of its spool.

    Raises:
        OSError: it cannot be written, or nothing answers.
    """
    try:
        return look(write, ANSWERS_WITHIN_S)
    except HungError:
        raise TimeoutError(errno.ETIMEDOUT, "it does not answer; look at its mount") from None


def _without_end(folder: str) -> str:
    """Return a path without / or /. at its end, with which a link looks like what it leads to."""
    head, tail = os.path.split(folder)
    while tail in {"", "."} and head not in {"", folder}:
        folder = head
        head, tail = os.path.split(folder)
    return folder


def _is_sticky(folder: str) -> bool:
    return not disk.WINDOWS and bool(os.stat(folder).st_mode & stat.S_ISVTX)


def _holds_others(names: Iterable[str]) -> bool:
    """Return whether a folder with these names has more in it than a spool."""
    ours = (".json", ".jsonl", ".new", ".bad")
    places = {"manifests", "lost+found"}
    return any(not (name[0] == "." or name in places or name.endswith(ours)) for name in names)


def _is_left_behind(path: str) -> bool:
    try:
        return time.time() - os.lstat(path).st_mtime > IN_FLIGHT_S
    except OSError:  # its hook has just finished with it
        return False
