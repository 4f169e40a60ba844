"""The GET of a file from the media store into a folder: resumed, verified, renamed atomically."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache
from io import FileIO
from typing import Literal, NoReturn

import requests

from tasks.transfer import durable
from tasks.transfer.errors import (
    FatalError,
    FolderRefusedError,
    ServiceUnavailableError,
    UnexpectedAnswerError,
)
from tasks.transfer.http import translated_errors
from tasks.transfer.lookup import ComponentFile
from tasks.transfer.part_file import EtagNote, locked_part
from tasks.transfer.shared_sync import SharedSync
from tasks.transfer.signed_get import Stored, get_object, stored_in

BLOCK_BYTES = 1 << 20
#: The disk, a quota, or the file's largest size is used up.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: Something is in the way of a file, which every node sees. ELOOP: a symbolic link.
IN_THE_WAY = {errno.EEXIST, errno.EISDIR, errno.ELOOP}
#: A strong ETag (RFC 9110, 8.8.3): If-Range accepts no other.
STRONG_ETAG = re.compile(r'"[!#-~]{1,200}"')


#: Called before each block with the offset of its first byte; it may wait, and returns the largest
#: size of the block (None: any).
Pace = Callable[[int], int | None]


@dataclass(frozen=True, slots=True)
class Fetched:
    """The result for a file: it was fetched, or it was present already."""

    state: Literal["fetched", "present"]
    size_bytes: int


def get_file(
    file: ComponentFile,
    folder: int,
    sign: Callable[[str], str],
    session: requests.Session,
    check_cancelled: Callable[[], None] = lambda: None,
    *,
    asked_at: float = math.inf,
    pace: AbstractContextManager[Pace] | None = None,
) -> Fetched:
    """Fetch one file into a folder. ``folder`` is an open descriptor of it.

    The bytes go into a hidden file next to the target, which a later call continues. The target
    appears only when it is complete and verified. ``sign`` returns the URL of a component.
    ``check_cancelled`` is called after each block, and may raise to stop. ``pace`` is entered
    before the bytes are asked for. A file that was written after ``asked_at`` (seconds since 1970)
    is left alone: it is newer than what was asked for.

    Raises:
        BeingFetchedError: another process or thread is fetching the component into the folder.
        ServiceUnavailableError, UrlRefusedError, UnexpectedAnswerError: another attempt may help.
        FolderRefusedError: it cannot be written on this node.
        FatalError: the store does not have the file, or something is in its way, or it has no fit
            name.
    """
    if file.fault:
        raise FatalError(file.fault)
    with _writing(file), locked_part(folder, file.component_id) as (part, part_name):
        url = sign(file.component_id)
        size_bytes = _present(file, folder, url, session)
        if size_bytes is not None:
            os.unlink(part_name, dir_fd=folder)
            _tidy(file.component_id, folder)
            return Fetched("present", size_bytes)
        _check_not_newer(file, folder, asked_at)
        try:
            with pace or nullcontext(_at_once) as before_block:
                size_bytes = _receive(
                    file,
                    folder,
                    part,
                    url=url,
                    session=session,
                    check_cancelled=check_cancelled,
                    before_block=before_block,
                )
        except OSError as error:
            if error.errno in FULL:  # others need the room that the part takes
                with suppress(OSError):
                    os.unlink(part_name, dir_fd=folder)
                _tidy(file.component_id, folder)
            raise
        try:  # another component of this name may have come meanwhile
            _check_not_newer(file, folder, asked_at)
        except FatalError:
            os.unlink(part_name, dir_fd=folder)
            _tidy(file.component_id, folder)
            raise
        os.rename(part_name, file.name, src_dir_fd=folder, dst_dir_fd=folder)
        _tidy(file.component_id, folder)
        return Fetched("fetched", size_bytes)


def _at_once(_offset: int) -> None:
    pass


def _tidy(component_id: str, folder: int) -> None:
    EtagNote(component_id, folder).remove()
    status = os.fstat(folder)
    _shared_sync(status.st_dev, status.st_ino)(folder)


@lru_cache(maxsize=64)
def _shared_sync(_device: int, _inode: int) -> SharedSync:
    # Many files of a sequence end at the same time. A descriptor would not do as the key: when a
    # sync hangs and is left behind, another folder may get its number.
    return SharedSync()


@contextmanager
def _writing(file: ComponentFile) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # the errors of requests were translated before
        why = error.strerror or type(error).__name__
        if name := error.filename2 or error.filename:  # the name of what is open is a number
            why += f" ({name if isinstance(name, str) else file.name})"
        refused = FolderRefusedError(file.component_id, why)
        raise (
            FatalError(f"{refused}; remove it") if error.errno in IN_THE_WAY else refused
        ) from None


def _present(file: ComponentFile, folder: int, url: str, session: requests.Session) -> int | None:
    """Return the size of the target if it is the same as in the store, otherwise None."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        target = os.open(file.name, flags, dir_fd=folder)
    except OSError:  # also for a symlink, which the rename replaces without following it
        return None
    with os.fdopen(target, "rb", buffering=0) as local:
        status = os.fstat(target)
        if not stat.S_ISREG(status.st_mode):
            return None
        with get_object(file.component_id, url, session, {"Range": "bytes=0-0"}) as response:
            stored = stored_in(file.component_id, response)
        if status.st_size != stored.size_bytes:
            return None
        if stored.md5_hex and _md5(local, status.st_size).hexdigest() != stored.md5_hex:
            return None
        return status.st_size


