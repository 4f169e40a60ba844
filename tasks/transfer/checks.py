"""Whether ftrack can take an upload: asked in the POST that signs it, before a byte is sent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tasks.transfer.errors import RequestRefusedError, TargetRefusedError, UploadError
from tasks.transfer.models import SERVER_LOCATION_ID, Transfer
from tasks.transfer.operations import Operation, Result
from tasks.transfer.queries import MAX_PADDING, number_of, query, quoted, rows_of
from tasks.transfer.targets import QUOTES, Target, derived_id

COLUMNS = "id, name, file_type, size, system_type, version_id"
LOCATIONS = "component_locations.id, component_locations.location_id"
#: The components of a version that are looked at, about 200 bytes each.
MOST_ROWS = 1000
KINDS = {"SequenceComponent": "sequence", "ContainerComponent": "container"}
#: Two names of one format.
SAME_TYPES = {"jpeg": "jpg", "tiff": "tif"}


@dataclass(frozen=True, slots=True)
class Known:
    """What ftrack has for the targets of a batch."""

    versions: frozenset[str]
    #: Rows by the component's id.
    components: Mapping[str, Result]
    #: Rows of components that other programs have made, by the id that farmhaul derives from
    #: their version and name.
    others: Mapping[str, Sequence[Result]]
    #: The tasks, shots and projects whose thumbnail will be set.
    tasks: frozenset[str]
    #: The padding of the frame numbers of sequences, by id.
    paddings: Mapping[str, int]
    #: Rows of frames of sequences that an upload names by id, by the sequence and their number.
    frames: Mapping[tuple[str, str], Sequence[Result]] = field(default_factory=dict)


def check_queries(transfers: Sequence[Transfer]) -> list[list[Operation]]:
    """Return the queries whose results ``parse_known`` reads: six groups, some of them empty."""
    targets = [transfer.target for transfer in transfers]
    versions = {target.version_id for target in targets if target.version_id}
    owners = {_owner_id(target) for target in targets}
    tasks = {target.task_id for target in targets if target.task_id}
    sequences = {target.container_id for target in targets if target.container_id}
    return [
        _query("id", "AssetVersion", "id", versions),
        _query(COLUMNS, "Component", "id", owners),
        same_names_query(targets),
        # Rows of the table of all contexts, because an id may be that of a shot.
        _query("id", "Context", "id", tasks),
        # Only this type has the attribute.
        _query("id, padding", "SequenceComponent", "id", sequences),
        _frames_query(targets),
    ]


def same_names_query(targets: Iterable[Target]) -> list[Operation]:
    """Return the query for components that have a target's version and name, whoever made them.

    A frame does not know the name of its sequence: all components of its version are asked for.
    """
    of_versions, names, whole = set(), set(), set()
    for target in targets:
        if target.version_id and target.container_id:
            whole.add(target.version_id)
        elif target.is_hidden:
            continue
        elif target.version_id and target.name and QUOTES.isdisjoint(target.name):
            of_versions.add(target.version_id)
            names.add(target.name)
    found = []
    if names:
        among = f"version_id in ({quoted(sorted(of_versions))})"
        found.append(f"({among} and name in ({quoted(sorted(names))}))")
    if whole:
        found.append(f"version_id in ({quoted(sorted(whole))})")
    where = " or ".join(found)
    columns = f"{COLUMNS}, {LOCATIONS}"
    return [query(columns, "Component", f"{where} limit {MOST_ROWS}")] if where else []


def parse_known(results: Sequence[Sequence[Result]]) -> Known:
    """Return what the results of ``check_queries`` contain."""
    versions, components, same_names, tasks, sequences, frames = (
        [row for result in group for row in rows_of(result)] for group in results
    )
    numbers: dict[tuple[str, str], list[Result]] = {}
    for row in frames:
        numbers.setdefault((str(row.get("container_id")), str(row.get("name"))), []).append(row)
    return Known(
        frozenset(str(row.get("id")) for row in versions),
        {str(row.get("id")): row for row in components},
        others_of(same_names),
        frozenset(str(row.get("id")) for row in tasks),
        {str(row.get("id")): number_of(row, "padding", MAX_PADDING) for row in sequences},
        numbers,
    )


def others_of(rows: Iterable[Result]) -> dict[str, list[Result]]:
    """Return the rows of other programs' components, by the id that farmhaul would give them."""
    found: dict[str, list[Result]] = {}
    for row in rows:
        ours = derived_id("component", row.get("version_id"), row.get("name"))
        if row.get("id") != ours:
            found.setdefault(ours, []).append(row)
    return found


