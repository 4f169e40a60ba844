"""From what a user wrote to requests: all of it is checked before any is queued."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from tasks.config.path_map import absolute, check_here
from tasks.config.remedies import explained
from tasks.config.settings import Settings
from tasks.intake.frames import read_frames
from tasks.intake.manifest import BadInputError, Entry, quoted, read_manifest
from tasks.intake.notation import Frames, FramesError
from tasks.intake.request import PRIORITIES, PublishRequest, Request, UploadRequest
from tasks.intake.rules import check_entry, check_sequence
from tasks.transfer.errors import FileRefusedError
from tasks.transfer.files import check_kind, identity_of
from tasks.transfer.models import Container, Publish, Target, derived_id

__all__ = ["BadInputError", "Entry", "Intake", "read_manifest"]


@dataclass(frozen=True, slots=True)
class Component:
    """What an entry becomes: a component with its file, or with its frames."""

    entry: Entry
    path: str
    target: Target
    files: tuple[UploadRequest, ...]
    container: Container | None = None


@dataclass(frozen=True, slots=True)
class Intake:
    """How entries are to be read: what the environment and the options say."""

    settings: Settings
    allow_empty: bool = False
    stat: bool = True
    node_local: bool = False
    allow_missing: bool = False

    def requests(self, entries: Sequence[Entry]) -> list[Request]:
        """Check all entries and make requests of them; raises BadInputError for the first fault.

        Entries of one publish become one request, in the place of the first of them.
        """
        if not self.settings.storage_roots:
            raise BadInputError(
                "FARMHAUL_STORAGE_ROOTS is not set, so nothing may be uploaded; "
                "set it to the folders that renders are written to, as /mnt/prod:/mnt/cache"
            )
        seen: dict[str, Component] = {}
        groups: dict[object, list[Component]] = {}
        for number, entry in enumerate(entries):
            try:
                component = self._component(entry)
            except (FileRefusedError, FramesError) as error:
                raise BadInputError(f"{entry.where}{explained(error)}") from None
            known = seen.setdefault(component.target.component_id, component)
            if known.path != component.path:
                raise BadInputError(_two_files(known, component))
            if entry.publish is None:
                groups[number] = [component]
            elif known is component:
                groups.setdefault(entry.publish, []).append(component)
        return [_request(group) for group in groups.values()]

    def _component(self, entry: Entry) -> Component:
        entry.check_texts()
        check_entry(entry)
        if entry.priority not in PRIORITIES:
            raise BadInputError(
                f"{entry.where}priority {quoted(entry.priority)} is none of {', '.join(PRIORITIES)}"
            )
        if not entry.path:
            raise BadInputError(f"{entry.where}the path is empty; write the name of a file")
        path = absolute(entry.path, self.settings.path_map)
        # A folder is a sequence under a version only.
        frames = None
        if entry.version_id or not os.path.isdir(path):
            allow_missing = self.allow_missing or entry.allow_missing
            # Where nothing is looked at, only this tells a folder.
            slash = "/" if not self.stat and entry.path.endswith("/") else ""
            frames = read_frames(path + slash, look=self.stat, allow_missing=allow_missing)
        if frames is not None:
            return self._sequence(entry, frames)
        self._check_roots(path, path)
        target = _target(entry, path)
        return Component(entry, path, target, (self._file(entry, path, target),))

    def _sequence(self, entry: Entry, frames: Frames) -> Component:
        check_sequence(entry, frames)
        folder = os.path.dirname(frames.head)
        # Once and not for each frame; workers look at each that they open.
        self._check_roots(frames.pattern, folder)
        stem = PurePath(frames.head).name if not frames.head.endswith("/") else ""
        default = stem.rstrip("._- ") or PurePath(folder).name
        target = _under_version(entry, default)
        container = Container(target, PurePath(f"_{frames.tail}").suffix, frames.padding)
        files = []
        for number in frames.numbers:
            frame = Target.frame(target, frames.name(number))
            files.append(self._file(entry, frames.path(number), frame))
        return Component(entry, str(frames), target, tuple(files), container)

    def _file(self, entry: Entry, path: str, target: Target) -> UploadRequest:
        size_bytes = mtime_ns = None
        if self.stat:
            identity = identity_of(self._status(path, entry))
            size_bytes, mtime_ns = identity.size_bytes, identity.mtime_ns
        host = socket.gethostname() if self.node_local else ""
        return UploadRequest(
            path, target, size_bytes, mtime_ns, entry.priority, host, self.allow_empty
        )

    def _check_roots(self, path: str, place: str) -> None:
        roots = self.settings.storage_roots
        check_here(path, os.path.realpath(place), roots, look=self.stat)

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


def _request(group: Sequence[Component]) -> Request:
    first = group[0]
    name = first.entry.publish
    if name is None and first.container is None:
        return first.files[0]
    containers = tuple(one.container for one in group if one.container is not None)
    files = [replace(file, is_member=True) for one in group for file in one.files]
    if name is None:
        return PublishRequest(
            first.path, first.target.component_id, Publish(containers), tuple(files)
        )
    version_id, priority = first.target.version_id, first.entry.priority
    for what, others in (
        ("version", [one for one in group if one.target.version_id != version_id]),
        ("priority", [one for one in group if one.entry.priority != priority]),
        ("thumbnail", [one for one in group if one.target.thumbnail][1:]),
    ):
        if others:
            raise BadInputError(
                f"{others[0].entry.where}publish {quoted(name)} gets a second {what} here; what "
                f"becomes visible together has one {what}"
            )
    component_id = derived_id("publish", first.target.version_id, name)
    return PublishRequest(name, component_id, Publish(containers), tuple(files))


def _two_files(known: Component, other: Component) -> str:
    where = known.entry.where.removesuffix(": ")
    return (
        f"{other.entry.where}component {other.target.component_id} is to have both {known.path}"
        f"{f' ({where})' if where else ''} and {other.path}; a component has one file: "
        "give each file its own component"
    )


def _target(entry: Entry, path: str) -> Target:
    if entry.version_id:
        return _under_version(entry, PurePath(path).stem, path)
    return Target(str(entry.component_id).lower())


def _under_version(entry: Entry, default_name: str, path: str = "") -> Target:
    name, metadata = entry.name, dict(entry.metadata)
    if entry.reviewable:
        from tasks.intake.web_review import review_of

        name, described = review_of(entry, path)
        metadata |= described
    name = default_name if name is None else name
    if not name.strip():
        raise BadInputError(
            f"{entry.where}the name of a component can not be empty; give {entry.path} a name"
        )
    return Target.under_version(
        str(entry.version_id).lower(),
        name,
        thumbnail=entry.thumbnail,
        encode=entry.encode,
        task_id=entry.task_id.lower() if entry.task_id else None,
        metadata=tuple(sorted(metadata.items())),
    )
