"""What ftrack has already of what is to be registered: asked for, and read from the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tasks.transfer.checks import kind_of, location_id_of
from tasks.transfer.locations import resource_identifier
from tasks.transfer.models import MAX_SIZE_BYTES, SERVER_LOCATION_ID, Transfer
from tasks.transfer.operations import Operation, Result
from tasks.transfer.queries import number_of, query, quoted, rows_of
from tasks.transfer.targets import Container, NewVersion, Target
from tasks.transfer.versions import KnownVersions

#: Entity types by ``system_type``.
TYPES = {
    "file": "FileComponent",
    "sequence": "SequenceComponent",
    "container": "ContainerComponent",
}


@dataclass(frozen=True, slots=True)
class Existing:
    """Which of the entities to register exist in ftrack already."""

    #: Component ids.
    components: frozenset[str] = frozenset()
    #: Those of the components that are sequences.
    sequences: frozenset[str] = frozenset()
    #: The components that have their location in ftrack.server.
    located: frozenset[str] = frozenset()
    #: Those of them whose location farmhaul has made.
    ours: frozenset[str] = frozenset()
    #: The size in bytes of each component.
    sizes: Mapping[str, int] = field(default_factory=dict)
    #: Values by component id and key.
    metadata: Mapping[tuple[str, str], str] = field(default_factory=dict)
    #: For each sequence id: the size in bytes of each frame, by the frame's component id.
    frames: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    #: For each component that replaces others: their types and ids.
    replaced: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    #: Rows of other programs' components of the same version and name, by the id that farmhaul
    #: would give them.
    others: Mapping[str, Sequence[Result]] = field(default_factory=dict)
    #: For each sequence id: frames in ftrack that are of the files that it replaces.
    outdated: Mapping[str, Sequence[str]] = field(default_factory=dict)
    #: All locations that were asked for: ids and resource identifiers, by component and location.
    locations: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    #: Those versions that need not exist which do, and their assets.
    known_versions: KnownVersions = field(default_factory=KnownVersions)
    #: Operations that give versions what they are to get with their components.
    version_data: Sequence[Operation] = ()
    #: The version of each component that has one.
    versions: Mapping[str, str] = field(default_factory=dict)

    def with_more(self, more: Existing) -> Existing:
        """Return the entities of both, with the frames and the version data of this one."""
        return replace(
            self,
            components=self.components | more.components,
            sequences=self.sequences | more.sequences,
            located=self.located | more.located,
            ours=self.ours | more.ours,
            locations={**self.locations, **more.locations},
            known_versions=self.known_versions.with_more(more.known_versions),
            sizes={**self.sizes, **more.sizes},
            versions={**self.versions, **more.versions},
            metadata={**self.metadata, **more.metadata},
            replaced={**self.replaced, **more.replaced},
            others={**self.others, **more.others},
        )

    def with_replaced(
        self, wanted: Sequence[Transfer | Container], others: Mapping[str, Sequence[Result]]
    ) -> Existing:
        """Return the same with what must be deleted before some of *wanted* are created.

        ``others`` are rows of other programs' components, by the id that farmhaul would make.
        """
        result = self
        replaced: dict[str, Sequence[tuple[str, str]]] = {}
        for one in wanted:
            if not (one.target.replace and is_named(one)):
                continue
            own_id = one.target.component_id
            gone = [(TYPES[kind_of(row)], str(row.get("id"))) for row in others.get(own_id, ())]
            is_sequence = own_id in self.sequences
            if own_id in self.components and is_sequence != isinstance(one, Container):
                gone.append((TYPES["sequence" if is_sequence else "file"], own_id))
                result = result._without(own_id)
            replaced[own_id] = gone
        return replace(
            result, replaced={**self.replaced, **replaced}, others={**self.others, **others}
        )

    def has(self, file: Transfer) -> bool:
        """Return whether ftrack still has the bytes that it has shown of this file.

        Another program may have removed them and brought others into the same component, or
        moved the component to another version.
        """
        component_id = file.component_id
        version_id = file.target.version_id
        if version_id and self.versions.get(component_id, version_id) != version_id:
            return False
        if file.target.only_in:
            return True  # it has shown none
        is_ours = component_id in self.ours or self.sizes.get(component_id) == file.size_bytes
        return component_id in self.located and is_ours

    def has_path(self, target: Target, path: str) -> bool:
        """Return whether the component has this path in its second location, if it is to have one.

        Raises:
            TargetRefusedError: the path is not in the location.
        """
        if target.location is None:
            return True
        known = self.locations.get((target.component_id, target.location.location_id))
        return known is not None and known[1] == resource_identifier(target.location, path)

    def _without(self, component_id: str) -> Existing:
        """Return what is left when a component is deleted."""
        gone = {component_id}
        return replace(
            self,
            components=self.components - gone,
            sequences=self.sequences - gone,
            located=self.located - gone,
            locations={key: row for key, row in self.locations.items() if key[0] not in gone},
            metadata={key: value for key, value in self.metadata.items() if key[0] not in gone},
        )


NOTHING_YET = Existing()


def is_named(wanted: Transfer | Container) -> bool:
    """Return whether this is a component of a version, which has one of each name."""
    target = wanted.target
    is_frame = target.container_id is not None
    return target.version_id is not None and not (is_frame or target.is_hidden)


def new_versions(wanted: Sequence[Transfer | Container]) -> list[NewVersion]:
    """Return the versions that need not exist, once each."""
    found = {one.target.version_id: one.target.new_version for one in wanted}
    return [version for version in found.values() if version]


def existing_operations(transfers: Sequence[Transfer | Container]) -> list[Operation]:
    """Return the queries for existing components, locations, and metadata that will be set."""
    targets = [transfer.target for transfer in transfers]
    ids = quoted(target.component_id for target in targets)
    places = {target.location.location_id for target in targets if target.location}
    among = quoted(sorted({SERVER_LOCATION_ID, *places}))
    located = f"component_id in ({ids}) and location_id in ({among})"
    operations = [
        query("id, system_type, size, version_id", "Component", f"id in ({ids})"),
        query("id, component_id, location_id, resource_identifier", "ComponentLocation", located),
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

    A location in ftrack.server with another resource identifier than ours does not count.
    """
    components, locations, metadata = [*(rows_of(result) for result in results), []][:3]
    usable = [
        row
        for row in locations
        if row.get("resource_identifier") == row.get("component_id")
        and row.get("location_id") == SERVER_LOCATION_ID
    ]
    return Existing(
        components=frozenset(str(row.get("id")) for row in components),
        sequences=frozenset(str(row.get("id")) for row in components if kind_of(row) == "sequence"),
        located=frozenset(str(row.get("component_id")) for row in usable),
        ours=frozenset(str(row.get("component_id")) for row in usable if is_own_location(row)),
        locations={
            (str(row.get("component_id")), str(row.get("location_id"))): (
                str(row.get("id")),
                str(row.get("resource_identifier")),
            )
            for row in locations
        },
        sizes={str(row.get("id")): number_of(row, "size", MAX_SIZE_BYTES) for row in components},
        versions={
            str(row.get("id")): str(row.get("version_id"))
            for row in components
            if row.get("version_id")
        },
        metadata={
            (str(row.get("parent_id")), str(row.get("key"))): str(row.get("value"))
            for row in metadata
        },
    )


def is_own_location(row: Result) -> bool:
    """Return whether farmhaul has made this location in ftrack.server: it derives their ids."""
    return row.get("id") == location_id_of(str(row.get("component_id")))


def frames_operations(sequence_id: str, offset: int, limit: int) -> list[Operation]:
    """Return the queries for a sequence, and for one page of its frames and their sizes."""
    page = f"order by id offset {offset} limit {limit}"
    return [
        query("padding", "SequenceComponent", f'id is "{sequence_id}"'),
        query("id, name, size", "FileComponent", f'container_id is "{sequence_id}" {page}'),
    ]
