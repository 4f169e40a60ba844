"""The POSTs that register a publish: all of it becomes visible with the last one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.transfer.existing import Existing, new_versions
from tasks.transfer.ftrack import MAX_REQUEST_BYTES, encoded
from tasks.transfer.locations import pattern_path
from tasks.transfer.models import Transfer
from tasks.transfer.operations import Operation, delete, update
from tasks.transfer.registration import (
    component_operations,
    description_operations,
    file_fields,
    locate_operations,
    location_operations,
    metadata_operations,
)
from tasks.transfer.targets import Container, Publish, Target
from tasks.transfer.versions import version_operations

#: A sequence with more frames is registered in several POSTs. ftrack needs one to two seconds
#: for a POST of about 500 operations.
FRAMES_A_POST = 250


def publish_operations(
    publish: Publish,
    files: Sequence[Transfer],
    existing: Existing,
    max_bytes: int = MAX_REQUEST_BYTES,
) -> list[list[Operation]]:
    """Return the POSTs that register a publish. All of it becomes visible with the last one.

    A long sequence is first created without a version, and its frames in batches. ftrack does
    not show a component that belongs to no version. If the last POST would be too large, all
    sequences and single files are made like that. Only if it is still too large, by some 4,000
    single files, the publish becomes visible in several steps.
    """
    posts = _posts(publish, files, existing, shown_at_once=FRAMES_A_POST)
    if len(encoded(posts[-1])) > max_bytes:
        posts = _posts(publish, files, existing, shown_at_once=0)
    return [fitting for post in posts for fitting in _fitting(post, max_bytes)]


def _posts(
    publish: Publish, files: Sequence[Transfer], existing: Existing, shown_at_once: int
) -> list[list[Operation]]:
    """Return the POSTs; what has more files than ``shown_at_once`` is made before the last one."""
    versions = new_versions([*publish.containers, *files])
    made_first = version_operations(versions, existing.known_versions)
    posts = _Posts(existing, shown_at_once, last=[*made_first, *existing.version_data])
    for container in publish.containers:
        component_id = container.target.component_id
        posts.add_sequence(
            container, [file for file in files if file.target.container_id == component_id]
        )
    posts.add_single_files([file for file in files if file.target.container_id is None])
    return [*(post for post in posts.before if post), posts.last]


@dataclass
class _Posts:
    """The POSTs so far: the last one shows what those before it have made."""

    existing: Existing
    shown_at_once: int
    last: list[Operation]
    before: list[list[Operation]] = field(default_factory=list)

    def add_sequence(self, container: Container, frames: Sequence[Transfer]) -> None:
        target, existing = container.target, self.existing
        fields = _sequence_fields(container, frames, existing)
        by_then = existing
        frame_posts = [
            _frame_operations(frames[start : start + FRAMES_A_POST], container, existing)
            for start in range(0, len(frames), FRAMES_A_POST)
        ]
        if len(frames) > self.shown_at_once:
            if target.version_id is not None:  # otherwise, the sequence exists
                hidden = target._replace(version_id=None)
                frame_posts[0][:0] = _sequence_operations(hidden, fields, existing)
                known = existing.components | {target.component_id}
                by_then = replace(existing, components=known, replaced={})
            self.before += frame_posts
            frame_posts = []
        outdated = existing.outdated.get(target.component_id, ())
        removals = [delete("FileComponent", frame_id) for frame_id in outdated]
        while len(removals) > FRAMES_A_POST:
            self.before.append([removals.pop() for _ in range(FRAMES_A_POST)])
        self.last += removals
        if target.version_id is not None:
            fields["version_id"] = target.version_id
        self.last += _sequence_operations(target, fields, by_then)
        self.last += [operation for post in frame_posts for operation in post]
        self.last += _sequence_location(container, frames, existing)
        self.last += metadata_operations("SequenceComponent", target, existing)

    def add_single_files(self, files: Sequence[Transfer]) -> None:
        for start in range(0, len(files), FRAMES_A_POST):
            hidden_files: list[Operation] = []
            for file in files[start : start + FRAMES_A_POST]:
                if self.shown_at_once or not _can_be_hidden(file.target, self.existing):
                    self.last += locate_operations(file, self.existing)
                    continue
                hidden_files += _hidden_file(file, self.existing)
                version = {"version_id": file.target.version_id}
                self.last.append(update("FileComponent", file.component_id, version))
                self.last += description_operations(file, self.existing)
            self.before.append(hidden_files)


def _sequence_fields(
    container: Container, frames: Sequence[Transfer], existing: Existing
) -> dict[str, Any]:
    """Return the fields of a sequence; its size is that of all frames that it then has."""
    component_id = container.target.component_id
    sizes = dict(existing.frames.get(component_id, {}))
    for frame_id in existing.outdated.get(component_id, ()):
        del sizes[frame_id]
    sizes |= {frame.component_id: frame.size_bytes for frame in frames}
    return {
        "file_type": container.file_type,
        "size": sum(sizes.values()),
        "padding": container.padding,
    }


def _can_be_hidden(target: Target, existing: Existing) -> bool:
    is_shown = target.version_id is not None and not target.is_hidden
    return is_shown and target.component_id not in existing.components


def _hidden_file(file: Transfer, existing: Existing) -> list[Operation]:
    """Return the operations that create a file's component without a version."""
    hidden = file.target._replace(version_id=None)
    operations = component_operations("FileComponent", hidden, file_fields(file), existing)
    return operations + location_operations(file.target, file.path, existing)


def _sequence_location(
    container: Container, frames: Sequence[Transfer], existing: Existing
) -> list[Operation]:
    if not frames:
        return location_operations(container.target._replace(location=None), "", existing)
    path = pattern_path(container, frames[0].path, str(frames[0].target.name))
    return location_operations(container.target, path, existing)


def _fitting(operations: Sequence[Operation], max_bytes: int) -> list[list[Operation]]:
    """Split operations, in their order, so that each list fits into a POST if possible."""
    posts: list[list[Operation]] = []
    room_bytes = 0
    for operation in operations:
        size_bytes = len(encoded([operation]))
        if not posts or size_bytes > room_bytes:
            posts.append([])
            room_bytes = max_bytes
        posts[-1].append(operation)
        room_bytes -= size_bytes
    return posts


def _sequence_operations(
    target: Target, fields: Mapping[str, Any], existing: Existing
) -> list[Operation]:
    return component_operations("SequenceComponent", target, fields, existing)


def _frame_operations(
    frames: Sequence[Transfer], container: Container, existing: Existing
) -> list[Operation]:
    operations = []
    for frame in frames:
        # Not the type of its own name: of sim.f0001, that would be .f0001.
        fields = {"file_type": container.file_type, "size": frame.size_bytes}
        operations += component_operations("FileComponent", frame.target, fields, existing)
        operations += location_operations(frame.target, frame.path, existing)
    return operations
