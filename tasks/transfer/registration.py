"""The operations that register stored files in ftrack: components, locations, metadata, jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tasks.transfer.checks import location_id_of
from tasks.transfer.existing import NOTHING_YET, Existing, new_versions
from tasks.transfer.ftrack import MAX_REQUEST_BYTES, encoded
from tasks.transfer.locations import pattern_path, resource_identifier
from tasks.transfer.models import SERVER_LOCATION_ID, Transfer
from tasks.transfer.names import PATTERN
from tasks.transfer.operations import Operation, Result, create, delete, update
from tasks.transfer.targets import Container, Publish, Target, is_uuid
from tasks.transfer.versions import version_operations

#: The metadata key that notes for which bytes of a component an encoding was started. Its value
#: is a ``Transfer.content_fingerprint``.
ENCODED = "farmhaul_encoded"

#: A sequence with more frames is registered in several POSTs. ftrack needs one to two seconds
#: for a POST of about 500 operations.
FRAMES_A_POST = 250


def locate_operations(transfer: Transfer, existing: Existing = NOTHING_YET) -> list[Operation]:
    """Return the operations that create the component, if needed, and its location.

    If farmhaul created the component before, it is updated. A target without a version is
    somebody else's component: it gets its size, its file type and its location. An encoding is
    noted in the metadata in the same call, so that it is started once for each version of the
    file.
    """
    target, fields = transfer.target, _file_fields(transfer)
    if target.version_id is None:
        known = {name: value for name, value in fields.items() if value != ""}
        return [
            update("FileComponent", target.component_id, known),
            *location_operations(target, transfer.path, existing),
            *metadata_operations("FileComponent", target, existing),
        ]
    if not target.is_hidden:
        fields["version_id"] = target.version_id
    operations = component_operations("FileComponent", target, fields, existing)
    operations += location_operations(target, transfer.path, existing)
    return operations + _described(transfer, existing)


def _file_fields(transfer: Transfer) -> dict[str, Any]:
    return {"file_type": transfer.file_type, "size": transfer.size_bytes}


def _described(transfer: Transfer, existing: Existing) -> list[Operation]:
    """Return the operations for metadata and encoding of a file."""
    target = transfer.target
    fingerprint = transfer.content_fingerprint
    encoded = existing.metadata.get((target.component_id, ENCODED))
    encode = target.encode and encoded != fingerprint
    mark = ((ENCODED, fingerprint),) if encode else ()
    operations = metadata_operations("FileComponent", target, existing, mark)
    if encode:
        operations.append(
            {
                "action": "encode_media",
                "component_id": target.component_id,
                "version_id": target.version_id,
                "keep_original": not target.encode_only,
            }
        )
    return operations


def component_operations(
    kind: str, target: Target, fields: Mapping[str, Any], existing: Existing
) -> list[Operation]:
    """Return the operation that creates a component, or updates its size if it exists.

    Before it come those that delete what the component replaces.
    """
    removals = [delete(*other) for other in existing.replaced.get(target.component_id, ())]
    if target.component_id in existing.components:
        return [*removals, update(kind, target.component_id, _changed(target, fields))]
    parent = {"version_id": None if target.is_hidden else target.version_id}
    if target.container_id:
        parent = {"container_id": target.container_id}
    names = {"id": target.component_id, "name": target.name}
    return [*removals, create(kind, {**names, **parent, **fields})]


def _changed(target: Target, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that an existing component gets; other files may be of another type."""
    is_other = target.replace or target.is_hidden or target.component_id != target.own_id
    if target.version_id is None:
        is_other = True
    names = {"size", "version_id", *(("file_type", "padding") if is_other else ())}
    return {name: value for name, value in fields.items() if name in names}


def location_operations(
    target: Target, path: str, existing: Existing = NOTHING_YET
) -> list[Operation]:
    """Return the operations that create the component's locations, as far as they are needed.

    Args:
        target: what the component is; its second location is on disk.
        path: the path of the file or of the sequence, which has a mark for the number.
        existing: what ftrack has already.

    Raises:
        TargetRefusedError: the path is not in the second location.
    """
    component_id = target.component_id
    operations = []
    if target.only_in:
        # What --replace takes over has other bytes there.
        if known := existing.locations.get((component_id, SERVER_LOCATION_ID)):
            operations.append(delete("ComponentLocation", known[0]))
    elif component_id not in existing.located:
        operations.append(_location(component_id, SERVER_LOCATION_ID, component_id))
    if target.location is None or existing.has_path(target, path):
        return operations
    location_id = target.location.location_id
    identifier = resource_identifier(target.location, path)
    if known := existing.locations.get((component_id, location_id)):
        changed = {"resource_identifier": identifier}
        return [*operations, update("ComponentLocation", known[0], changed)]
    return [*operations, _location(component_id, location_id, identifier)]


