"""Whether the bytes of a file are those that ftrack has: by size, and by MD5."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal

import requests

from tasks.transfer.checksum import BLOCK_BYTES, md5_of
from tasks.transfer.errors import FileChangedError, FileNotReadyError, FileRefusedError
from tasks.transfer.files import identity_of, open_checked, reading, require_unchanged
from tasks.transfer.http import translated_errors
from tasks.transfer.models import LARGEST_PART_BYTES, MIB, part_count, part_size_bytes
from tasks.transfer.signed_get import ObjectGoneError, Stored, get_object, stored_in

State = Literal[
    "same",
    "differs",
    "size differs",
    "missing in ftrack",
    "missing on disk",
    "not readable",
    "not compared",
]

#: ftrack's JavaScript client, AWS and former versions of farmhaul use powers of two; rclone, s3cmd
#: and others 5 MiB, which is the least that S3 takes, and multiples of it.
OTHER_PART_SIZES = sorted(
    [
        *(MIB << power for power in range((LARGEST_PART_BYTES // MIB).bit_length())),
        *(MIB * count for count in (5, 10, 15, 20, 25, 50, 100, 250, 500)),
    ]
)

OTHER_PARTS = "another program has sent it in parts of an unknown size"
NO_MD5 = "the store has no MD5 of it"
NO_LOCATION = "no location has its path"


@dataclass(frozen=True, slots=True)
class Pair:
    """A file on disk, and the component that is to have its bytes.

    ``is_located`` tells whether ftrack has the component's location in ftrack.server, ``is_ours``
    whether farmhaul has made that. ``component_id`` is empty if ftrack has no such component.

    With ``is_path_alone``, the file was not uploaded (``--only-in``). Then ``identifiers`` are what
    other locations call it, and ``registered_bytes`` is its size as ftrack has it.
    """

    path: str
    component_id: str = ""
    is_located: bool = False
    is_ours: bool = False
    is_path_alone: bool = False
    identifiers: Sequence[str] = ()
    registered_bytes: int = 0

    @property
    def is_known(self) -> bool:
        """Whether ftrack has the file, or its path."""
        return bool(self.identifiers) if self.is_path_alone else self.is_located


@dataclass(frozen=True, slots=True)
class Compared:
    """The result for a pair. Sizes are None where there is no file, or nobody has looked."""

    state: State
    size_bytes: int | None = None
    stored_bytes: int | None = None
    why: str = ""


def compare(
    pair: Pair,
    sign: Callable[[str], str],
    session: requests.Session,
    *,
    roots: Sequence[str],
    download: bool = False,
    on_block: Callable[[], None] = lambda: None,
) -> Compared:
    """Compare a file with what ftrack has. The file is read once.

    ``sign`` returns the URL of a component. With ``download``, the bytes of an object whose ETag is
    no MD5 are fetched. ``on_block`` is called between blocks, and may raise to stop.

    Raises:
        RetryableError: ftrack or the store did not answer as they should; see ``get_object``.
        FatalError: one of them refused.
    """
    try:
        os.stat(pair.path)
    except (FileNotFoundError, NotADirectoryError):
        return Compared("missing on disk", why="" if pair.is_known else "nor is it in ftrack")
    except OSError:
        pass  # said below
    try:
        with open_checked(pair.path, roots, allow_empty=True) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if pair.is_path_alone or not pair.is_located:
                return _not_stored(pair, size_bytes)
            return _opened(pair, file, sign, session, download=download, on_block=on_block)
    except (FileNotReadyError, FileRefusedError) as error:
        return Compared("not readable", why=error.why)
    except FileChangedError:
        return Compared("not readable", why="it was written to meanwhile")
    except ObjectGoneError:
        why = "ftrack lists it, but the store does not have its bytes"
        return Compared("missing in ftrack", size_bytes, why=why)


def _not_stored(pair: Pair, size_bytes: int) -> Compared:
    """Return the result for a file that ftrack.server does not have, or is not to have."""
    if not pair.is_path_alone:
        why = "its component has no file" if pair.component_id else ""
        return Compared("missing in ftrack", size_bytes, why=why)
    if not pair.identifiers:
        return Compared("missing in ftrack", size_bytes, why=NO_LOCATION)
    registered = pair.registered_bytes
    # Another node, or the location, may have its folder elsewhere.
    if not any(pair.path == one or pair.path.endswith(f"/{one}") for one in pair.identifiers):
        why = f"ftrack has the path {pair.identifiers[0]}"
        return Compared("differs", size_bytes, registered, why)
    return Compared("same" if size_bytes == registered else "size differs", size_bytes, registered)


def _opened(
    pair: Pair,
    file: BinaryIO,
    sign: Callable[[str], str],
    session: requests.Session,
    *,
    download: bool,
    on_block: Callable[[], None],
) -> Compared:
    identity = identity_of(os.fstat(file.fileno()))
    size_bytes, url = identity.size_bytes, sign(pair.component_id)
    # The URL is signed for GET, so a HEAD would be refused.
    with get_object(pair.component_id, url, session, {"Range": "bytes=0-0"}) as response:
        stored = stored_in(pair.component_id, response)

    def result(state: State, why: str = "") -> Compared:
        return Compared(state, size_bytes, stored.size_bytes, why)

    if stored.size_bytes != size_bytes:
        return result("size differs")
    if not size_bytes:
        return result("same")
    is_same = _same_md5(file, pair, stored, on_block)
    if is_same is None and download:
        is_same = _same_bytes(file, pair, url, session, on_block)
    require_unchanged(file, pair.path, identity)
    if is_same is None:
        return result("not compared", OTHER_PARTS if stored.parts else NO_MD5)
    return result("same" if is_same else "differs")


def _same_md5(
    file: BinaryIO, pair: Pair, stored: Stored, on_block: Callable[[], None]
) -> bool | None:
    """Return whether the MD5 that the ETag shows is that of the file; None if it shows none."""
    size_bytes = stored.size_bytes
    if stored.md5_hex:
        return md5_of(file, pair.path, 0, size_bytes, on_block).hex() == stored.md5_hex
    part_sizes = _part_sizes(pair, size_bytes, stored.parts)
    if not part_sizes:
        return None
    if stored.joined_md5_hex in _joined_md5s(file, pair.path, size_bytes, part_sizes, on_block):
        return True
    # The parts of another program may have had sizes of which none is known.
    return False if pair.is_ours else None


def _part_sizes(pair: Pair, size_bytes: int, parts: int) -> list[int]:
    """Return the sizes that the parts of an object may have, of those that are known."""
    if pair.is_ours and part_count(size_bytes) == parts:
        return [part_size_bytes(size_bytes)]
    fitting = {one for one in OTHER_PART_SIZES if len(range(0, size_bytes, one)) == parts}
    return sorted({min(one, size_bytes) for one in fitting})  # of one part, any larger size is one


def _joined_md5s(
    file: BinaryIO,
    path: str,
    size_bytes: int,
    part_sizes: Sequence[int],
    on_block: Callable[[], None],
) -> set[str]:
    """Return the MD5 of the parts' MD5s for each size of parts. The file is read once."""
    joined = {size: hashlib.md5(usedforsecurity=False) for size in part_sizes}
    parts = {size: hashlib.md5(usedforsecurity=False) for size in part_sizes}
    block = memoryview(bytearray(MIB))
    offset = 0
    with reading(path):
        # Each part ends with a MiB, or with the file.
        while count := os.preadv(
            file.fileno(), [block[: min(MIB - offset % MIB, size_bytes - offset)]], offset
        ):
            offset += count
            for size in part_sizes:
                parts[size].update(block[:count])
                if offset % size == 0 or offset == size_bytes:
                    joined[size].update(parts[size].digest())
                    parts[size] = hashlib.md5(usedforsecurity=False)
            on_block()
    return {digest.hexdigest() for digest in joined.values()}


def _same_bytes(
    file: BinaryIO,
    pair: Pair,
    url: str,
    session: requests.Session,
    on_block: Callable[[], None],
) -> bool:
    offset = 0
    with get_object(pair.component_id, url, session, {}) as response:
        stored_in(pair.component_id, response)
        while True:
            with translated_errors("store"):
                block = response.raw.read(BLOCK_BYTES, decode_content=False)
            if not block:
                return offset == os.fstat(file.fileno()).st_size
            with reading(pair.path):
                mine = os.pread(file.fileno(), len(block), offset)
            if mine != block:
                return False
            offset += len(block)
            on_block()
