"""The operations that register stored files in ftrack: components, locations, metadata, jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tasks.transfer.checks import location_id_of
from tasks.transfer.existing import NOTHING_YET, Existing
from tasks.transfer.locations import resource_identifier
from tasks.transfer.models import SERVER_LOCATION_ID, Transfer
from tasks.transfer.names import PATTERN
from tasks.transfer.operations import Operation, Result, create, delete, update
from tasks.transfer.targets import Target, is_uuid

#: The metadata key that notes for which bytes of a component an encoding was started. Its value
#: is a ``Transfer.content_fingerprint``.
ENCODED = "farmhaul_encoded"


def locate_operations(transfer: Transfer, existing: Existing = NOTHING_YET) -> list[Operation]:
    """Return the operations that create the component, if needed, and its location.

    If farmhaul created the component before, it is updated. A target without a version is
    somebody else's component: it gets its size, its file type and its location. An encoding is
    noted in the metadata in the same call, so that it is started once for each version of the
    file.
    """
    target, fields = transfer.target, file_fields(transfer)
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
    return operations + description_operations(transfer, existing)


def file_fields(transfer: Transfer) -> dict[str, Any]:
    """Return what a component tells of its file."""
    return {"file_type": transfer.file_type, "size": transfer.size_bytes}


def description_operations(transfer: Transfer, existing: Existing) -> list[Operation]:
    """Return the operations for the metadata and the encoding of a file."""
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