def _location(component_id: str, location_id: str, identifier: str) -> Operation:
    fields = {
        "id": location_id_of(component_id, location_id),
        "component_id": component_id,
        "location_id": location_id,
        "resource_identifier": identifier,
    }
    return create("ComponentLocation", fields)


def metadata_operations(
    kind: str, target: Target, existing: Existing, more: Sequence[tuple[str, str]] = ()
) -> list[Operation]:
    """Return the operations for metadata: the target's, and ``more``."""
    operations = []
    for key, value in (*target.metadata, *more):
        if (target.component_id, key) in existing.metadata:
            operations.append(update("Metadata", [target.component_id, key], {"value": value}))
        else:
            named = {"parent_id": target.component_id, "parent_type": kind}
            operations.append(create("Metadata", {**named, "key": key, "value": value}))
    # The pattern of a sequence that was replaced would give the new frames its names.
    pattern = (target.component_id, PATTERN)
    if target.replace and pattern in existing.metadata and PATTERN not in dict(target.metadata):
        operations.append(delete("Metadata", pattern))
    return operations


def thumbnail_operation(entity_type: str, entity_id: str, component_id: str) -> Operation:
    """Return the operation that makes a component the thumbnail of a version, task or shot."""
    return update(entity_type, entity_id, {"thumbnail_id": component_id})


def job_ids(results: Sequence[Result]) -> tuple[str, ...]:
    """Return the ids of the encoding jobs in the results of ``encode_media``."""
    found = (result.get("job_id") for result in results)
    return tuple(job for job in found if isinstance(job, str) and is_uuid(job))


def with_jobs(transfer: Transfer, jobs: tuple[str, ...], targets: Sequence[Target]) -> Transfer:
    """Return a transfer with its encoding jobs, and what they may replace."""
    if not jobs:
        return transfer
    return replace(
        transfer,
        job_ids=jobs,
        encoded_version=next((one.version_id or "" for one in targets if one.encode), ""),
        thumbnail_id=next((one.component_id for one in targets if one.thumbnail), ""),
    )


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
    before: list[list[Operation]] = []
    versions = new_versions([*publish.containers, *files])
    last = version_operations(versions, existing.known_versions)
    last += existing.version_data
    for container in publish.containers:
        target = container.target
        own = [file for file in files if file.target.container_id == target.component_id]
        outdated = existing.outdated.get(target.component_id, ())
        sizes = dict(existing.frames.get(target.component_id, {}))
        for frame_id in outdated:
            del sizes[frame_id]
        sizes |= {frame.component_id: frame.size_bytes for frame in own}
        fields = {"file_type": container.file_type, "size": sum(sizes.values())}
        fields["padding"] = container.padding
        posts = [
            _frame_operations(own[start : start + FRAMES_A_POST], container, existing)
            for start in range(0, len(own), FRAMES_A_POST)
        ]
        by_then = existing
        if len(own) > shown_at_once and target.version_id is None:
            before += posts  # it exists
            posts = []
        elif len(own) > shown_at_once:
            hidden = target._replace(version_id=None)
            before += [_sequence_operations(hidden, fields, existing) + posts[0], *posts[1:]]
            posts = []
            known = existing.components | {target.component_id}
            by_then = replace(existing, components=known, replaced={})
        removals = [delete("FileComponent", frame_id) for frame_id in outdated]
        while len(removals) > FRAMES_A_POST:
            before.append([removals.pop() for _ in range(FRAMES_A_POST)])
        last += removals
        if target.version_id is not None:
            fields["version_id"] = target.version_id
        last += _sequence_operations(target, fields, by_then)
        last += [operation for post in posts for operation in post]
        last += _sequence_location(container, own, existing)
        last += metadata_operations("SequenceComponent", target, existing)
    single = [file for file in files if file.target.container_id is None]
    for start in range(0, len(single), FRAMES_A_POST):
        hidden_files: list[Operation] = []
        for file in single[start : start + FRAMES_A_POST]:
            if shown_at_once or not _can_be_hidden(file.target, existing):
                last += locate_operations(file, existing)
            else:
                hidden_files += _hidden_file(file, existing)
                version = {"version_id": file.target.version_id}
                last.append(update("FileComponent", file.component_id, version))
                last += _described(file, existing)
        before.append(hidden_files)
    return [*(post for post in before if post), last]


def _can_be_hidden(target: Target, existing: Existing) -> bool:
    is_shown = target.version_id is not None and not target.is_hidden
    return is_shown and target.component_id not in existing.components


def _hidden_file(file: Transfer, existing: Existing) -> list[Operation]:
    """Return the operations that create a file's component without a version."""
    hidden = file.target._replace(version_id=None)
    operations = component_operations("FileComponent", hidden, _file_fields(file), existing)
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
