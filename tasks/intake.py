"""From what a user typed, or a manifest holds, to upload requests: checked before any is queued."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from tasks.request import PRIORITIES, UploadRequest
from tasks.settings import Settings
from tasks.transfer.errors import FileRefusedError
from tasks.transfer.files import check_kind, check_roots, identity_of
from tasks.transfer.models import Target

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

#: The keys of a manifest line, and the types of their values.
MANIFEST_KEYS: dict[str, type] = {
    "path": str,
    "component_id": str,
    "version_id": str,
    "name": str,
    "thumbnail": bool,
    "encode": bool,
    "priority": str,
}


class BadInputError(Exception):
    """What the user gave can not be done; the text is the one line that says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One upload as the user wrote it."""

    path: str
    component_id: str | None = None
    version_id: str | None = None
    name: str | None = None
    thumbnail: bool = False
    encode: bool = False
    priority: str = "normal"
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Intake:
    """How entries are to be read: what the environment and the options say."""

    settings: Settings
    allow_empty: bool = False
    stat: bool = True
    node_local: bool = False

    def requests(self, entries: Sequence[Entry]) -> list[UploadRequest]:
        """Check all entries and make requests of them; raises BadInputError for the first fault."""
        if not self.settings.storage_roots:
            raise BadInputError(
                "FARMHAUL_STORAGE_ROOTS is not set, so nothing may be uploaded; "
                "set it to the folders that renders are written to, as /mnt/prod:/mnt/cache"
            )
        requests = []
        seen: dict[str, tuple[str, str]] = {}
        for entry in entries:
            try:
                request = self._request(entry)
            except FileRefusedError as error:
                raise BadInputError(f"{entry.where}{error}") from None
            component_id = request.target.component_id
            path, where = seen.setdefault(component_id, (request.path, entry.where))
            if path != request.path:
                other = f" ({where.removesuffix(': ')})" if where else ""
                raise BadInputError(
                    f"{entry.where}component {component_id} is to have both {path}{other} and "
                    f"{request.path}; a component has one file: give each file its own component"
                )
            requests.append(request)
        return requests

    def _request(self, entry: Entry) -> UploadRequest:
        target = _target(entry)
        if entry.priority not in PRIORITIES:
            raise BadInputError(
                f"{entry.where}priority {entry.priority!r} is none of {', '.join(PRIORITIES)}"
            )
        path = self._path(entry)
        size_bytes = mtime_ns = None
        if self.stat:
            identity = identity_of(self._status(path, entry))
            size_bytes, mtime_ns = identity.size_bytes, identity.mtime_ns
        host = socket.gethostname() if self.node_local else ""
        return UploadRequest(
            path, target, size_bytes, mtime_ns, entry.priority, host, self.allow_empty
        )

    def _path(self, entry: Entry) -> str:
        try:
            entry.path.encode()
        except UnicodeEncodeError:
            raise BadInputError(
                f"{entry.where}{entry.path!r} is not a name in UTF-8, which ftrack needs; rename it"
            ) from None
        if not entry.path or "\0" in entry.path:
            raise BadInputError(f"{entry.where}{entry.path!r} is not a path")
        path = os.path.abspath(mapped(entry.path, self.settings.path_map))
        check_roots(path, os.path.realpath(path), self.settings.storage_roots)
        return path

    def _status(self, path: str, entry: Entry) -> os.stat_result:
        try:
            status = os.stat(path)
        except FileNotFoundError:
            raise BadInputError(f"{entry.where}{path}: no such file") from None
        except OSError as error:
            raise BadInputError(f"{entry.where}{path}: {error.strerror}") from None
        check_kind(path, status, allow_empty=self.allow_empty)
        return status


def mapped(path: str, path_map: Iterable[tuple[str, str]]) -> str:
    """Turn another system's path into this one's (FARMHAUL_PATH_MAP); the longest prefix wins."""
    for source, target in sorted(path_map, key=lambda pair: -len(pair[0])):
        if path.startswith(source):
            rest = path[len(source) :]
            if "\\" in path:
                rest = rest.replace("\\", "/")
            return os.path.join(target, rest.lstrip("/"))
    return path


def read_manifest(lines: Iterable[str], priority: str = "normal") -> list[Entry]:
    """Read a manifest, JSON lines; raises BadInputError with the number of the first bad one."""
    entries = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            entries.append(_entry(line, f"manifest line {number}: ", priority))
    if not entries:
        raise BadInputError("the manifest holds no uploads; write one JSON object a line")
    return entries


def _entry(line: str, where: str, priority: str) -> Entry:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise BadInputError(f"{where}not JSON ({why})") from None
    if not isinstance(values, Mapping):
        raise BadInputError(f'{where}not a JSON object; write {{"path": …, "component_id": …}}')
    for key, value in values.items():
        if key not in MANIFEST_KEYS:
            raise BadInputError(f"{where}{key!r} is none of {', '.join(MANIFEST_KEYS)}")
        if value is not None and not isinstance(value, MANIFEST_KEYS[key]):
            raise BadInputError(f"{where}{key} must be a {_JSON_NAMES[MANIFEST_KEYS[key]]}")
    known: dict[str, Any] = {key: value for key, value in values.items() if value is not None}
    if "path" not in known:
        raise BadInputError(f"{where}has no path")
    return Entry(**{"priority": priority, **known}, where=where)


_JSON_NAMES = {str: "string", bool: "true or false"}


def _target(entry: Entry) -> Target:
    for what, value in (("component", entry.component_id), ("version", entry.version_id)):
        if value is not None and not UUID.fullmatch(value):
            raise BadInputError(f"{entry.where}{what} id {value!r} is not a UUID")
    if entry.component_id and entry.version_id:
        raise BadInputError(
            f"{entry.where}{entry.path} has both a component and a version; give one of them"
        )
    if entry.version_id:
        name = PurePath(entry.path.replace("\\", "/")).stem if entry.name is None else entry.name
        if not name.strip():
            raise BadInputError(f"{entry.where}the name of a component can not be empty")
        return Target.under_version(
            entry.version_id.lower(), name, thumbnail=entry.thumbnail, encode=entry.encode
        )
    if not entry.component_id:
        raise BadInputError(
            f"{entry.where}{entry.path} has no target; give a component id "
            "(a component that exists) or a version id (to create one under it)"
        )
    extras = [
        name
        for name in ("name", "thumbnail", "encode")
        if getattr(entry, name) not in {None, False}
    ]
    if extras:
        raise BadInputError(
            f"{entry.where}{' and '.join(extras)} of {entry.path} go with a version id, "
            "not with a component that exists"
        )
    return Target(entry.component_id.lower())
