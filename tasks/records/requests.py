"""Requests as workers read them from records."""

from __future__ import annotations

from typing import Any

from tasks.intake.request import publish_from, target_from
from tasks.transfer.models import Transfer


def transfer_from_record(upload_id: str, request: Any) -> Transfer:
    """Return the transfer for a request that was read from a record.

    Raises:
        ValueError: it belongs to another upload, or this version cannot read it.
    """
    try:
        if request["id"] != upload_id:
            raise ValueError("the request belongs to another upload")
        path, allow_empty = request["path"], bool(request["allow_empty"])
        if not isinstance(path, str):
            raise TypeError("no path")
        target = target_from(request["target"])
        if "publish" in request:
            publish = publish_from(request["publish"])
            return Transfer(upload_id, target, path, allow_empty, stored=True, publish=publish)
        is_member = bool(request.get("is_member"))
        return Transfer(upload_id, target, path, allow_empty, is_member=is_member)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"this worker cannot read the request, perhaps of another version: {error}"
        ) from None
