"""The operations that uploads consist of, and what their results must look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tasks.transfer.errors import UnexpectedAnswerError
from tasks.transfer.models import SERVER_LOCATION_ID, SignedPut, Transfer, derived_id

Operation = dict[str, Any]
Result = Mapping[str, Any]


def sign_operations(transfer: Transfer) -> list[Operation]:
    """Ask for a signed PUT; the component need not exist yet."""
    return [
        {
            "action": "get_upload_metadata",
            "component_id": transfer.component_id,
            "file_name": transfer.file_name,
            "file_size": transfer.size_bytes,
            "checksum": transfer.checksum,
        }
    ]


def parse_signed(transfer: Transfer, results: Sequence[Result]) -> Transfer | UnexpectedAnswerError:
    """Take URL and headers from the result of ``get_upload_metadata``."""
    url, headers = results[0].get("url"), results[0].get("headers")
    if (
        isinstance(url, str)
        and url.startswith(("https://", "http://"))
        and isinstance(headers, dict)
        and all(isinstance(value, str) for value in headers.values())
    ):
        return replace(transfer, signed=SignedPut(url, headers))
    return UnexpectedAnswerError("ftrack", "get_upload_metadata", "no usable url and headers")


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