def is_free(row: Result) -> bool:
    """Return whether a component is empty, or has files of farmhaul: it has made their location."""
    locations = row.get("component_locations")
    if not isinstance(locations, list):
        return False
    component_id = str(row.get("id"))
    return not locations or any(
        one.get("id") == location_id_of(component_id, str(one.get("location_id")))
        for one in locations
    )


def location_id_of(component_id: str, location_id: str = SERVER_LOCATION_ID) -> str:
    """Return the id of the ComponentLocation that farmhaul makes for a component."""
    return derived_id("location", component_id, location_id)


def used_of(
    target: Target, kind: str, ours: Collection[str], others: Mapping[str, Sequence[Result]]
) -> Result | None:
    """Return the component of another program that a target uses, or None.

    A version never gets a second component of a name. So one that another program has made is used
    if it is of this kind and free, unless there is one of farmhaul, too.

    Args:
        target: what is to be under a version.
        kind: "file" or "sequence".
        ours: the ids of components that exist; only those of farmhaul matter.
        others: rows of other programs' components, by the id that farmhaul would give them.
    """
    rows = others.get(target.own_id, ())
    is_alone = target.replace or target.container_id or target.is_hidden
    if not rows or is_alone or target.own_id in ours:
        return None
    return rows[0] if all(is_free(row) for row in rows) and kind_of(rows[0]) == kind else None


def with_used(transfer: Transfer, known: Known) -> Transfer:
    """Return a transfer to the component that ftrack has for it, or else to the one to create."""
    target = transfer.target
    used = used_of(target, "file", known.components, known.others)
    component_id = str(used.get("id")) if used else target.own_id
    if component_id == target.component_id:
        return transfer
    return replace(transfer, target=target._replace(component_id=component_id), multipart=None)


def refusal_of(transfer: Transfer, known: Known) -> UploadError | None:
    """Return why ftrack cannot take an upload, or None if it can, as far as is known."""
    target = transfer.target
    is_made = target.new_version is not None
    if target.version_id and not is_made and target.version_id not in known.versions:
        why = f"version {target.version_id} does not exist"
        return RequestRefusedError(transfer.component_id, "create", why)
    if target.task_id and target.task_id not in known.tasks:
        return TargetRefusedError(f"task {target.task_id}", "does not exist in ftrack")
    if target.version_id is None:
        refused = _refused_component(transfer, known.components.get(_owner_id(target)))
        return refused or _refused_frame(transfer, known)
    if target.is_hidden:
        return None
    row = known.components.get(_owner_id(target)) or {}
    moved = moved_to(str(row.get("version_id") or ""), target)
    return moved or (None if target.replace else _refused_name(transfer, known))


def moved_to(version_id: str, target: Target) -> TargetRefusedError | None:
    """Return that somebody has moved our component to another version, which would get the bytes.

    *version_id* is the version that it has in ftrack; empty if it has none, or does not exist.
    """
    if version_id in {"", target.version_id}:
        return None
    why = f"is in version {version_id} in ftrack, not in version {target.version_id}"
    return TargetRefusedError(f'component "{target.name}"', why)


def _refused_component(transfer: Transfer, row: Result | None) -> TargetRefusedError | None:
    """Check a component that was named by its id."""
    is_frame = transfer.target.container_id is not None
    component = f"component {_owner_id(transfer.target)}"
    wanted = "sequence" if is_frame else "file"
    if row is None:
        return TargetRefusedError(component, "does not exist in ftrack")
    if kind_of(row) != wanted:
        return TargetRefusedError(component, f"is a {kind_of(row)} in ftrack, not a {wanted}")
    # An empty component takes any file: its type is set together with its size.
    if row.get("size") and not (transfer.target.replace or _fits(transfer, row)):
        why = f"is of type {row.get('file_type')} in ftrack, but the file is {transfer.path}"
        return TargetRefusedError(component, why, "component")
    return None


