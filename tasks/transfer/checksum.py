"""The base64 MD5 of a file, which makes the store refuse any other bytes (RFC 1864)."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import BinaryIO

from tasks.transfer.files import identity_of, open_checked, reading, require_unchanged
from tasks.transfer.models import Transfer

#: hashlib releases the GIL on blocks of this size, and the page cache reads ahead.
BLOCK_BYTES = 1 << 20


def compute_checksum(
    transfer: Transfer, roots: Sequence[str], check_lease: Callable[[], None] = lambda: None
) -> Transfer:
    """Note what the file is, and its MD5; a file that is known already is not read again.

    ``check_lease`` is called between blocks and may raise to stop.

    Raises:
        FileNotReadyError, FileRefusedError: see ``open_checked``.
        FileChangedError: it was written to while it was read.
    """
    with open_checked(transfer.path, roots, allow_empty=transfer.allow_empty) as file:
        identity = identity_of(os.fstat(file.fileno()))
        fresh = replace(transfer, identity=identity, checksum=None, stored=False, signed=None)
        if transfer.identity == identity and (transfer.checksum or transfer.is_large):
            return transfer
        if fresh.is_large:
            return fresh  # its parts are hashed when they are sent
        digest = md5_of(file, transfer.path, 0, identity.size_bytes, check_lease)
        require_unchanged(file, transfer.path, identity)
    # Whatever was stored before were the bytes of another state of the file.
    return replace(fresh, checksum=base64.b64encode(digest).decode())


def md5_of(
    file: BinaryIO, path: str, offset: int, size_bytes: int, check_lease: Callable[[], None]
) -> bytes:
    """Hash a stretch of a file, read in blocks into one buffer."""
    digest = hashlib.md5(usedforsecurity=False)
    block = memoryview(bytearray(min(BLOCK_BYTES, size_bytes or 1)))
    end = offset + size_bytes
    with reading(path):
        while offset < end and (count := os.preadv(file.fileno(), [block[: end - offset]], offset)):
            digest.update(block[:count])
            offset += count
            check_lease()
    return digest.digest()
