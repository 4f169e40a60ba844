"""The operations that bring a file into the store, and what their results must look like."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from tasks.transfer.errors import RequestRefusedError, UnexpectedAnswerError
from tasks.transfer.models import (
    Multipart,
    SignedPut,
    Transfer,
    part_size_bytes,
)

#: What can be written into a request: RFC 9112 and 9110, less what clients refuse to send.
URL = re.compile(r"https?://[!-~]+")
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"(?!\s)[^\r\n\0\ud800-\udfff]*")

Operation = dict[str, Any]
Result = Mapping[str, Any]


def sign_operations(transfer: Transfer) -> list[Operation]:
    """Ask for a signed PUT; the component need not exist yet."""
    operation = {
        "action": "get_upload_metadata",
        "component_id": transfer.component_id,
        "file_name": transfer.file_name,
        "file_size": transfer.size_bytes,
    }
    if not transfer.is_large:
        return [operation | {"checksum": transfer.checksum}]
    parts = len(range(0, transfer.size_bytes, part_size_bytes(transfer.size_bytes)))
    # Where a server can sign an open upload anew, finished parts stay; another opens a new
    # one, and says so by its id.
    again = {"upload_id": transfer.multipart.upload_id} if transfer.multipart else {}
    return [operation | {"parts": parts} | again]


def parse_signed(
    transfer: Transfer, results: Sequence[Result], lead: Sequence[Result] = ()
) -> Transfer | UnexpectedAnswerError | RequestRefusedError:
    """Take URL and headers, or the URLs of all parts, from ``get_upload_metadata``.

    ``lead`` holds the answer to ``version_operations``: a version that is gone is told here,
    and not when 100 GB have been sent.
    """
    version_id = transfer.target.version_id
    if version_id and version_id not in {row.get("id") for one in lead for row in rows_of(one)}:
        why = f"version {version_id} does not exist"
        return RequestRefusedError(transfer.component_id, "create", why)
    if transfer.is_large:
        return _parse_parts(transfer, results[0])
    url, headers = results[0].get("url"), results[0].get("headers")
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
    parts = len(range(0, transfer.size_bytes, part_size_bytes(transfer.size_bytes)))
    if isinstance(upload_id, str) and upload_id and len(known) == len(by_number) == parts:
        return replace(transfer, multipart=Multipart(upload_id, known))
    return UnexpectedAnswerError("ftrack", "get_upload_metadata", "no usable upload_id and urls")


def _fits(value: object, pattern: re.Pattern[str]) -> TypeGuard[str]:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def complete_operation(transfer: Transfer, etags: Mapping[int, str]) -> Operation:
    """Join the parts of a large file, in ascending order."""
    return {
        "action": "complete_multipart_upload",
        "component_id": transfer.component_id,
        "upload_id": transfer.multipart.upload_id if transfer.multipart else "",
        "parts": [{"part_number": n, "e_tag": etags[n]} for n in sorted(etags)],
    }


def version_operations(transfers: Sequence[Transfer]) -> list[Operation]:
    """Ask for the versions that components are to be created under, where there are any."""
    version_ids = sorted({one.target.version_id for one in transfers if one.target.version_id})
    if not version_ids:
        return []
    return [query("id", "AssetVersion", f"id in ({listed(version_ids)})")]


def rows_of(result: Result) -> list[Result]:
    """Give the rows of a query's result."""
    data = result.get("data")
    return [row for row in data if isinstance(row, dict)] if isinstance(data, list) else []


def query(columns: str, entity_type: str, where: str) -> Operation:
    """Make the operation of a query."""
    expression = f"select {columns} from {entity_type} where {where}"  # noqa: S608 not SQL; ids are checked UUIDs
    return {"action": "query", "expression": expression}


def listed(ids: Iterable[str]) -> str:
    """Write ids as a query has them."""
    return ", ".join(f'"{one}"' for one in ids)
