"""Large files in parts: each a PUT of its own, so that any node sends any part, once."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import requests

from tasks.transfer.checksum import md5_of
from tasks.transfer.errors import (
    MultipartGoneError,
    RequestRefusedError,
    UnexpectedAnswerError,
    UrlRefusedError,
)
from tasks.transfer.files import open_checked, require_unchanged
from tasks.transfer.ftrack import FtrackClient, FtrackRefusal
from tasks.transfer.models import MIB, SignedPut, Transfer, part_size_bytes
from tasks.transfer.put import FileBody, send
from tasks.transfer.registration import job_ids
from tasks.transfer.signing import Operation, complete_operation

#: A run is what one task sends of a file, as much as a claim of small files.
RUN_BYTES = 256 * MIB


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a file. Numbers count from 1."""

    number: int
    offset: int
    size_bytes: int


def plan_parts(size_bytes: int) -> list[Part]:
    """Cut a file into parts: in order, without a gap."""
    step = part_size_bytes(size_bytes)
    return [
        Part(number, offset, min(step, size_bytes - offset))
        for number, offset in enumerate(range(0, size_bytes, step), start=1)
    ]


def plan_runs(size_bytes: int) -> list[list[Part]]:
    """Put parts together to runs of at most ``RUN_BYTES``."""
    parts = plan_parts(size_bytes)
    length = max(RUN_BYTES // part_size_bytes(size_bytes), 1)
    return [parts[start : start + length] for start in range(0, len(parts), length)]


def put_part(
    transfer: Transfer,
    part: Part,
    url: str,
    session: requests.Session,
    *,
    roots: Sequence[str],
    check_lease: Callable[[int], None] = lambda _sent_bytes: None,
) -> str:
    """Send one part; gives the ETag by which the store knows it.

    The part is hashed first and then read again to be sent, which the page cache makes
    cheap, so memory stays flat whatever the size of a part.

    Raises as ``put_file`` does.
    """
    with open_checked(transfer.path, roots) as file:
        require_unchanged(file, transfer.path, transfer.known_identity)
        digest = md5_of(file, transfer.path, part.offset, part.size_bytes, lambda: check_lease(0))
        checksum = base64.b64encode(digest).decode()

        def attempt(headers: dict[str, str]) -> str:
            body = FileBody(file, transfer.path, part.size_bytes, check_lease, part.offset)
            piece = replace(transfer, checksum=checksum, signed=SignedPut(url, headers))
            return send(piece, body, session)

        try:
            etag = attempt({"Content-MD5": checksum})
        except UrlRefusedError as error:
            if error.has_expired:
                raise
            # A store may refuse a header that was not signed: then the ETag alone tells
            # whether the bytes have arrived.
            etag = attempt({})
        require_unchanged(file, transfer.path, transfer.known_identity)
    return etag or digest.hex()


def complete(
    transfer: Transfer,
    etags: Mapping[int, str],
    ftrack: FtrackClient,
    register: Sequence[Operation] = (),
) -> tuple[str, ...]:
    """Put the parts together, and in the same POST do what registers the file.

    Gives the ids of encoding jobs.

    Raises:
        MultipartGoneError: the store does not know the upload (any more).
        RequestRefusedError, and as ``FtrackClient.call`` does.
    """
    try:
        return job_ids(ftrack.call([complete_operation(transfer, etags), *register]))
    except FtrackRefusal as refusal:
        why = f"{refusal.name}: {refusal.why}"
        if "NoSuchUpload" in why or "InvalidPart" in why:
            raise MultipartGoneError(transfer.component_id, why) from None
        if refusal.is_duplicate:
            raise UnexpectedAnswerError("ftrack", "create ComponentLocation", why) from None
        raise RequestRefusedError(transfer.component_id, "complete", why) from None