def _refused_frame(transfer: Transfer, known: Known) -> TargetRefusedError | None:
    """Check a frame of a sequence that was named by its id and may have frames of others."""
    target = transfer.target
    if target.container_id is None or target.replace:
        return None
    sequence = f"sequence {target.container_id}"
    padding = known.paddings.get(target.container_id)
    if known.components[target.container_id].get("size") and not _is_padded(target, padding):
        return TargetRefusedError(sequence, _other_padding(transfer, padding), "component")
    for row in known.frames.get((target.container_id, target.name or ""), ()):
        if row.get("id") != target.own_id and not is_free(row):
            frame = f"frame {target.name} of {sequence}"
            return TargetRefusedError(frame, made_by_another(row), "component")
    return None


def _refused_name(transfer: Transfer, known: Known) -> TargetRefusedError | None:
    """Check what ftrack has under the version and the name: of farmhaul, or of other programs."""
    target = transfer.target
    owner_id = _owner_id(target)
    others = known.others.get(owner_id, ())
    row = others[0] if others else known.components.get(owner_id)
    if row is None:
        return None
    others = [other for other in others if not is_free(other)]
    component = f'component "{row.get("name")}" of version {target.version_id}'
    wanted, is_one = ("sequence", "is a frame") if target.container_id else ("file", "is a file")
    if others:
        why = made_by_another(others[0])
    elif kind_of(row) != wanted:
        why = f"is a {kind_of(row)} in ftrack, and {transfer.path} {is_one}"
    elif (row.get("size") or row.get("id") == owner_id) and not _fits(transfer, row):
        why = f"is of type {row.get('file_type')} in ftrack, but the file is {transfer.path}"
    elif not _is_padded(target, padding := known.paddings.get(str(row.get("id")))):
        why = _other_padding(transfer, padding)
    else:
        return None
    return TargetRefusedError(component, why, "name")


def _other_padding(transfer: Transfer, padding: int | None) -> str:
    return f"has frame numbers of padding {padding} in ftrack, but the file is {transfer.path}"


def made_by_another(row: Result) -> str:
    """Return why a component of another program cannot be used."""
    return f"exists in ftrack already, made by another program ({row.get('id')})"


def kind_of(row: Result) -> str:
    """Return what a component is: a file, a sequence or a container."""
    kind = KINDS.get(str(row.get("__entity_type__")), str(row.get("system_type")))
    return kind if kind in {"sequence", "container"} else "file"


def _fits(transfer: Transfer, row: Result) -> bool:
    """Whether the file's extension does not contradict the file type in ftrack."""
    known, new = (_type(text) for text in (row.get("file_type"), transfer.file_type))
    # One of them may have the last of two extensions alone: .gz and .vdb.gz.
    return (
        not known or not new or f".{known}".endswith(f".{new}") or f".{new}".endswith(f".{known}")
    )


def _is_padded(target: Target, padding: int | None) -> bool:
    """Whether a frame's number is written with this padding, as far as one number can show."""
    # The name of a frame is its number as it is written, so 1 and 001 would be two frames.
    name = target.name or ""
    if padding is None or not (target.container_id and name.isdecimal()):
        return True
    return len(name) == max(padding, len(name.lstrip("0")), 1)


def _type(text: object) -> str:
    plain = text.lstrip(".").lower() if isinstance(text, str) else ""
    return SAME_TYPES.get(plain, plain)


def _owner_id(target: Target) -> str:
    return target.container_id or target.own_id


def _frames_query(targets: Iterable[Target]) -> list[Operation]:
    wanted = [one for one in targets if one.container_id and not (one.version_id or one.replace)]
    if not wanted:
        return []
    sequences = quoted(sorted({str(one.container_id) for one in wanted}))
    numbers = quoted(sorted({str(one.name) for one in wanted}))
    among = f"container_id in ({sequences}) and name in ({numbers}) limit {MOST_ROWS}"
    return [query(f"id, name, container_id, {LOCATIONS}", "FileComponent", among)]


def _query(columns: str, entity_type: str, column: str, ids: Iterable[str]) -> list[Operation]:
    wanted = sorted(ids)
    return [query(columns, entity_type, f"{column} in ({quoted(wanted)})")] if wanted else []
