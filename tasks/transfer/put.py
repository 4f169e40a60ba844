"""The PUT of a file to the media store, over connections that stay open."""

from __future__ import annotations

import base64
import os
import re
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import requests
from requests.adapters import HTTPAdapter

from tasks.transfer.errors import (
    DigestMismatchError,
    FileChangedError,
    InterceptedError,
    ServiceUnavailableError,
    StoreRefusedError,
    UnexpectedAnswerError,
    UploadError,
    UrlRefusedError,
)
from tasks.transfer.exchange import SOCKET_OPTIONS
from tasks.transfer.files import open_checked, reading, require_unchanged
from tasks.transfer.hearing import POOLS
from tasks.transfer.http import (
    LATER_CODES,
    MAX_ERROR_BYTES,
    MAX_STATUS_CHARS,
    PlainSession,
    body_of,
    error_code,
    is_outage,
    is_portal,
    one_line,
    retry_after_s,
    send_raw,
    status_of,
    translated_errors,
)
from tasks.transfer.models import SignedPut, Transfer

#: urllib3 sends 16 KiB blocks by default; 256 KiB doubles the speed on loopback
#: (1.0 → 2.0 GB/s, measured 2026-11 with requests 2.34, urllib3 2.8).
BLOCK_BYTES = 256 << 10

#: Linux' TCP_NOTSENT_LOWAT, which the module socket does not name. Otherwise the kernel takes
#: megabytes that are not on the wire yet, and progress and limits would count them.
TCP_NOTSENT_LOWAT = 25
MAX_UNSENT_BYTES = 256 << 10

#: How urllib3 makes connections to the store.
CONNECTION: dict[str, Any] = {
    "blocksize": BLOCK_BYTES,
    "socket_options": [
        *SOCKET_OPTIONS,
        *(
            [(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES)]
            if sys.platform == "linux"
            else []
        ),
    ],
}

#: Error codes of S3 and GCS that a new presigned URL can fix.
URL_CODES = {
    "AccessDenied",
    "ExpiredToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "InvalidAccessKeyId",
    "TokenRefreshRequired",
    "InvalidToken",
    "RequestExpired",
    "AuthorizationQueryParametersError",
}
DIGEST_CODES = {"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch"}
#: An MD5, and what a proxy that could compress adds to it: Apache "-gzip", Jetty "--gzip". Such a
#: proxy may also weaken the ETag: W/"…" (nginx).
MD5_ETAG = re.compile(r"([0-9a-fA-F]{32})(?:[-;:]{1,2}(?:gzip|br|deflate|zstd))?")

#: Any other: it stands in the record of each part until the parts are joined.
ETAG = re.compile(r"[!#-~]{0,200}")

#: The number of hosts whose connections stay open: ftrack, and those of the store's buckets.
MAX_HOSTS = 4


#: See ``put_file``.
OnProgress = Callable[[int], int | None]


