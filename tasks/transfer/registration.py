"""The operations that register stored files in ftrack: components, locations, metadata, jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.transfer.checks import kind_of
from tasks.transfer.ftrack import Operation, Result, query, quoted, rows_of
from tasks.transfer.models import SERVER_LOCATION_ID, Transfer
from tasks.transfer.names import PATTERN
from tasks.transfer.targets import Container, Publish, Target, derived_id

#: The metadata key that notes for which bytes of a component an encoding was started. Its value
#: is a ``Transfer.content_fingerprint``.
ENCODED = "farmhaul_encoded"

#: Entity types by ``system_type``.
TYPES = {
    "file": "FileComponent",
    "sequence": "SequenceComponent",
    "container": "ContainerComponent",
}
SYSTEM_TYPES = {entity_type: system_type for system_type, entity_type in TYPES.items()}

#: A sequence with more frames is registered in several POSTs. ftrack needs one to two seconds
#: for a POST of about 500 operations.
FRAMES_A_POST = 250


@dataclass(frozen=True, slots=True)
class Existing:
    """Which of the entities to register exist in ftrack already."""

    #: Component ids.
    components: frozenset[str] = frozenset()
    #: Those of the components that are sequences.
    sequences: frozenset[str] = frozenset()
    #: The components that have their location in ftrack.server.
    located: frozenset[str] = frozenset()
    #: Values by component id and key.
    metadata: Mapping[tuple[str, str], str] = field(default_factory=dict)
    #: For each sequence id: the size in bytes of each frame, by the frame's component id.
    frames: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    #: For each component that replaces others: their types and ids.
    replaced: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    #: For each sequence id: frames in ftrack that are of the files that it replaces.
    outdated: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def with_more(self, more: Existing) -> Existing:
        """Return the entities of both, with the frames of this one."""
        return replace(
            self,
            components=self.components | more.components,
            sequences=self.sequences | more.sequences,
            located=self.located | more.located,
            metadata={**self.metadata, **more.metadata},
            replaced={**self.replaced, **more.replaced},
        )

    def with_replaced(
        self, wanted: Sequence[Transfer | Container], others: Mapping[str, Sequence[Result]]
    ) -> Existing:
        """Return the same with what must be deleted before some of *wanted* are created.

        ``others`` are rows of other programs' components, by the id that farmhaul would make.
        """
        result = self
        replaced: dict[str, Sequence[tuple[str, str]]] = {}
        for one in filter(replaces, wanted):
            own_id = one.target.component_id
            gone = [(TYPES[kind_of(row)], str(row.get("id"))) for row in others.get(own_id, ())]
            is_sequence = own_id in self.sequences
            if own_id in self.components and is_sequence != isinstance(one, Container):
                gone.append((TYPES["sequence" if is_sequence else "file"], own_id))
                result = result._without(own_id)
            replaced[own_id] = gone
        return replace(result, replaced={**self.replaced, **replaced})

    def _without(self, component_id: str) -> Existing:
        """Return what is left when a component is deleted."""
        gone = {component_id}
        return replace(
            self,
            components=self.components - gone,
            sequences=self.sequences - gone,
            located=self.located - gone,
            metadata={key: value for key, value in self.metadata.items() if key[0] not in gone},
        )


NOTHING_YET = Existing()


def replaces(wanted: Transfer | Container) -> bool:
    """Return whether this takes over the components of its version and name."""
    target = wanted.target
    return target.replace and target.version_id is not None and target.container_id is None


def locate_operations(transfer: Transfer, existing: Existing = NOTHING_YET) -> list[Operation]:
    """Return the operations that create the component, if needed, and its location.

    If farmhaul created the component before, it is updated. A target without a version is
    somebody else's component: it gets its size, its file type and its location. An encoding is
    noted in the metadata in the same call, so that it is started once for each version of the
    file.
    """
    target = transfer.target
    fields = {"file_type": transfer.file_type, "size": transfer.size_bytes}
    if target.version_id is None:
        known = {name: value for name, value in fields.items() if value != ""}
        return [
            _update("FileComponent", target.component_id, known),
            *location_operations(target.component_id, existing),
        ]
    operations = component_operations("FileComponent", target, fields, existing)
    operations += location_operations(target.component_id, existing)
    fingerprint = transfer.content_fingerprint
    encoded = existing.metadata.get((target.component_id, ENCODED))
    encode = target.encode and encoded != fingerprint
    mark = ((ENCODED, fingerprint),) if encode else ()
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
    """Return the operation that creates a component, or updates its size if it exists.

    Before it come those that delete what the component replaces.
    """
    removals = [_delete(*other) for other in existing.replaced.get(target.component_id, ())]
    if target.component_id in existing.components:
        return [*removals, _update(kind, target.component_id, _changed(target, fields))]
    parent = (
        {"container_id": target.container_id}
        if target.container_id
        else {"version_id": target.version_id}
    )
    names = {"id": target.component_id, "name": target.name, "system_type": SYSTEM_TYPES[kind]}
    return [*removals, _create(kind, {**names, **parent, **fields})]


def _changed(target: Target, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that an existing component gets; other files may be of another type."""
    names = {"size", "version_id", *(("file_type", "padding") if target.replace else ())}
    return {name: value for name, value in fields.items() if name in names}


