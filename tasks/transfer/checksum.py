"""The base64 MD5 of a file, which makes the store refuse any other bytes (RFC 1864)."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from tasks.transfer.files import identity_of, open_checked, require_unchanged
from tasks.transfer.models import Transfer

#: hashlib releases the GIL on blocks of this size, and the page cache reads ahead.
BLOCK_BYTES = 1 << 20


def compute_checksum(
    transfer: Transfer, roots: Sequence[str], still_ours: Callable[[], None] = lambda: None
) -> Transfer:
    """Note what the file is, and its MD5; a file that is known already is not read again.

    ``still_ours`` is called between blocks and may raise to stop.

    Raises:
        FileNotReadyError, FileRefusedError: see ``open_checked``.
        FileChangedError: it was written to while it was read.
    """
    with open_checked(transfer.path, roots, allow_empty=transfer.allow_empty) as file:
        identity = identity_of(os.fstat(file.fileno()))
        if transfer.checksum is not None and transfer.identity == identity:
            return transfer
        digest = hashlib.md5(usedforsecurity=False)
        block = memoryview(bytearray(min(BLOCK_BYTES, identity.size_bytes or 1)))
        while count := file.readinto(block):  # type: ignore[attr-defined]
            digest.update(block[:count])
            still_ours()
        require_unchanged(file, transfer.path, identity)
    checksum = base64.b64encode(digest.digest()).decode()
    # Whatever was stored before were the bytes of another state of the file.
    return replace(transfer, identity=identity, checksum=checksum, stored=False, signed=None)
