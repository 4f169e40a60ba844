"""From what a user wrote to requests: all of it is checked before any is queued."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from tasks.frames import read_frames
from tasks.manifest import BadInputError, Entry, read_manifest, shown
from tasks.notation import Frames, FramesError
from tasks.path_map import mapped
from tasks.request import PRIORITIES, UUID, PublishRequest, Request, UploadRequest
from tasks.settings import Settings
from tasks.transfer.errors import FileRefusedError
from tasks.transfer.files import check_kind, check_roots, identity_of
from tasks.transfer.models import Container, Publish, Target, derived_id

__all__ = ["BadInputError", "Entry", "Intake", "mapped", "read_manifest"]

#: What goes with a component that is made, and not with one that exists.
EXTRAS = ("name", "thumbnail", "task_id", "encode", "reviewable", "metadata", "publish")
#: What goes with a single file, and not with a sequence.
FILE_EXTRAS = ("thumbnail", "encode", "reviewable")


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
                raise BadInputError(f"{entry.where}{error}") from None
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
        _check_ids(entry)
        if entry.priority not in PRIORITIES:
            raise BadInputError(
                f"{entry.where}priority {shown(entry.priority)} is none of {', '.join(PRIORITIES)}"
            )
        if not entry.path:
            raise BadInputError(f"{entry.where}the path is empty; write the name of a file")
        path = os.path.abspath(mapped(entry.path, self.settings.path_map))
        # A folder is a sequence under a version only.
        frames = None
        if entry.version_id or not os.path.isdir(path):
            frames = read_frames(path, look=self.stat, allow_missing=self.allow_missing)
        if frames is not None:
            return self._sequence(entry, frames)
        check_roots(path, os.path.realpath(path), self.settings.storage_roots)
        target = _target(entry, path)
        return Component(entry, path, target, (self._file(entry, path, target),))

    def _sequence(self, entry: Entry, frames: Frames) -> Component:
        _check_sequence(entry, frames)
        folder = os.path.dirname(frames.head)
        # Once and not for each frame; workers look at each that they open.
        check_roots(frames.pattern, os.path.realpath(folder), self.settings.storage_roots)
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
    for what, values in (
        ("versions", {one.target.version_id for one in group}),
        ("priorities", {one.entry.priority for one in group}),
    ):
        if len(values) > 1:
            raise BadInputError(
                f"publish {shown(name)} has {len(values)} {what}; what becomes visible together "
                "is of one: give each its own publish"
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


def _check_ids(entry: Entry) -> None:
    ids = (
        ("component", entry.component_id),
        ("version", entry.version_id),
        ("task", entry.task_id),
    )
    for what, value in ids:
        if value is not None and not UUID.fullmatch(value):
            raise BadInputError(
                f"{entry.where}{what} id {shown(value)} is not a UUID; copy it from ftrack"
            )
    if entry.component_id and entry.version_id:
        raise BadInputError(
            f"{entry.where}{entry.path} has both a component and a version; give one of them"
        )
    if not entry.component_id and not entry.version_id:
        raise BadInputError(
            f"{entry.where}{entry.path} has no target; give a component id "
            "(a component that exists) or a version id (to create one under it)"
        )
    extras = [name for name in EXTRAS if getattr(entry, name) not in (None, False, {})]
    if entry.component_id and extras:
        raise BadInputError(
            f"{entry.where}{' and '.join(extras)} of {entry.path} go with a version id, "
            "not with a component that exists"
        )
    if entry.task_id and not entry.thumbnail:
        raise BadInputError(
            f"{entry.where}a task id tells whose thumbnail {entry.path} becomes; say thumbnail too"
        )


def _check_sequence(entry: Entry, frames: Frames) -> None:
    if not entry.version_id:
        raise BadInputError(
            f"{entry.where}{frames.pattern} is a sequence; it goes under a version id, which gets "
            "a component for it. Of one that exists, enqueue each frame with its own component id"
        )
    extras = [name for name in FILE_EXTRAS if getattr(entry, name)]
    if extras:
        raise BadInputError(
            f"{entry.where}{' and '.join(extras)} goes with a single file, and {frames.pattern} is "
            "a sequence; enqueue a movie or a still of it beside, in the same publish"
        )


def _target(entry: Entry, path: str) -> Target:
    if entry.version_id:
        return _under_version(entry, PurePath(path).stem, path)
    return Target(str(entry.component_id).lower())


def _under_version(entry: Entry, default_name: str, path: str = "") -> Target:
    name, metadata = entry.name, dict(entry.metadata)
    if entry.reviewable:
        from tasks.review import review_of

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