def _check_not_newer(file: ComponentFile, folder: int, asked_at: float) -> None:
    with suppress(FileNotFoundError):
        status = os.stat(file.name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode) and status.st_mtime > asked_at:
            raise FatalError(
                f"component {file.component_id} is not fetched: the file in its place was written "
                "after it was asked for; fetch it again, or remove that file"
            )


def _receive(
    file: ComponentFile,
    folder: int,
    part: FileIO,
    *,
    url: str,
    session: requests.Session,
    check_cancelled: Callable[[], None],
    before_block: Pace,
) -> int:
    component_id = file.component_id
    there_bytes = os.fstat(part.fileno()).st_size
    note = EtagNote(component_id, folder)
    etag = note.read() if there_bytes else ""
    # One byte is fetched again, so that a complete part does not ask for an empty range.
    start = max(there_bytes - 1, 0) if STRONG_ETAG.fullmatch(etag) else 0
    headers = {"Range": f"bytes={start}-", "If-Range": etag} if start else {}
    before_block(start)  # a connection that waits for its turn would be closed by the store
    with get_object(component_id, url, session, headers) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            _start_over(component_id, part, "its size has changed")
        stored = stored_in(component_id, response)
        if not stored.start:
            part.truncate(0)
            note.begin(stored.etag)
        elif (stored.start, stored.etag) != (start, etag):
            # The store does not support If-Range.
            _start_over(component_id, part, "its ETag or range differs")
        digest = _md5(part, stored.start if stored.md5_hex else 0)
        at = part.seek(stored.start)
        with note:
            # Not until the response ends: chunks of any number may follow, and trailers without
            # end.
            while left_bytes := stored.size_bytes - at:
                block = _read_block(response, before_block(at), left_bytes)
                if not block:
                    break
                _write(part, block)
                at += len(block)
                if stored.md5_hex:
                    digest.update(block)
                note.write_if_due()
                check_cancelled()
            part.truncate(at)  # if the part was longer than the file, the size below will differ
            _verify(component_id, part, stored, digest.hexdigest())
            durable.sync(part.fileno())
    return stored.size_bytes


def _read_block(response: requests.Response, most_bytes: int | None, left_bytes: int) -> bytes:
    # Errors of the disk are not to be taken for those of the store.
    with translated_errors("store"):
        most_bytes = min(most_bytes or BLOCK_BYTES, BLOCK_BYTES, left_bytes)
        block: bytes = response.raw.read(most_bytes, decode_content=False)
        return block


def _write(part: FileIO, block: bytes) -> None:
    left = memoryview(block)
    while left:  # only the next call tells that the disk is full
        written = part.write(left)
        if written is None:  # the file system takes O_NONBLOCK by its word
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        left = left[written:]


def _verify(component_id: str, part: FileIO, stored: Stored, md5_hex: str) -> None:
    if part.tell() != stored.size_bytes:
        why = f"the response ended after {part.tell()} of {stored.size_bytes} bytes"
        raise ServiceUnavailableError("store", why)
    if stored.md5_hex and md5_hex != stored.md5_hex:
        why = f"the received bytes have MD5 {md5_hex}, those in the store {stored.md5_hex}"
        _start_over(component_id, part, why)


def _start_over(component_id: str, part: FileIO, why: str) -> NoReturn:
    part.truncate(0)
    what = f"the GET of component {component_id}"
    raise UnexpectedAnswerError("the store", what, f"{why}; it is fetched from the start")


def _md5(file: FileIO, size_bytes: int) -> hashlib._Hash:
    """Return the MD5 of the first ``size_bytes`` of a file, to be updated with the rest."""
    digest = hashlib.md5(usedforsecurity=False)
    file.seek(0)
    while size_bytes and (block := file.read(min(BLOCK_BYTES, size_bytes))):
        digest.update(block)
        size_bytes -= len(block)
    return digest
