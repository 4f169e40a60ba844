"""Large files in parts: each part is a PUT of its own, so any node can send any part."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import requests

from tasks.transfer.checksum import md5_of
from tasks.transfer.errors import (
    MultipartGoneError,
    RequestRefusedError,
    StoreRefusedError,
    UnexpectedAnswerError,
    UploadError,
    UrlRefusedError,
)
from tasks.transfer.files import open_checked, require_unchanged
from tasks.transfer.ftrack import FtrackClient, FtrackRefusal
from tasks.transfer.models import MIB, SignedPut, Transfer, part_size_bytes
from tasks.transfer.operations import Operation
from tasks.transfer.put import FileBody, OnProgress, send
from tasks.transfer.registration import job_ids

#: S3 may take minutes to join parts, and answers at the end. How long a call waits for that.
JOIN_TIMEOUT_S = 600.0

#: The parts that one task sends. A dead worker's runs wait until its lease is over, so they are
#: short: meanwhile the others send the rest of the file. A larger part is a run by itself.
RUN_BYTES = 64 * MIB


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file: ``size_bytes`` from ``offset``. Its number counts from 1."""

    number: int
    offset: int
    size_bytes: int


def plan_parts(size_bytes: int) -> list[Part]:
    """Return the parts of a file, in order and without a gap."""
    step = part_size_bytes(size_bytes)
    return [
        Part(number, offset, min(step, size_bytes - offset))
        for number, offset in enumerate(range(0, size_bytes, step), start=1)
    ]


def plan_runs(size_bytes: int) -> list[list[Part]]:
    """Return the parts of a file, grouped into runs of ``RUN_BYTES`` at most."""
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
    on_progress: OnProgress = lambda _sent_bytes: None,
) -> str:
    """Send one part to its presigned URL; return its ETag, which is needed to join the parts.

    The part is read twice: to hash it, and to send it. The page cache makes this cheap, and the
    use of memory does not depend on the size of a part. ``on_progress`` is called as in
    ``put_file``, and with 0 while the part is hashed.

    Raises:
        UploadError: see ``put_file``.
    """
    with open_checked(transfer.path, roots) as file:
        require_unchanged(file, transfer.path, transfer.known_identity, transfer.asked)

        def on_hashed() -> None:
            on_progress(0)

        md5 = md5_of(file, transfer.path, part.offset, part.size_bytes, on_hashed)
        md5_base64 = base64.b64encode(md5).decode()

        def attempt(headers: dict[str, str]) -> str:
            body = FileBody(file, transfer.path, part.size_bytes, on_progress, part.offset)
            as_file = replace(transfer, checksum=md5_base64, signed=SignedPut(url, headers))
            try:
                return send(as_file, body, session)
            except StoreRefusedError as error:
                if error.code != "NoSuchUpload":
                    raise
                # A rule of the bucket removes what stays incomplete for days.
                why = f"{error.status} {error.code}"
                raise MultipartGoneError(transfer.component_id, why) from None

        try:
            etag = attempt({"Content-MD5": md5_base64})
        except UrlRefusedError as error:
            if error.has_expired:
                raise
            # A store may refuse a header that was not signed. Then only the ETag shows whether
            # the right bytes have arrived.
            etag = attempt({})
        require_unchanged(file, transfer.path, transfer.known_identity, transfer.asked)
    return etag or md5.hex()


def complete(
    transfer: Transfer,
    etags: Mapping[int, str],
    ftrack: FtrackClient,
    register: Sequence[Operation] = (),
) -> tuple[str, ...]:
    """Join the parts and register the file, in one POST; return the ids of encoding jobs.

    ``etags`` are by part number. ``register`` are the operations that register the file.

    Raises:
        MultipartGoneError: the store does not know the multipart upload, or has forgotten it.
        UnexpectedAnswerError: the file is registered already.
        RequestRefusedError: ftrack refused for another reason.
        UploadError: what ``FtrackClient.call`` raises.
    """
    try:
        operations = [_join(transfer, etags), *register]
        return job_ids(ftrack.call(operations, JOIN_TIMEOUT_S))
    except FtrackRefusal as refusal:
        why = str(refusal)
        if "NoSuchUpload" in why or "InvalidPart" in why:
            raise MultipartGoneError(transfer.component_id, why) from None
        if refusal.is_duplicate:
            raise UnexpectedAnswerError("ftrack", "create ComponentLocation", why) from None
        raise RequestRefusedError(transfer.component_id, "complete", why) from None


def join_alone(transfer: Transfer, etags: Mapping[int, str], ftrack: FtrackClient) -> bool:
    """Join the parts after ftrack has refused to join and register; return whether they are joined.

    ftrack takes back what a refused POST has written, but the store does not take back its part:
    an upload that is gone by now was joined by that POST. Otherwise that POST would have said so.
    """
    try:
        ftrack.call([_join(transfer, etags)], JOIN_TIMEOUT_S)
    except FtrackRefusal as refusal:
        return "NoSuchUpload" in str(refusal)
    except UploadError:
        return False
    return True


def _join(transfer: Transfer, etags: Mapping[int, str]) -> Operation:
    return {
        "action": "complete_multipart_upload",
        "component_id": transfer.component_id,
        "upload_id": transfer.multipart.upload_id if transfer.multipart else "",
        "parts": [{"part_number": number, "e_tag": etags[number]} for number in sorted(etags)],
    }
