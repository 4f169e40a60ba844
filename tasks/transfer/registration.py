"""What is registered in ftrack once bytes are stored: components, locations, what hangs on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.transfer.models import (
    SERVER_LOCATION_ID,
    Container,
    Publish,
    Target,
    Transfer,
    derived_id,
)
from tasks.transfer.signing import Operation, Result, listed, query, rows_of

#: Metadata of a component: which bytes of it (their MD5, or the file's size, mtime and inode)
#: an encoding was asked for.
ENCODED = "farmhaul_encoded"

SYSTEM_TYPES = {"FileComponent": "file", "SequenceComponent": "sequence"}

#: A sequence of more frames is registered in several POSTs: one of some 500 operations is
#: answered within a second or two.
FRAMES_A_POST = 250


@dataclass(frozen=True, slots=True)
class Existing:
    """What ftrack has already of what is to be registered."""

    components: frozenset[str] = frozenset()
    sequences: frozenset[str] = frozenset()  # which of the components are no files
    located: frozenset[str] = frozenset()
    #: By component id and key.
    metadata: Mapping[tuple[str, str], str] = field(default_factory=dict)
    #: Sizes of the frames of sequences, by the sequence's id and the frame's.
    frames: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def with_more(self, more: Existing) -> Existing:
        """Join what two questions have found."""
        return replace(
            self,
            components=self.components | more.components,
            sequences=self.sequences | more.sequences,
            located=self.located | more.located,
            metadata={**self.metadata, **more.metadata},
        )


NOTHING_YET = Existing()


def locate_operations(transfer: Transfer, existing: Existing = NOTHING_YET) -> list[Operation]:
    """Make the component's location, and before it the component, if it has none yet.

    What is existing is brought up to date; a component that was there before us is left as it is.
    An encoding leaves its mark in the same call, and is asked for once for each state of the file.
    """
    target = transfer.target
    if target.version_id is None:
        return location_operations(target.component_id, existing)
    fields = {"file_type": transfer.file_type, "size": transfer.size_bytes}
    operations = component_operations("FileComponent", target, fields, existing)
    operations += location_operations(target.component_id, existing)
    stamp = transfer.content_fingerprint
    encode = target.encode and existing.metadata.get((target.component_id, ENCODED)) != stamp
    mark = ((ENCODED, stamp),) if encode else ()
    operations += thumbnail_and_metadata_operations("FileComponent", target, existing, mark)
    if encode:
        operations.append(
            {
                "action": "encode_media",
                "component_id": target.component_id,
                "version_id": target.version_id,
                "keep_original": True,
            }
        )
    return operations


def component_operations(
    kind: str, target: Target, fields: Mapping[str, Any], existing: Existing
) -> list[Operation]:
    """Create a component, or note the size that it has now."""
    if target.component_id in existing.components:
        changed = {name: fields[name] for name in ("size", "version_id") if name in fields}
        return [_update(kind, target.component_id, changed)]
    parent = (
        {"container_id": target.container_id}
        if target.container_id
        else {"version_id": target.version_id}
    )
    names = {"id": target.component_id, "name": target.name, "system_type": SYSTEM_TYPES[kind]}
    return [_create(kind, {**names, **parent, **fields})]


def location_operations(component_id: str, existing: Existing = NOTHING_YET) -> list[Operation]:
    """Create the location that says that the component's bytes are in ftrack.server."""
    if component_id in existing.located:
        return []
    fields = {
        "id": derived_id("location", component_id, SERVER_LOCATION_ID),
        "component_id": component_id,
        "location_id": SERVER_LOCATION_ID,
        "resource_identifier": component_id,
    }
    return [_create("ComponentLocation", fields)]


def thumbnail_and_metadata_operations(
    kind: str, target: Target, existing: Existing, more: Sequence[tuple[str, str]] = ()
) -> list[Operation]:
    """Set a component's metadata, and make it the thumbnail of its version and a task."""
    operations = []
    for key, value in (*target.metadata, *more):
        if (target.component_id, key) in existing.metadata:
            operations.append(_update("Metadata", [target.component_id, key], {"value": value}))
        else:
            named = {"parent_id": target.component_id, "parent_type": kind}
            operations.append(_create("Metadata", {**named, "key": key, "value": value}))
    thumbnail = {"thumbnail_id": target.component_id}
    if target.thumbnail:
        operations.append(_update("AssetVersion", target.version_id, thumbnail))
    if target.thumbnail and target.task_id:
        operations.append(_update("Task", target.task_id, thumbnail))
    return operations


def _create(entity_type: str, fields: Mapping[str, Any]) -> Operation:
    return {"action": "create", "entity_type": entity_type, "entity_data": dict(fields)}


