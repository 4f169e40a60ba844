"""The GET of a file from the media store into a folder: resumed, checked, put in place at once."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

import requests

from tasks.transfer.errors import FatalError, ServiceUnavailableError, UnexpectedAnswerError
from tasks.transfer.http import HTTP_ERRORS, without_secrets
from tasks.transfer.lookup import ComponentFile
from tasks.transfer.signed_get import ask, stored_in

BLOCK_BYTES = 1 << 20
#: A strong ETag (RFC 9110, 8.8.3), the only kind that If-Range takes.
STRONG_ETAG = re.compile(r'"[!#-~]{1,200}"')


class BeingFetchedError(Exception):
    """Another process or thread is fetching the same component into the same folder."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of a file; ``state`` is "fetched", or "present" when it was there already."""

    state: str
    size_bytes: int


def get_file(
    file: ComponentFile,
    folder: int,
    sign: Callable[[str], str],
    session: requests.Session,
    check_cancelled: Callable[[], None] = lambda: None,
) -> Fetched:
    """Bring one file into a folder, whose descriptor is ``folder``; tries once.

    The bytes go to a hidden file beside the target, and a later call continues it.
    ``sign`` gives the URL for a component id; ``check_cancelled`` is called between blocks and
    may raise to stop.

    Raises:
        BeingFetchedError: somebody else is at it.
        ServiceUnavailableError, UrlRefusedError, UnexpectedAnswerError: another try may help.
        FatalError: the store does not have it, or the disk does not take it.
    """
    part_name = f".{file.component_id}.part"
    with _writing(file.component_id), _held(folder, part_name) as part:
        url = sign(file.component_id)
        size_bytes = _present(file, folder, url, session)
        if size_bytes is None:
            size_bytes = _receive(
                file, folder, part, url=url, session=session, check_cancelled=check_cancelled
            )
            os.fsync(part.fileno())
            os.rename(part_name, file.name, src_dir_fd=folder, dst_dir_fd=folder)
            state = "fetched"
        else:
            os.unlink(part_name, dir_fd=folder)
            state = "present"
        with suppress(FileNotFoundError):
            os.unlink(_etag_name(file.component_id), dir_fd=folder)
        os.fsync(folder)
    return Fetched(state, size_bytes)


def _etag_name(component_id: str) -> str:
    return f".{component_id}.etag"


@contextmanager
def _writing(component_id: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # what requests raises was translated before
        why = error.strerror or type(error).__name__
        raise FatalError(f"component {component_id} can not be written: {why}") from None


@contextmanager
def _held(folder: int, name: str) -> Iterator[BinaryIO]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        with os.fdopen(os.open(name, flags, 0o666, dir_fd=folder), "r+b") as part:
            try:
                fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BeingFetchedError from None
            with suppress(FileNotFoundError):
                # Who held it before has renamed it, perhaps; then it is the target by now.
                known = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if os.path.samestat(known, os.fstat(part.fileno())):
                    yield part
                    return


def _present(file: ComponentFile, folder: int, url: str, session: requests.Session) -> int | None:
    """Give the size of a target that is what the store has; None when there is none such."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        target = os.open(file.name, flags, dir_fd=folder)
    except OSError:  # a symlink too: the rename takes its place, not that of what it leads to
        return None
    with os.fdopen(target, "rb") as here:
        status = os.fstat(target)
        if not stat.S_ISREG(status.st_mode):
            return None
        with ask(file.component_id, url, session, {"Range": "bytes=0-0"}) as answer:
            stored = stored_in(file.component_id, answer)
        if status.st_size != stored.size_bytes:
            return None
        if stored.md5 and _md5(here, status.st_size).hexdigest() != stored.md5:
            return None
        return status.st_size


def _receive(
    file: ComponentFile,
    folder: int,
    part: BinaryIO,
    *,
    url: str,
    session: requests.Session,
    check_cancelled: Callable[[], None],
) -> int:
    component_id, etag_name = file.component_id, _etag_name(file.component_id)
    etag = _read_text(folder, etag_name)
    # One byte again, so that a part which is whole already is no range that can't be satisfied.
    start = max(os.fstat(part.fileno()).st_size - 1, 0) if STRONG_ETAG.fullmatch(etag) else 0
    headers = {"Range": f"bytes={start}-", "If-Range": etag} if start else {}
    with ask(component_id, url, session, headers) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            raise _starting_over(component_id, part, "its size is another")
        stored = stored_in(component_id, answer)
        if stored.start:
            if (stored.start, stored.etag) != (start, etag):
                # A store that does not know If-Range.
                raise _starting_over(component_id, part, "its ETag or range is another")
        else:
            part.truncate(0)
            _write_text(folder, etag_name, stored.etag)
        digest = _md5(part, stored.start if stored.md5 else 0)
        part.seek(stored.start)
        try:
            while block := answer.raw.read(BLOCK_BYTES, decode_content=False):
                with _writing(component_id):
                    part.write(block)
                if stored.md5:
                    digest.update(block)
                check_cancelled()
        except HTTP_ERRORS as error:
            raise ServiceUnavailableError("store", without_secrets(error)) from None
    part.truncate()  # a byte fewer than before is not possible, and would be seen
    if part.tell() != stored.size_bytes:
        why = f"it ended after {part.tell()} of {stored.size_bytes} bytes"
        raise ServiceUnavailableError("store", why)
    if stored.md5 and digest.hexdigest() != stored.md5:
        ours = digest.hexdigest()
        raise _starting_over(component_id, part, f"its MD5 is {stored.md5}, {ours} arrived")
    return stored.size_bytes


def _starting_over(component_id: str, part: BinaryIO, why: str) -> UnexpectedAnswerError:
    part.truncate(0)
    what = f"the GET of component {component_id}"
    return UnexpectedAnswerError("the store", what, f"{why}; it is fetched from its start")


def _md5(file: BinaryIO, size_bytes: int) -> hashlib._Hash:
    """Hash the first bytes of a file."""
    digest = hashlib.md5(usedforsecurity=False)
    file.seek(0)
    while size_bytes and (block := file.read(min(BLOCK_BYTES, size_bytes))):
        digest.update(block)
        size_bytes -= len(block)
    return digest


def _read_text(folder: int, name: str) -> str:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return ""
    with os.fdopen(descriptor, encoding="latin-1") as file:
        return file.read(1000)


def _write_text(folder: int, name: str, text: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o666, dir_fd=folder), "w", encoding="latin-1") as file:
        file.write(text)
