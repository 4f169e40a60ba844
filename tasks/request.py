"""What a user asks for: one file to become, or to be the file of, one component."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from tasks.transfer.models import Target, Transfer, derived_id

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

#: The order among the pending uploads; a lower number goes first.
PRIORITIES = {"urgent": 0, "normal": 1, "low": 2}


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """One upload as it is put into the record.

    ``size_bytes`` and ``mtime_ns`` are None when the file was not looked at (--no-stat);
    ``host`` is the only node that sees the file, or empty; ``asked_at`` (seconds since 1970)
    is set where a request reaches Redis later than it was made.
    """

    path: str
    target: Target
    size_bytes: int | None = None
    mtime_ns: int | None = None
    priority: str = "normal"
    host: str = ""
    allow_empty: bool = False
    asked_at: float | None = None

    @property
    def upload_id(self) -> str:
        """The same request for the same state of the file is the same upload."""
        what = (self.target.version_id, self.target.name)
        if self.target.version_id is None:
            what = (self.target.component_id, "")
        return derived_id("upload", *what, self.path, self.size_bytes, self.mtime_ns)

    def to_record(self) -> dict[str, Any]:
        """What a worker needs to know; the record keeps it sealed."""
        return {
            "id": self.upload_id,
            "path": self.path,
            "target": {name: value for name, value in asdict(self.target).items() if value},
            "allow_empty": self.allow_empty,
        }


def transfer_from_record(upload_id: str, request: Any) -> Transfer:
    """Make the transfer of a request that was read from a record.

    Raises:
        ValueError: it is another upload's request, or none of this version's.
    """
    try:
        if request["id"] != upload_id:
            raise ValueError("the request belongs to another upload")
        target = Target(**request["target"])
        path, allow_empty = request["path"], request["allow_empty"]
        # A component's id goes into queries: without a key, anybody may have written it.
        if not (isinstance(path, str) and UUID.fullmatch(str(target.component_id))):
            raise TypeError("no path, or no component id")
        return Transfer(upload_id, target, path, bool(allow_empty))
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"the request is of a version this worker does not know: {error}"
        ) from None