def _update(entity_type: str, key: Any, fields: Mapping[str, Any]) -> Operation:
    return {
        "action": "update",
        "entity_type": entity_type,
        "entity_key": key if isinstance(key, list) else [key],
        "entity_data": dict(fields),
    }


def parse_located(
    transfer: Transfer, results: Sequence[Result], lead: Sequence[Result] = ()
) -> Transfer:
    """Give the transfer, with the jobs that encode it: that there are results says the rest."""
    del lead
    return replace(transfer, job_ids=job_ids(results))


def job_ids(results: Sequence[Result]) -> tuple[str, ...]:
    """Pick the ids of the jobs that ``encode_media`` has started."""
    return tuple(job for one in results if isinstance(job := one.get("job_id"), str))


def present_operations(transfers: Sequence[Transfer | Container]) -> list[Operation]:
    """Ask what is there already: components, their locations, and metadata that is to be set."""
    targets = [one.target for one in transfers]
    ids = listed(target.component_id for target in targets)
    located = f'component_id in ({ids}) and location_id is "{SERVER_LOCATION_ID}"'
    operations = [
        query("id, system_type", "Component", f"id in ({ids})"),
        query("component_id, resource_identifier", "ComponentLocation", located),
    ]
    described = [one.component_id for one in targets if one.metadata or one.encode]
    if described:
        operations.append(
            query("parent_id, key, value", "Metadata", f"parent_id in ({listed(described)})")
        )
    return operations


def parse_existing(results: Sequence[Result]) -> Existing:
    """Read the answer to ``present_operations``; a location that is not as ours is none."""
    components, locations, metadata = [*(rows_of(result) for result in results), []][:3]
    sequence = SYSTEM_TYPES["SequenceComponent"]
    return Existing(
        frozenset(str(row.get("id")) for row in components),
        frozenset(str(row.get("id")) for row in components if row.get("system_type") == sequence),
        frozenset(
            str(row.get("component_id"))
            for row in locations
            if row.get("resource_identifier") == row.get("component_id")
        ),
        {
            (str(row.get("parent_id")), str(row.get("key"))): str(row.get("value"))
            for row in metadata
        },
    )


def frames_operations(sequence_id: str, offset: int, most: int) -> list[Operation]:
    """Ask for a sequence, and page by page for the frames that it has, and their sizes."""
    page = f"order by id offset {offset} limit {most}"
    return [
        query("padding", "SequenceComponent", f'id is "{sequence_id}"'),
        query("id, size", "FileComponent", f'container_id is "{sequence_id}" {page}'),
    ]


def publish_operations(
    publish: Publish, files: Sequence[Transfer], existing: Existing
) -> list[list[Operation]]:
    """Plan the POSTs that register a publish; with the last one, and no sooner, all is visible.

    A long sequence is made without a version first, with its frames in batches: what belongs
    to no version is shown nowhere.
    """
    before: list[list[Operation]] = []
    last: list[Operation] = []
    for container in publish.containers:
        own = [one for one in files if one.target.container_id == container.target.component_id]
        sizes = dict(existing.frames.get(container.target.component_id, {}))
        sizes |= {one.component_id: one.size_bytes for one in own}
        fields = {"file_type": container.file_type, "size": sum(sizes.values())}
        fields["padding"] = container.padding
        steps = [own[at : at + FRAMES_A_POST] for at in range(0, len(own), FRAMES_A_POST)]
        frames = [_frames(step, existing) for step in steps]
        target, whole = container.target, existing
        if len(steps) > 1:
            hidden = replace(target, version_id=None)
            frames[0] = _sequence(hidden, fields, existing) + frames[0]
            before += frames
            frames, whole = (
                [],
                replace(existing, components=existing.components | {target.component_id}),
            )
        last += _sequence(target, {**fields, "version_id": target.version_id}, whole)
        last += [operation for step in frames for operation in step]
        last += location_operations(target.component_id, existing)
        last += thumbnail_and_metadata_operations("SequenceComponent", target, existing)
    for one in files:
        if one.target.container_id is None:
            last += locate_operations(one, existing)
    return [*(post for post in before if post), last]


def _sequence(target: Target, fields: Mapping[str, Any], existing: Existing) -> list[Operation]:
    return component_operations("SequenceComponent", target, fields, existing)


def _frames(frames: Sequence[Transfer], existing: Existing) -> list[Operation]:
    operations = []
    for one in frames:
        fields = {"file_type": one.file_type, "size": one.size_bytes}
        operations += component_operations("FileComponent", one.target, fields, existing)
        operations += location_operations(one.component_id, existing)
    return operations
