"""Signing: ftrack signs the PUT of a file, or the PUTs of a large file's parts."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeGuard
from urllib.parse import urlsplit

from tasks.transfer.addresses import URL, may_be_called
from tasks.transfer.bisection import bisect_failures
from tasks.transfer.checks import check_queries, parse_known, refusal_of, with_used
from tasks.transfer.errors import UnexpectedAnswerError, UploadError
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.http import one_line
from tasks.transfer.models import Multipart, Outcomes, SignedPut, Transfer, part_count
from tasks.transfer.operations import Operation, Result

#: Headers that can be written into a request: RFC 9110, without characters that clients refuse.
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"(?!\s)[^\r\n\0\ud800-\udfff]*")
#: Headers that say where a request ends, who gets it, or how the connection goes on. Host and
#: Content-Length are part of some signatures: they may say what is sent anyway.
FRAMING = {
    "connection", "expect", "http2-settings", "keep-alive", "trailer", "transfer-encoding",
    "upgrade", "te",  # codespell:ignore te
}  # fmt: skip
#: Of a URL's headers, all together.
MAX_HEADER_CHARS = 16_384
#: When a URL was signed, and for how many seconds (Signature Version 4 of S3 and GCS).
SIGNED_AT = re.compile(r"[?&]X-(?:Amz|Goog)-Date=(\d{8}T\d{6}Z)(?:&|$)", re.ASCII)
LASTS_S = re.compile(r"[?&]X-(?:Amz|Goog)-Expires=(\d{1,9})(?:&|$)", re.ASCII)
#: How long such a URL may last, in seconds: 7 days. Both stores refuse a longer time.
#: (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html)
MAX_LASTS_S = 604_800
#: The id of a multipart upload in the store; S3's have about 100 characters.
MULTIPART_ID = re.compile(r"[!-~]{1,2048}")


def sign(ftrack: FtrackClient, transfers: Sequence[Transfer], *, check: bool = True) -> Outcomes:
    """Have the PUT of each transfer signed, in one POST.

    The same POST looks up the targets, so that one that cannot take the file is noticed before
    100 GB are sent. Without ``check``, the component need not exist. A file that is not uploaded
    returns as stored.
    """

    def call(batch: Sequence[Transfer]) -> Outcomes:
        queries = check_queries(batch) if check else []
        groups = [*queries, *map(_sign_operations, batch)]
        results = ftrack.call_in_groups(groups)
        known = parse_known(results[: len(queries)]) if check else None
        signed: Outcomes = {}
        elsewhere: list[Transfer] = []
        for transfer, own in zip(batch, results[len(queries) :], strict=True):
            wanted = with_used(transfer, known) if known else transfer
            if known and (refused := refusal_of(wanted, known)):
                signed[transfer.upload_id] = refused
            elif wanted is not transfer:
                elsewhere.append(wanted)
            elif own:
                signed[transfer.upload_id] = _parse_signed(transfer, own[0], ftrack.server_url)
            else:
                signed[transfer.upload_id] = replace(transfer, stored=True)
        # Into a component of another program, which is empty: that was not known before.
        return signed | (sign(ftrack, elsewhere, check=False) if elsewhere else {})

    return bisect_failures(call, transfers, "sign the upload of")


def sign_alone(ftrack: FtrackClient, transfer: Transfer) -> Transfer:
    """Have the PUT of one transfer signed by a POST of its own.

    Raises:
        UploadError: it was not signed.
    """
    outcome = sign(ftrack, [transfer])[transfer.upload_id]
    if isinstance(outcome, UploadError):
        raise outcome
    return outcome


def _sign_operations(transfer: Transfer) -> list[Operation]:
    if transfer.target.only_in:
        return []
    # The component does not have to exist yet.
    operation = {
        "action": "get_upload_metadata",
        "component_id": transfer.component_id,
        "file_name": transfer.file_name,
        "file_size": transfer.size_bytes,
    }
    if not transfer.is_large:
        return [operation | {"checksum": transfer.checksum}]
    # A server that can sign an open upload again keeps its finished parts. Any other opens a
    # new one, and returns another id.
    again = {"upload_id": transfer.multipart.upload_id} if transfer.multipart else {}
    return [operation | {"parts": part_count(transfer.size_bytes)} | again]


def _parse_signed(transfer: Transfer, result: Result, server_url: str) -> Transfer | UploadError:
    if transfer.is_large:
        return _parse_parts(transfer, result, server_url)
    url, headers = result.get("url"), result.get("headers")
    if is_url(url, server_url) and _are_headers(headers, url, transfer.size_bytes):
        return replace(transfer, signed=SignedPut(url, headers))
    return _unusable("url and headers", url, server_url)


def _unusable(what: str, url: object, server_url: str) -> UnexpectedAnswerError:
    why = f"no usable {what}"
    if isinstance(url, str) and URL.fullmatch(url) and not may_be_called(url, server_url):
        parts = urlsplit(url)
        host = one_line(f"{parts.scheme}://{parts.netloc}")
        why += f": files go to https alone, to no link-local address, and not to {host}"
    return UnexpectedAnswerError("ftrack", "get_upload_metadata", why)


def fits(put: SignedPut, size_bytes: int, server_url: str) -> bool:
    """Return whether a file of this size may be sent so, by whomever that was signed.

    An operator can seal what ftrack has not signed.
    """
    return is_url(put.url, server_url) and _are_headers(put.headers, put.url, size_bytes)


class UrlDates:
    """What the dates of URLs tell a node, until a store accepts one that it should refuse.

    Then the node's clock is wrong, or that of ftrack, and only the store knows.
    """

    def __init__(self) -> None:
        self._are_right = True

    def is_over(self, put: SignedPut) -> bool:
        """Return whether the store will refuse a URL because of its dates."""
        return self._are_right and has_bad_dates(put)

    def note_accepted(self, put: SignedPut) -> None:
        """Note that the store has accepted a URL."""
        self._are_right = self._are_right and not has_bad_dates(put)


def has_bad_dates(put: SignedPut) -> bool:
    """Return whether a URL's time is over, by this node's clock, or it may not last so long.

    False if the URL does not say it.
    """
    signed_at, lasts_s = SIGNED_AT.search(put.url), LASTS_S.search(put.url)
    if not signed_at or not lasts_s:
        return False
    try:
        moment = datetime.fromisoformat(signed_at[1])
    except ValueError:  # such as a 31st of June
        return False
    return int(lasts_s[1]) > MAX_LASTS_S or moment.timestamp() + int(lasts_s[1]) < time.time()


def is_url(value: object, server_url: str) -> TypeGuard[str]:
    """Return whether a value is a URL that files may be sent to, if ftrack is at *server_url*."""
    return isinstance(value, str) and may_be_called(value, server_url)


def _are_headers(headers: object, url: str, size_bytes: int) -> TypeGuard[dict[str, str]]:
    """Return whether with these headers, a PUT remains the PUT of this file to this host."""
    if not isinstance(headers, dict) or len(json.dumps(headers)) > MAX_HEADER_CHARS:
        return False
    as_sent = {"host": urlsplit(url).netloc, "content-length": str(size_bytes)}
    return all(
        _fits(name, HEADER_NAME)
        and _fits(value, HEADER_VALUE)
        and name.lower() not in FRAMING
        and not name.lower().startswith("proxy-")
        and value == as_sent.get(name.lower(), value)
        for name, value in headers.items()
    )


def _parse_parts(
    transfer: Transfer, result: Result, server_url: str
) -> Transfer | UnexpectedAnswerError:
    upload_id, urls = result.get("upload_id"), result.get("urls")
    rows = [row for row in urls if isinstance(row, dict)] if isinstance(urls, list) else []
    by_number = {str(row.get("part_number")): row.get("signed_url") for row in rows}
    numbers = range(1, len(by_number) + 1)
    known = {n: url for n in numbers if is_url(url := by_number.get(str(n)), server_url)}
    expected = part_count(transfer.size_bytes)
    if _fits(upload_id, MULTIPART_ID) and len(known) == len(by_number) == expected:
        return replace(transfer, multipart=Multipart(upload_id, known))
    other = next((url for url in by_number.values() if not is_url(url, server_url)), None)
    return _unusable("upload_id and urls", other, server_url)


def _fits(value: object, pattern: re.Pattern[str]) -> TypeGuard[str]:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
