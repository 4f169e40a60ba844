"""Requests: the upload of a file into a component, or a publish of several files."""

from __future__ import annotations

from tasks.transfer.named_tuple import NamedTuple
from tasks.transfer.targets import (
    QUOTES,
    Container,
    NewVersion,
    OfVersion,
    Publish,
    Target,
    derived_id,
    is_uuid,
    is_version_number,
    members_digest,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, TypeAlias

#: The order of pending uploads: a lower number goes first.
PRIORITIES = {"urgent": 0, "normal": 1, "low": 2}

#: How the names of components begin that ftrack's player knows.
REVIEW_PREFIX = "ftrackreview-"


class UploadRequest(NamedTuple):
    """One file as its record has it: an upload, or a member of a publish.

    ``size_bytes`` and ``mtime_ns`` are None with --no-stat. ``host`` is the only node that sees
    the file; it is empty when all do. ``asked_at`` (seconds since 1970) is set when a request
    reaches Redis later than it was made. ``is_member`` marks a member of a publish. ``asked_host``
    and ``asked_user`` are who asked; a worker takes them from the entry.
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
    asked_host: str = ""
    asked_user: str = ""

    @property
    def upload_id(self) -> str:
        """The id; the same request for the same version of the file is the same upload."""
        target = self.target
        what = (target.version_id, target.name)
        if target.version_id is None or self.is_member:
            what = (target.component_id, "")
        kind = "file" if self.is_member else "upload"
        state = (self.size_bytes, self.mtime_ns)
        return derived_id(kind, *what, self.path, *state, _options_key(target))

    @property
    def component_id(self) -> str:
        """The component that gets the file."""
        return self.target.component_id

    @property
    def is_preview(self) -> bool:
        """Whether people look at the file while the rest is still being uploaded."""
        target = self.target
        return target.thumbnail or target.encode or (target.name or "").startswith(REVIEW_PREFIX)

    def to_record(self) -> dict[str, Any]:
        """Return what a worker needs to know, as the record keeps it (sealed)."""
        target = {name: value for name, value in self.target._asdict().items() if value}
        if self.target.new_version:
            target["new_version"] = _without_end(self.target.new_version)
        values: dict[str, Any] = {"id": self.upload_id, "path": self.path, "target": target}
        values["allow_empty"] = self.allow_empty
        # The file must still be this one when a worker reads it.
        known = {
            "size": self.size_bytes,
            "mtime_ns": self.mtime_ns,
            "host": self.host or None,
            "asked_at": self.asked_at,
            "is_member": self.is_member or None,
            "asked_host": self.asked_host or None,
            "asked_user": self.asked_user or None,
        }
        values.update((name, value) for name, value in known.items() if value is not None)
        return values


class _PublishFields(NamedTuple):
    path: str
    component_id: str
    publish: Publish
    files: tuple[UploadRequest, ...]
    asked_at: float | None = None
    asked_host: str = ""
    asked_user: str = ""


class PublishRequest(_PublishFields):
    """Components that become visible together, once all of their files are stored.

    A publish is either one sequence, or all entries with the same publish name.
    ``component_id`` is the component of the sequence, or an id derived from the name. ``path`` is
    the sequence as the user wrote it, or the name.
    """

    @property
    def upload_id(self) -> str:
        """The id; the same files in the same state with the same options are the same publish."""
        # A class below a named tuple has a __dict__. It keeps the id, because that of 10,000
        # files takes a tenth of a second.
        if "upload_id" not in self.__dict__:
            self.__dict__["upload_id"] = self._derived_id()
        return str(self.__dict__["upload_id"])

    def _derived_id(self) -> str:
        files = (file.upload_id for file in self.files)
        options = (_options_key(container.target) for container in self.publish.containers)
        return derived_id("publish", self.component_id, *files, *options)

    @property
    def size_bytes(self) -> int | None:
        """The size of all files together; None with --no-stat."""
        sizes = [file.size_bytes for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)

    @property
    def priority(self) -> str:
        """The priority, a key of PRIORITIES."""
        return self.files[0].priority

    @property
    def host(self) -> str:
        """The only node that sees the files; empty when all do."""
        return self.files[0].host

    def to_record(self) -> dict[str, Any]:
        """Return what a worker needs to know, as the record keeps it (sealed)."""
        return {
            "id": self.upload_id,
            "path": self.path,
            "target": {"component_id": self.component_id},
            "allow_empty": False,
            "publish": _publish_values(self.publish),
            **({"asked_host": self.asked_host} if self.asked_host else {}),
            **({"asked_user": self.asked_user} if self.asked_user else {}),
            "members": members_digest(file.upload_id for file in self.files),
        }


# A text, because Python 3.8 and 3.9 do not know the operator | for classes.
Request: TypeAlias = "UploadRequest | PublishRequest"


def _options_key(target: Target) -> str:
    """Return a text that differs if ftrack must do something else with the same file.

    It is part of the upload's id: if a user enqueues a stored file again with --thumbnail, this
    is a new upload.
    """
    options = (target.thumbnail, target.encode, target.task_id, target.metadata)
    more = [name for name in ("encode_only", "prune", "listed") if getattr(target, name)]
    # A frame that is stored stays stored when its sequence replaces another one.
    if target.replace and not target.container_id:
        more.append("replace")
    # ``also_in`` is no part of it: the path is added to a file that is stored.
    if target.only_in:
        more.append(f"only_in {target.only_in}")
    if target.of_version:
        more.append(repr(tuple(target.of_version)))
    return repr((*options, *more))


def _publish_values(publish: Publish) -> dict[str, Any]:
    return {"containers": [_container_values(container) for container in publish.containers]}


def _container_values(container: Container) -> dict[str, Any]:
    values = {**container._asdict(), "target": container.target._asdict()}
    # A former version cannot read these: they are left out where they say nothing.
    target = values["target"]
    new: tuple[str, ...] = ("replace", "encode_only", "prune", "also_in", "only_in", "location")
    new = (*new, "new_version", "of_version", "listed")
    if target["new_version"]:
        target["new_version"] = _without_end(target["new_version"])
    for where, name in ((values, "pattern"), *((target, name) for name in new)):
        if not where[name]:
            del where[name]
    return values


def _without_end(version: NewVersion) -> tuple[str, ...]:
    """Return a version as a record has it: without empty texts at the end, which may be new."""
    count = max(number for number, text in enumerate(version, start=1) if text)
    return tuple(version)[:count]


def target_from(values: Mapping[str, Any]) -> Target:
    """Return the target whose plain values are in a record.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: they are not those of a target.
    """
    metadata = tuple((str(key), str(value)) for key, value in values.get("metadata", ()))
    target = Target(**{**values, "metadata": metadata})
    if target.location or not all(type(name) is str for name in (target.also_in, target.only_in)):
        raise TypeError("its location is not a name")
    if target.new_version is not None:
        target = target._replace(new_version=_new_version(target))
    if target.of_version is not None:
        target = target._replace(of_version=_of_version(target.of_version))
    # These ids become part of queries, and without a secret key anybody may have written them.
    for name in ("component_id", "version_id", "task_id", "container_id"):
        value = getattr(target, name)
        if not (value is None and name != "component_id") and not is_uuid(str(value)):
            raise TypeError(f"{name} is not a UUID")
    return target


def _new_version(target: Target) -> NewVersion:
    """Return the version that a record describes; a worker asks ftrack for the rest."""
    version = NewVersion(*(target.new_version or ()))
    texts = version._replace(comment="")
    if not all(type(text) is str for text in version) or not QUOTES.isdisjoint("".join(texts)):
        raise TypeError("its version has something that is not a name")
    if version.number and not is_version_number(version.number):
        raise TypeError("its number is not that of a version")
    if target.version_id != version.version_id:
        raise TypeError("its version is another one")
    return version._replace(context_id="", type_id="", status_id="", task_id="")


def _of_version(values: Iterable[Any]) -> OfVersion:
    """Return what a version gets, of a record."""
    metadata, attributes, lists, reviews = values
    found = OfVersion(_pairs(metadata), _pairs(attributes), tuple(lists), tuple(reviews))
    names = [*found.lists, *found.reviews, *(key for key, _ in found.attributes)]
    if not all(type(name) is str for name in names) or not QUOTES.isdisjoint("".join(names)):
        raise TypeError("what its version gets has something that is not a name")
    return found


def _pairs(rows: Iterable[Any]) -> tuple[tuple[str, str], ...]:
    return tuple((str(key), str(value)) for key, value in rows)


def publish_from(values: Mapping[str, Any]) -> Publish:
    """Return the publish whose plain values are in a record.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: they are not those of a publish.
    """
    rows = values["containers"]
    return Publish(
        tuple(Container(**{**row, "target": target_from(row["target"])}) for row in rows)
    )
