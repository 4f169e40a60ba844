"""What a user asks for: one file to become, or to be the file of, one component."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tasks.transfer.models import Target, Transfer, derived_id

#: The order among the pending uploads; a lower number goes first.
PRIORITIES = {"urgent": 0, "normal": 1, "low": 2}


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """One upload as it is put into the record.

    ``size_bytes`` and ``mtime_ns`` are None when the file was not looked at (--no-stat);
    ``host`` is the only node that sees the file, or empty.
    """

    path: str
    target: Target
    size_bytes: int | None = None
    mtime_ns: int | None = None
    priority: str = "normal"
    host: str = ""
    allow_empty: bool = False

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
        if not (isinstance(path, str) and isinstance(target.component_id, str)):
            raise TypeError("path and component are to be text")
        return Transfer(upload_id, target, path, bool(allow_empty))
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"the request is of a version this worker does not know: {error}"
        ) from None
