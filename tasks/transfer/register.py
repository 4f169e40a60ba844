"""Registration in ftrack: stored files become visible, one by one or all of a publish together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tasks.transfer.checks import others_of, same_names_query
from tasks.transfer.errors import (
    FileRefusedError,
    RequestRefusedError,
    UnexpectedAnswerError,
)
from tasks.transfer.existing import (
    NOTHING_YET,
    Existing,
    existing_operations,
    frames_operations,
    parse_existing,
    replaces,
)
from tasks.transfer.ftrack import (
    MAX_PADDING,
    MAX_ROWS,
    MAX_SIZE_BYTES,
    FtrackClient,
    FtrackRefusal,
    Outcomes,
    Result,
    bisect_failures,
    number_of,
    rows_of,
)
from tasks.transfer.models import Transfer
from tasks.transfer.registration import job_ids, locate_operations, publish_operations
from tasks.transfer.targets import Container

#: The components that are looked up in one POST.
LOOKED_UP_AT_ONCE = 500
#: The frames of an existing sequence that are read in one POST, about 150 bytes each.
FRAMES_A_PAGE = 5000


def locate(ftrack: FtrackClient, transfers: Sequence[Transfer]) -> Outcomes:
    """Register stored files in ftrack.server, in one POST if none of them exists in ftrack.

    Safe to repeat: ids are derived, and existing entities are looked up and updated. A file that
    must be encoded is always looked up first, because its metadata shows whether an encoding
    was started before; so is one that replaces others.
    """
    exist: list[Transfer] = []

    def create(batch: Sequence[Transfer]) -> Outcomes:
        try:
            return _register(ftrack, batch, NOTHING_YET)
        except FtrackRefusal as refusal:
            if not refusal.is_duplicate:
                raise
            exist.extend(batch)
            return {}

    look_first = [one for one in transfers if one.target.encode or one.target.replace]
    others = [one for one in transfers if one not in look_first]
    outcomes = bisect_failures(create, others, "register")
    return outcomes | _locate_existing(ftrack, [*exist, *look_first])


def _locate_existing(ftrack: FtrackClient, transfers: Sequence[Transfer]) -> Outcomes:
    def update(batch: Sequence[Transfer]) -> Outcomes:
        # Looked up by each call: one before it whose answer was lost may have created some.
        existing = _look_up(ftrack, batch)
        refused: Outcomes = {
            transfer.upload_id: taken
            for transfer in batch
            if (taken := _name_taken(transfer, existing))
        }
        free = [transfer for transfer in batch if transfer.upload_id not in refused]
        return refused | _register(ftrack, free, existing)

    return bisect_failures(update, transfers, "register")


def _register(ftrack: FtrackClient, batch: Sequence[Transfer], existing: Existing) -> Outcomes:
    results = ftrack.call_in_groups([locate_operations(transfer, existing) for transfer in batch])
    return {
        transfer.upload_id: replace(transfer, job_ids=job_ids(own))
        for transfer, own in zip(batch, results, strict=True)
    }


def _name_taken(file: Transfer, existing: Existing) -> FileRefusedError | None:
    # A component that was named by its id may be of any kind: only its location is created.
    target = file.target
    if target.version_id is None or target.component_id not in existing.sequences:
        return None
    why = f"is a file, but {target.name} is a sequence in ftrack; give it another name"
    return FileRefusedError(file.path, why)


def _all_if_replaced(container: Container, frame_ids: Sequence[str]) -> Sequence[str]:
    return frame_ids if container.target.replace else ()


def locate_publish(
    ftrack: FtrackClient,
    transfer: Transfer,
    files: Sequence[Transfer],
    before_post: Callable[[], None] = lambda: None,
    outdated: Callable[[Container, Sequence[str]], Sequence[str]] = _all_if_replaced,
) -> Transfer:
    """Register all members of a publish; return its transfer with the ids of encoding jobs.

    Safe to repeat, like ``locate``. ``before_post`` is called before each POST, and may raise to
    stop. ``outdated`` returns which frames of an existing sequence, of those that are not members,
    are of the files that it replaces: they are deleted.

    Raises:
        FileRefusedError: the name is taken in ftrack by a file, or by another sequence.
        RequestRefusedError: ftrack refused.
        UnexpectedAnswerError: an entity was created by someone else since it was looked up.
        UploadError: what ``FtrackClient.call`` raises.
    """
    publish = transfer.publish
    if publish is None:
        raise ValueError(f"transfer {transfer.upload_id} is not a publish")
    existing = look_up(ftrack, [*publish.containers, *files])
    for file in files:
        if taken := _name_taken(file, existing):
            raise taken
    found = {
        container.target.component_id: _frame_sizes(ftrack, container, transfer.path)
        for container in publish.containers
        if container.target.component_id in existing.components
    }
    frames = {component_id: sizes for component_id, (_, sizes) in found.items()}
    ours = {file.component_id for file in files}
    gone = {}
    for container in publish.containers:
        padding, sizes = found.get(container.target.component_id, (0, {}))
        if left := [one for one in sizes if one not in ours]:
            # Frame 001 replaces frame 0001, although both are of one place.
            is_same = padding == container.padding
            gone[container.target.component_id] = outdated(container, left) if is_same else left
    existing = replace(existing, frames=frames, outdated=gone)
    jobs: tuple[str, ...] = ()
    for operations in publish_operations(publish, files, existing):
        before_post()
        try:
            jobs += job_ids(ftrack.call(operations) if operations else [])
        except FtrackRefusal as refusal:
            if refusal.is_duplicate:
                # It was created after it was looked up: the next attempt will find it.
                raise UnexpectedAnswerError("ftrack", "create", str(refusal)) from None
            raise RequestRefusedError(transfer.component_id, "publish", str(refusal)) from None
    return replace(transfer, job_ids=jobs)


def _frame_sizes(
    ftrack: FtrackClient, container: Container, path: str
) -> tuple[int, dict[str, int]]:
    """Return the padding of a sequence in ftrack, and the sizes of its frames."""
    # The size of a sequence is that of all its frames, including those of earlier publishes.
    sequence_id = container.target.component_id
    sizes: dict[str, int] = {}
    while True:
        operations = frames_operations(sequence_id, len(sizes), FRAMES_A_PAGE)
        try:
            found, page = ftrack.call(operations)
        except FtrackRefusal as refusal:
            raise RequestRefusedError(sequence_id, "look up", str(refusal)) from None
        padding = _padding_of(rows_of(found), container, path)
        rows, known = rows_of(page), len(sizes)
        sizes |= {str(row.get("id")): number_of(row, "size", MAX_SIZE_BYTES) for row in rows}
        if len(rows) < FRAMES_A_PAGE:
            return padding, sizes
        if len(sizes) > MAX_ROWS:
            why = f"more than {MAX_ROWS} frames"
            raise UnexpectedAnswerError("ftrack", f"the query for sequence {sequence_id}", why)
        if len(sizes) == known:  # such as from a server that ignores the offset
            what = f"the query for the frames of sequence {sequence_id}"
            raise UnexpectedAnswerError("ftrack", what, "the next page repeats the last one")


def _padding_of(rows: Sequence[Result], container: Container, path: str) -> int:
    # The name of a frame is its number as it is written, so 1 and 001 would be two frames.
    name = container.target.name
    if not rows:
        why = f"is a sequence, but {name} is a component of another kind in ftrack"
        raise FileRefusedError(path, f"{why}; give it another name")
    padding = number_of(rows[0], "padding", MAX_PADDING)
    if padding != container.padding and not container.target.replace:
        why = f"has frame numbers of padding {container.padding}, but {name} in ftrack has"
        raise FileRefusedError(
            path, f"{why} {padding}; use another --name, --replace, or another version"
        )
    return padding


def look_up(ftrack: FtrackClient, wanted: Sequence[Transfer | Container]) -> Existing:
    """Return which of these components, their locations and their metadata exist in ftrack.

    Raises:
        RequestRefusedError: ftrack refused the query.
        UploadError: what ``FtrackClient.call`` raises.
    """
    try:
        return _look_up(ftrack, wanted)
    except FtrackRefusal as refusal:
        component_id = wanted[0].target.component_id
        raise RequestRefusedError(component_id, "look up", str(refusal)) from None


def _look_up(ftrack: FtrackClient, wanted: Sequence[Transfer | Container]) -> Existing:
    found = Existing()
    for start in range(0, len(wanted), LOOKED_UP_AT_ONCE):
        batch = wanted[start : start + LOOKED_UP_AT_ONCE]
        replacing = [one.target for one in batch if replaces(one)]
        groups = [existing_operations(batch), same_names_query(replacing)]
        results, names = ftrack.call_in_groups(groups)
        others = others_of(row for result in names for row in rows_of(result))
        found = found.with_more(parse_existing(results)).with_replaced(batch, others)
    return found
