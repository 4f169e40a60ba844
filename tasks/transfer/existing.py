"""What ftrack has already of what is to be registered: asked for, and read from the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tasks.transfer.checks import kind_of
from tasks.transfer.ftrack import Operation, Result, query, quoted, rows_of
from tasks.transfer.models import SERVER_LOCATION_ID, Transfer
from tasks.transfer.targets import Container

#: Entity types by ``system_type``.
TYPES = {
    "file": "FileComponent",
    "sequence": "SequenceComponent",
    "container": "ContainerComponent",
}
SYSTEM_TYPES = {entity_type: system_type for system_type, entity_type in TYPES.items()}


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
