"""The operations that uploads consist of, and what their results must look like."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from tasks.transfer.errors import UnexpectedAnswerError
from tasks.transfer.models import (
    SERVER_LOCATION_ID,
    Multipart,
    SignedPut,
    Transfer,
    derived_id,
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


def parse_signed(transfer: Transfer, results: Sequence[Result]) -> Transfer | UnexpectedAnswerError:
    """Take URL and headers, or the URLs of all parts, from ``get_upload_metadata``."""
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


def locate_operations(transfer: Transfer) -> list[Operation]:
    """Make the component's location, and before it the component, if it has none yet."""
    target = transfer.target
    location: Operation = {
        "action": "create",
        "entity_type": "ComponentLocation",
        "entity_data": {
            "id": derived_id("location", target.component_id, SERVER_LOCATION_ID),
            "component_id": target.component_id,
            "location_id": SERVER_LOCATION_ID,
            "resource_identifier": target.component_id,
        },
    }
    if target.version_id is None:
        return [location]
    component: Operation = {
        "action": "create",
        "entity_type": "FileComponent",
        "entity_data": {
            "id": target.component_id,
            "name": target.name,
            "file_type": transfer.file_type,
            "size": transfer.size_bytes,
            "version_id": target.version_id,
            "system_type": "file",
        },
    }
    operations: list[Operation] = [component, location]
    if target.thumbnail:
        operations.append(
            {
                "action": "update",
                "entity_type": "AssetVersion",
                "entity_key": [target.version_id],
                "entity_data": {"thumbnail_id": target.component_id},
            }
        )
    if target.encode:
        operations.append(
            {
                "action": "encode_media",
                "component_id": target.component_id,
                "version_id": target.version_id,
                "keep_original": True,
            }
        )
    return operations


def parse_located(transfer: Transfer, results: Sequence[Result]) -> Transfer:
    """Give the transfer as it is: that there are results says that it is located."""
    del results
    return transfer


def complete_operation(transfer: Transfer, etags: Mapping[int, str]) -> Operation:
    """Join the parts of a large file, in ascending order."""
    return {
        "action": "complete_multipart_upload",
        "component_id": transfer.component_id,
        "upload_id": transfer.multipart.upload_id if transfer.multipart else "",
        "parts": [{"part_number": n, "e_tag": etags[n]} for n in sorted(etags)],
    }
