"""Requests as workers read them from records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.intake.request import publish_from, target_from
from tasks.transfer.models import AskedFor, Transfer
from tasks.transfer.names import is_unfit


def transfer_from_record(upload_id: str, request: Any) -> Transfer:
    """Return the transfer for a request that was read from a record.

    Raises:
        ValueError: it belongs to another upload, or this version cannot read it.
    """
    try:
        if request["id"] != upload_id:
            raise ValueError("the request belongs to another upload")
        path, allow_empty = request["path"], bool(request["allow_empty"])
        if not isinstance(path, str) or is_unfit(path):
            # One such path, with a NUL in it, would stop its whole batch.
            raise TypeError("the path is not one that a file can have")
        target = target_from(request["target"])
        if "publish" in request:
            publish = publish_from(request["publish"])
            publish = publish._replace(members=str(request.get("members", "")))
            return Transfer(upload_id, target, path, allow_empty, stored=True, publish=publish)
        is_member = bool(request.get("is_member"))
        asked = _asked_for(request)
        return Transfer(upload_id, target, path, allow_empty, asked, is_member=is_member)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"this worker cannot read the request, perhaps of another version: {error}"
        ) from None


def _asked_for(request: Mapping[str, Any]) -> AskedFor:
    # A record of a former version has none of these.
    kinds = {"size": (int,), "mtime_ns": (int,), "host": (str,), "asked_at": (int, float)}
    for name, types in kinds.items():
        if name in request and type(request[name]) not in types:
            raise TypeError(f"{name} is of another type")
    size, mtime_ns, host, at = map(request.get, kinds)
    return AskedFor(size, mtime_ns, host or "", at)
