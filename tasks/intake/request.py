"""What a user asks for: a file to be the file of a component, or a publish of several."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from tasks.transfer.models import Container, Publish, Target, Transfer, derived_id

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

#: The order among the pending uploads; a lower number goes first.
PRIORITIES = {"urgent": 0, "normal": 1, "low": 2}


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """One file as it is put into the record: an upload, or a file of a publish.

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
    is_member: bool = False

    @property
    def upload_id(self) -> str:
        """The same request for the same state of the file is the same upload."""
        target = self.target
        what = (target.version_id, target.name)
        if target.version_id is None or self.is_member:
            what = (target.component_id, "")
        kind = "file" if self.is_member else "upload"
        extras = _options_key(target)
        return derived_id(kind, *what, self.path, self.size_bytes, self.mtime_ns, *extras)

    @property
    def component_id(self) -> str:
        """The component that the file is for."""
        return self.target.component_id

    @property
    def is_preview(self) -> bool:
        """Whether people look at it while the rest is still being sent."""
        target = self.target
        return target.thumbnail or target.encode or (target.name or "").startswith("ftrackreview-")

    def to_record(self) -> dict[str, Any]:
        """What a worker needs to know; the record keeps it sealed."""
        target = {name: value for name, value in asdict(self.target).items() if value}
        member = {"is_member": True} if self.is_member else {}
        named = {"id": self.upload_id, "path": self.path, "target": target}
        return named | {"allow_empty": self.allow_empty} | member


@dataclass(frozen=True)
class PublishRequest:
    """Components that become visible together, once all of their files are stored.

    ``component_id`` is that of the sequence, or stands for the publish itself where it has a
    name; ``path`` is what people know it by.
    """

    path: str
    component_id: str
    publish: Publish
    files: tuple[UploadRequest, ...]
    asked_at: float | None = None

    @functools.cached_property
    def upload_id(self) -> str:
        """The same files in the same state are the same publish."""
        files = (one.upload_id for one in self.files)
        extras = (
            one for container in self.publish.containers for one in _options_key(container.target)
        )
        return derived_id("publish", self.component_id, *files, *extras)

    @property
    def size_bytes(self) -> int | None:
        """The size of all files together; None when they were not looked at."""
        sizes = [one.size_bytes for one in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)

    @property
    def priority(self) -> str:
        """The class among the pending uploads."""
        return self.files[0].priority

    @property
    def host(self) -> str:
        """The only node that sees the files, or empty."""
        return self.files[0].host

    def to_record(self) -> dict[str, Any]:
        """What a worker needs to know; the record keeps it sealed."""
        return {
            "id": self.upload_id,
            "path": self.path,
            "target": {"component_id": self.component_id},
            "allow_empty": False,
            "publish": asdict(self.publish),
        }


Request = UploadRequest | PublishRequest


def _options_key(target: Target) -> tuple[str, ...]:
    # Without any, ids are those that earlier versions made.
    values = (target.thumbnail, target.encode, target.task_id, target.metadata)
    return (repr(values),) if any(values) else ()


def to_spool(request: Request, asked_at: float) -> dict[str, Any]:
    """Give what the spool keeps of a request: plain values, for JSON."""
    return asdict(replace(request, asked_at=asked_at))


def from_spool(values: Mapping[str, Any]) -> Request:
    """Make the request of what the spool has kept.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    if "publish" not in values:
        return UploadRequest(**{**values, "target": _target(values["target"])})
    files = tuple(
        UploadRequest(**{**one, "target": _target(one["target"])}) for one in values["files"]
    )
    return PublishRequest(**{**values, "publish": _publish(values["publish"]), "files": files})


def transfer_from_record(upload_id: str, request: Any) -> Transfer:
    """Make the transfer of a request that was read from a record.

    Raises:
        ValueError: it is another upload's request, or none of this version's.
    """
    try:
        if request["id"] != upload_id:
            raise ValueError("the request belongs to another upload")
        path, allow_empty = request["path"], bool(request["allow_empty"])
        if not isinstance(path, str):
            raise TypeError("no path")
        target = _target(request["target"])
        if "publish" in request:
            publish = _publish(request["publish"])
            return Transfer(upload_id, target, path, allow_empty, stored=True, publish=publish)
        is_member = bool(request.get("is_member"))
        return Transfer(upload_id, target, path, allow_empty, is_member=is_member)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"the request is of a version this worker does not know: {error}"
        ) from None


def _target(values: Mapping[str, Any]) -> Target:
    metadata = tuple((str(key), str(value)) for key, value in values.get("metadata", ()))
    target = Target(**{**values, "metadata": metadata})
    # These ids go into queries: without a key, anybody may have written them.
    for name in ("component_id", "version_id", "task_id", "container_id"):
        value = getattr(target, name)
        if not (value is None and name != "component_id") and not UUID.fullmatch(str(value)):
            raise TypeError(f"{name} is no UUID")
    return target


def _publish(values: Mapping[str, Any]) -> Publish:
    rows = values["containers"]
    return Publish(tuple(Container(**{**row, "target": _target(row["target"])}) for row in rows))
