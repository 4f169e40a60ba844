"""The MD5 of a file in base64 (Content-MD5, RFC 1864): the store refuses any other bytes."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import BinaryIO

from tasks.transfer.asked import check_asked, check_changed, check_same
from tasks.transfer.files import identity_of, open_checked, reading, require_unchanged
from tasks.transfer.models import Transfer

#: hashlib releases the GIL on blocks of this size, and the page cache reads ahead.
BLOCK_BYTES = 1 << 20


def compute_checksum(
    transfer: Transfer, roots: Sequence[str], check_lease: Callable[[], None] = lambda: None
) -> Transfer:
    """Return the transfer with the file's identity and, if the file is small, its MD5.

    A file that is not uploaded has none. A file whose identity is known already is not read again.
    ``check_lease`` is called between blocks, and may raise to stop.

    Raises:
        FileNotReadyError, FileRefusedError: see ``open_checked``.
        FileShrunkError, FileRefusedError: it is not the file that was asked for.
        FileChangedError: the file was written to while it was read, or other nodes are left, which
            may see the one that was asked for.
    """
    with open_checked(transfer.path, roots, allow_empty=transfer.allow_empty) as file:
        identity = identity_of(os.fstat(file.fileno()))
        fresh = replace(transfer, identity=identity, checksum=None, stored=False, signed=None)
        is_known = transfer.identity is not None and not transfer.identity.difference(identity)
        has_md5 = not (fresh.is_large or transfer.target.only_in)
        if is_known and (transfer.checksum or not has_md5):
            return transfer
        if transfer.identity is None:
            check_asked(transfer.path, transfer.asked, identity, time.time())
        elif not is_known:
            known = transfer.identity
            check_changed(transfer.path, transfer.asked, known, identity, time.time())
        if transfer.others_left:
            check_same(transfer.path, transfer.asked, identity)
        if not has_md5:
            return fresh  # each part of a large file is hashed when it is sent
        md5_bytes = md5_of(file, transfer.path, 0, identity.size_bytes, check_lease)
        require_unchanged(file, transfer.path, identity)
    # If anything was stored before, it was another version of the file.
    return replace(fresh, checksum=base64.b64encode(md5_bytes).decode())


def md5_of(
    file: BinaryIO, path: str, offset: int, size_bytes: int, check_lease: Callable[[], None]
) -> bytes:
    """Return the 16 bytes of the MD5 of ``size_bytes`` from ``offset``, read into one buffer."""
    digest = hashlib.md5(usedforsecurity=False)
    block = memoryview(bytearray(min(BLOCK_BYTES, size_bytes or 1)))
    end = offset + size_bytes
    with reading(path):
        while offset < end and (count := os.preadv(file.fileno(), [block[: end - offset]], offset)):
            digest.update(block[:count])
            offset += count
            check_lease()
    return digest.digest()
