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

from tasks.request import PRIORITIES, UUID, UploadRequest
from tasks.settings import Settings
from tasks.transfer.errors import FileRefusedError
from tasks.transfer.files import check_kind, check_roots, identity_of
from tasks.transfer.models import Target

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


#: Paths of Windows: with a drive, or of a share (UNC).
WINDOWS = re.compile(r"[A-Za-z]:|\\\\|//")

#: Control characters, line breaks among them, fit into no header and no log; lone surrogates
#: are bytes that are not UTF-8.
UNFIT = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
MAX_TEXT = 4096  # PATH_MAX of Linux

#: So much of what a user wrote is repeated in a message.
MAX_SHOWN = 100


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
        _check_text(entry, "path", entry.path)
        _check_text(entry, "name", entry.name or "")
        target = _target(entry)
        if entry.priority not in PRIORITIES:
            raise BadInputError(
                f"{entry.where}priority {_shown(entry.priority)} is none of {', '.join(PRIORITIES)}"
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
        if not entry.path:
            raise BadInputError(f"{entry.where}the path is empty; write the name of a file")
        path = os.path.abspath(mapped(entry.path, self.settings.path_map))
        check_roots(path, os.path.realpath(path), self.settings.storage_roots)
        return path

    def _status(self, path: str, entry: Entry) -> os.stat_result:
        try:
            status = os.stat(path)
        except FileNotFoundError:
            raise BadInputError(
                f"{entry.where}{path}: no such file here; "
                "is the name right? When only workers see it, say --no-stat"
            ) from None
        except OSError as error:
            raise BadInputError(
                f"{entry.where}{path} can not be looked at here: {error.strerror}; "
                "mend that, or leave the look to a worker with --no-stat"
            ) from None
        check_kind(path, status, allow_empty=self.allow_empty)
        return status


def mapped(path: str, path_map: Iterable[tuple[str, str]]) -> str:
    """Turn another system's path into this one's (FARMHAUL_PATH_MAP); the longest prefix wins."""
    for source, target in sorted(path_map, key=lambda pair: -len(pair[0])):
        fold = _windows if WINDOWS.match(source) else str
        prefix, whole = fold(source).rstrip("/"), fold(path)
        if whole.startswith(f"{prefix}/") or whole == prefix:
            # As long as before folding, so that the rest keeps its case.
            rest = path[len(prefix) :]
            if fold is _windows:
                rest = rest.replace("\\", "/")
            return os.path.join(target, rest.lstrip("/"))
    return path


def _windows(path: str) -> str:
    # Windows takes both slashes, and capitals for small letters; ASCII alone keeps its length.
    return re.sub("[A-Z]", lambda match: match[0].lower(), path.replace("\\", "/"))


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
        raise BadInputError(f"{where}not JSON ({why}); write one object a line") from None
    if not isinstance(values, Mapping):
        raise BadInputError(f'{where}not a JSON object; write {{"path": …, "component_id": …}}')
    for key, value in values.items():
        if key not in MANIFEST_KEYS:
            raise BadInputError(f"{where}{_shown(key)} is none of {', '.join(MANIFEST_KEYS)}")
        if value is not None and not isinstance(value, MANIFEST_KEYS[key]):
            raise BadInputError(f"{where}{key} must be {_JSON_NAMES[MANIFEST_KEYS[key]]}")
    known: dict[str, Any] = {key: value for key, value in values.items() if value is not None}
    if "path" not in known:
        raise BadInputError(f'{where}has no path; write {{"path": …, "component_id": …}}')
    return Entry(**{"priority": priority, **known}, where=where)


_JSON_NAMES = {str: "a string", bool: "true or false"}


def _shown(text: str) -> str:
    """Quote what a user wrote: on one line, and not all of a megabyte."""
    return repr(text) if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]!r}…"


def _check_text(entry: Entry, what: str, text: str) -> None:
    if len(text) > MAX_TEXT or UNFIT.search(text):
        raise BadInputError(
            f"{entry.where}the {what} {_shown(text)} can not be written down everywhere (it is too "
            "long, or holds control characters or bytes that are not UTF-8); rename it"
        )


def _target(entry: Entry) -> Target:
    for what, value in (("component", entry.component_id), ("version", entry.version_id)):
        if value is not None and not UUID.fullmatch(value):
            raise BadInputError(
                f"{entry.where}{what} id {_shown(value)} is not a UUID; copy it from ftrack"
            )
    if entry.component_id and entry.version_id:
        raise BadInputError(
            f"{entry.where}{entry.path} has both a component and a version; give one of them"
        )
    if entry.version_id:
        name = PurePath(entry.path.replace("\\", "/")).stem if entry.name is None else entry.name
        if not name.strip():
            raise BadInputError(
                f"{entry.where}the name of a component can not be empty; give {entry.path} a name"
            )
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
