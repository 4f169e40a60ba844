"""Signing: ftrack signs the PUT of a file, or the PUTs of a large file's parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeGuard

from tasks.transfer.checks import check_queries, parse_known, refusal_of
from tasks.transfer.errors import UnexpectedAnswerError, UploadError
from tasks.transfer.ftrack import FtrackClient, Operation, Outcomes, Result, bisect_failures
from tasks.transfer.http import URL
from tasks.transfer.models import Multipart, SignedPut, Transfer, part_count

#: Headers that can be written into a request: RFC 9110, without characters that clients refuse.
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"(?!\s)[^\r\n\0\ud800-\udfff]*")


def sign(ftrack: FtrackClient, transfers: Sequence[Transfer], *, check: bool = True) -> Outcomes:
    """Have the PUT of each transfer signed, in one POST.

    The same POST looks up the targets, so that one that cannot take the file is noticed before
    100 GB are sent. Without ``check``, the component need not exist.
    """

    def call(batch: Sequence[Transfer]) -> Outcomes:
        queries = check_queries(batch) if check else []
        groups = [*queries, *([_sign_operation(transfer)] for transfer in batch)]
        results = ftrack.call_in_groups(groups)
        known = parse_known(results[: len(queries)]) if check else None
        return {
            transfer.upload_id: (known and refusal_of(transfer, known))
            or _parse_signed(transfer, result)
            for transfer, [result] in zip(batch, results[len(queries) :], strict=True)
        }

    return bisect_failures(call, transfers, "sign the upload of")


def _sign_operation(transfer: Transfer) -> Operation:
    # The component does not have to exist yet.
    operation = {
        "action": "get_upload_metadata",
        "component_id": transfer.component_id,
        "file_name": transfer.file_name,
        "file_size": transfer.size_bytes,
    }
    if not transfer.is_large:
        return operation | {"checksum": transfer.checksum}
    # A server that can sign an open upload again keeps its finished parts. Any other opens a
    # new one, and returns another id.
    again = {"upload_id": transfer.multipart.upload_id} if transfer.multipart else {}
    return operation | {"parts": part_count(transfer.size_bytes)} | again


def _parse_signed(transfer: Transfer, result: Result) -> Transfer | UploadError:
    if transfer.is_large:
        return _parse_parts(transfer, result)
    url, headers = result.get("url"), result.get("headers")
    if (
        _fits(url, URL)
        and isinstance(headers, dict)
        and all(_fits(name, HEADER_NAME) for name in headers)
        and all(_fits(value, HEADER_VALUE) for value in headers.values())
    ):
        return replace(transfer, signed=SignedPut(url, headers))
    return UnexpectedAnswerError("ftrack", "get_upload_metadata", "no usable url and headers")


def _parse_parts(transfer: Transfer, result: Result) -> Transfer | UnexpectedAnswerError:
    upload_id, urls = result.get("upload_id"), result.get("urls")
    rows = [row for row in urls if isinstance(row, dict)] if isinstance(urls, list) else []
    by_number = {str(row.get("part_number")): row.get("signed_url") for row in rows}
    numbers = range(1, len(by_number) + 1)
    known = {n: url for n in numbers if _fits(url := by_number.get(str(n)), URL)}
    expected = part_count(transfer.size_bytes)
    if isinstance(upload_id, str) and upload_id and len(known) == len(by_number) == expected:
        return replace(transfer, multipart=Multipart(upload_id, known))
    return UnexpectedAnswerError("ftrack", "get_upload_metadata", "no usable upload_id and urls")


def _fits(value: object, pattern: re.Pattern[str]) -> TypeGuard[str]:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