class StoreAdapter(HTTPAdapter):
    """Sends large blocks, and notices a store that has disappeared or that answers early."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Return what makes the connections."""
        super().init_poolmanager(*args, **(kwargs | CONNECTION))
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Return what makes the connections by way of a proxy."""
        manager = super().proxy_manager_for(*args, **(kwargs | CONNECTION))
        manager.pool_classes_by_scheme = POOLS
        return manager


def store_session(connections: int) -> PlainSession:
    """Return a session for the store, with this many connections and no headers of its own."""
    session = PlainSession()
    session.headers.clear()
    adapter = StoreAdapter(pool_connections=MAX_HOSTS, pool_maxsize=connections)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def put_file(
    transfer: Transfer,
    session: requests.Session,
    roots: Sequence[str],
    on_progress: OnProgress = lambda _sent_bytes: None,
) -> None:
    """Send the file to its presigned URL; return once the store has all of it (HTTP 200).

    ``on_progress`` is called before each block with the number of bytes sent so far, and may
    raise to stop. It returns the largest size of the block, or None.

    Raises:
        FileNotReadyError, FileRefusedError: see ``open_checked``.
        FileChangedError: the file has changed since its checksum was computed.
        UrlRefusedError: the URL has expired, or its signature is wrong.
        DigestMismatchError: the store received other bytes.
        ServiceUnavailableError: the store is down or slow, or broke the connection.
        StoreRefusedError: the store refuses the file, now and later.
        InterceptedError: something on the way answered in place of the store.
        UnexpectedAnswerError: the store redirects to another region.
    """
    with open_checked(transfer.path, roots, allow_empty=transfer.allow_empty) as file:
        require_unchanged(file, transfer.path, transfer.known_identity, transfer.asked)
        body = FileBody(file, transfer.path, transfer.size_bytes, on_progress)
        send(transfer, body, session)
        require_unchanged(file, transfer.path, transfer.known_identity, transfer.asked)


class FileBody:
    """A file, or a part of it, as the body of a request: exactly ``size_bytes`` from ``offset``.

    If a file shrank during a plain PUT, client and store would wait for each other until the
    read timeout. If it grew, the rest would be lost without an error.
    """

    def __init__(
        self,
        file: BinaryIO,
        path: str,
        size_bytes: int,
        on_progress: OnProgress,
        offset: int = 0,
    ) -> None:
        self.file = file
        self.path = path
        self.left_bytes = self.size_bytes = size_bytes
        self.on_progress = on_progress
        self.end = offset + size_bytes

    def read(self, block_bytes: int) -> bytes:
        """Return the next block, which urllib3 sends.

        Raises:
            FileChangedError: the file is shorter than ``size_bytes``.
            FileNotReadyError: the file can no longer be read.
        """
        # Once all is sent, stopping would not prevent the store from accepting the file. Only its
        # response shows whether a newer file of the component may be sent.
        if self.left_bytes:
            most_bytes = self.on_progress(self.size_bytes - self.left_bytes)
            block_bytes = min(block_bytes, most_bytes or block_bytes)
        with reading(self.path):
            offset = self.end - self.left_bytes
            block = os.pread(self.file.fileno(), min(block_bytes, self.left_bytes), offset)
        if not block and self.left_bytes:
            raise FileChangedError(self.path, f"it is {self.left_bytes} bytes shorter")
        self.left_bytes -= len(block)
        return block


def send(transfer: Transfer, body: FileBody, session: requests.Session) -> str:
    """PUT a body to the transfer's presigned URL; return the store's ETag without quotes.

    It is empty if the store returns none that can be its own.

    Raises:
        UploadError: see ``put_file``.
    """
    signed = transfer.signed
    if signed is None or not signed.url:
        raise UrlRefusedError(transfer.component_id, 0, "no URL")
    # An empty stream would be sent chunked, which a presigned PUT does not allow.
    stream = body if body.size_bytes else b""
    headers = _headers(signed, body.size_bytes)
    response = send_raw(session, "PUT", signed.url, headers, stream, service="store")
    with translated_errors("store"):
        response_body = body_of(response, MAX_ERROR_BYTES)
    if response.status_code != requests.codes.ok:
        raise _refusal(transfer, response, response_body)
    if response_body and _md5_hex(transfer) not in response.headers.get("ETag", "").lower():
        # S3 and GCS answer with an ETag and nothing else. Taken for theirs, the page of a captive
        # portal, which may have an ETag too, would make a component without bytes.
        raise InterceptedError("store", f"{status_of(response)} with a page, not the store's own")
    if body.left_bytes:
        raise ServiceUnavailableError("store", "it answered before it had the whole file")
    # An answer without an ETag counts, because a proxy may remove it. The store cannot be asked for
    # the bytes: ftrack signs no GET before there is a location, and that makes the file visible.
    return _checked_etag(transfer, response)


def _headers(signed: SignedPut, size_bytes: int) -> dict[str, str | bytes]:
    # As bytes: requests cannot send a str with characters outside latin-1, such as an emoji in
    # the file name of Content-Disposition.
    headers: dict[str, str | bytes] = {
        name: value.encode() for name, value in signed.headers.items()
    }
    return headers | {"Content-Length": str(size_bytes)}


def _refusal(transfer: Transfer, response: requests.Response, body: bytes) -> UploadError:
    status = response.status_code
    reason = one_line(response.reason or "no reason given", MAX_STATUS_CHARS)
    code = error_code(body) or reason
    by = "store" if error_code(body) else "proxy"
    if code in DIGEST_CODES:
        return _mismatch(transfer, _calculated_md5_hex(body) or "unknown")
    if code in LATER_CODES or is_outage(status):
        return ServiceUnavailableError("store", f"{status} {code}", retry_after_s(response))
    if code in URL_CODES or status == requests.codes.forbidden:
        # S3 answers AccessDenied both for an expired URL and for any other refusal.
        code = f"{code}, expired" if b"has expired" in body else code
        return UrlRefusedError(transfer.component_id, status, code, by)
    is_foreign = by == "proxy" and status != requests.codes.request_entity_too_large
    if requests.codes.bad_request <= status and not is_foreign:
        return StoreRefusedError(transfer.component_id, status, code, by)
    is_redirect = requests.codes.multiple_choices <= status < requests.codes.bad_request
    if not is_redirect or is_portal(response, body):
        return InterceptedError("store", f"{status_of(response)}, not the store's own")
    return UnexpectedAnswerError(
        "the store", f"the PUT of component {transfer.component_id}", f"HTTP {status} is not 200"
    )


def _mismatch(transfer: Transfer, stored_md5: str) -> DigestMismatchError:
    sent_md5_hex = _md5_hex(transfer) or "unknown"
    return DigestMismatchError(transfer.component_id, transfer.path, sent_md5_hex, stored_md5)


def _calculated_md5_hex(body: bytes) -> str:
    # The error BadDigest contains the MD5 of the received bytes: S3 in base64, others in hex.
    pattern = rb"<CalculatedDigest>(?:([A-Za-z0-9+/]{22}==)|([0-9a-fA-F]{32}))</"
    match = re.search(pattern, body)
    if match is None:
        return ""
    return base64.b64decode(match[1]).hex() if match[1] else match[2].decode().lower()


def _md5_hex(transfer: Transfer) -> str:
    return base64.b64decode(transfer.checksum or "").hex()


def _checked_etag(transfer: Transfer, response: requests.Response) -> str:
    # The ETag of S3 and GCS is the hex MD5 of the stored bytes. If the store encrypted them with
    # a key of its own, the ETag has another form or is not a digest, and proves nothing.
    given = response.headers.get("ETag", "").strip()
    etag = given.removeprefix("W/").strip('"')
    md5_hex = _md5_hex(transfer)
    if etag[:32].lower() == md5_hex and not etag[32:33].isalnum():
        return md5_hex  # whatever a proxy has added to it
    # Without that header, such an ETag looks like that of corrupted bytes. A store that checks no
    # Content-MD5 says nothing else of these, so it counts as a mismatch.
    encrypted = any("server-side-encryption" in name.lower() for name in response.headers)
    match = MD5_ETAG.fullmatch(etag)
    if encrypted or not match:
        return etag if ETAG.fullmatch(etag) else ""
    if given.strip('"') == match[1]:
        raise _mismatch(transfer, match[1].lower())
    return ""  # the ETag of a proxy proves nothing