def location_operations(component_id: str, existing: Existing = NOTHING_YET) -> list[Operation]:
    """Return the operation that creates the component's location in ftrack.server, if needed."""
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
    """Return the operations for metadata (the target's, and ``more``) and thumbnails."""
    operations = []
    for key, value in (*target.metadata, *more):
        if (target.component_id, key) in existing.metadata:
            operations.append(_update("Metadata", [target.component_id, key], {"value": value}))
        else:
            named = {"parent_id": target.component_id, "parent_type": kind}
            operations.append(_create("Metadata", {**named, "key": key, "value": value}))
    # The pattern of a sequence that was replaced would give the new frames its names.
    pattern = (target.component_id, PATTERN)
    if target.replace and pattern in existing.metadata and PATTERN not in dict(target.metadata):
        operations.append({"action": "delete", "entity_type": "Metadata", "entity_key": [*pattern]})
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


def _delete(entity_type: str, component_id: str) -> Operation:
    return {"action": "delete", "entity_type": entity_type, "entity_key": [component_id]}


def job_ids(results: Sequence[Result]) -> tuple[str, ...]:
    """Return the ids of the encoding jobs in the results of ``encode_media``."""
    return tuple(job for result in results if isinstance(job := result.get("job_id"), str))


def existing_operations(transfers: Sequence[Transfer | Container]) -> list[Operation]:
    """Return the queries for existing components, locations, and metadata that will be set."""
    targets = [transfer.target for transfer in transfers]
    ids = quoted(target.component_id for target in targets)
    located = f'component_id in ({ids}) and location_id is "{SERVER_LOCATION_ID}"'
    operations = [
        query("id, system_type", "Component", f"id in ({ids})"),
        query("component_id, resource_identifier", "ComponentLocation", located),
    ]
    described = [
        target.component_id
        for target in targets
        if target.metadata or target.encode or target.replace
    ]
    if described:
        where = f"parent_id in ({quoted(described)})"
        operations.append(query("parent_id, key, value", "Metadata", where))
    return operations


def parse_existing(results: Sequence[Result]) -> Existing:
    """Return what the results of ``existing_operations`` contain.

    A location with another resource identifier than ours does not count.
    """
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


def frames_operations(sequence_id: str, offset: int, limit: int) -> list[Operation]:
    """Return the queries for a sequence, and for one page of its frames and their sizes."""
    page = f"order by id offset {offset} limit {limit}"
    return [
        query("padding", "SequenceComponent", f'id is "{sequence_id}"'),
        query("id, size", "FileComponent", f'container_id is "{sequence_id}" {page}'),
    ]


def publish_operations(
    publish: Publish, files: Sequence[Transfer], existing: Existing
) -> list[list[Operation]]:
    """Return the POSTs that register a publish. All of it becomes visible with the last one.

    A long sequence is first created without a version, and its frames in batches. ftrack does
    not show a component that belongs to no version.
    """
    before: list[list[Operation]] = []
    last: list[Operation] = []
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
        if len(posts) > 1:
            hidden = target._replace(version_id=None)
            before += [_sequence_operations(hidden, fields, existing) + posts[0], *posts[1:]]
            posts = []
            known = existing.components | {target.component_id}
            by_then = replace(existing, components=known, replaced={})
        removals = [_delete("FileComponent", frame_id) for frame_id in outdated]
        while len(removals) > FRAMES_A_POST:
            before.append([removals.pop() for _ in range(FRAMES_A_POST)])
        last += removals
        last += _sequence_operations(target, {**fields, "version_id": target.version_id}, by_then)
        last += [operation for post in posts for operation in post]
        last += location_operations(target.component_id, existing)
        last += thumbnail_and_metadata_operations("SequenceComponent", target, existing)
    for file in files:
        if file.target.container_id is None:
            last += locate_operations(file, existing)
    return [*(post for post in before if post), last]


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
        operations += location_operations(frame.component_id, existing)
    return operations
