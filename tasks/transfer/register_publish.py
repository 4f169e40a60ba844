"""Registration of publishes: all of their files become visible together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tasks.transfer.checks import LOCATIONS, is_free, made_by_another, used_of
from tasks.transfer.errors import (
    FileRefusedError,
    RequestRefusedError,
    TargetRefusedError,
    UnexpectedAnswerError,
)
from tasks.transfer.existing import Existing, frames_operations, is_named
from tasks.transfer.ftrack import MAX_REQUEST_BYTES, FtrackClient, FtrackRefusal
from tasks.transfer.models import MAX_SIZE_BYTES, Transfer
from tasks.transfer.operations import Result
from tasks.transfer.publish_posts import publish_operations
from tasks.transfer.queries import MAX_PADDING, MAX_ROWS, number_of, query, quoted, rows_of
from tasks.transfer.register import LOOKED_UP_AT_ONCE, look_up, taken_by
from tasks.transfer.registration import job_ids, with_jobs
from tasks.transfer.targets import Container, Publish
from tasks.transfer.thumbnails import set_thumbnails

#: If a proxy refuses a POST as too large, a publish is tried in POSTs of half the size, until they
#: are about as large as the look-up of LOOKED_UP_AT_ONCE files.
LEAST_POST_BYTES = 50_000

#: The frames of an existing sequence that are read in one POST, about 150 bytes each.
FRAMES_A_PAGE = 5000


def _all_if_replaced(container: Container, frame_ids: Sequence[str]) -> Sequence[str]:
    return frame_ids if container.target.replace else ()


def locate_publish(
    ftrack: FtrackClient,
    transfer: Transfer,
    files: Sequence[Transfer],
    before_post: Callable[[], None] = lambda: None,
    outdated: Callable[[Container, Sequence[str]], Sequence[str]] = _all_if_replaced,
    *,
    max_bytes: int = MAX_REQUEST_BYTES,
) -> Transfer:
    """Register all members of a publish; return its transfer with the ids of encoding jobs.

    If ftrack no longer has files that it has shown before, nothing is registered, and the transfer
    returns with their upload ids: ``gone``.

    Safe to repeat, like ``locate``. ``before_post`` is called before each POST, and may raise to
    stop. ``outdated`` returns which frames of an existing sequence, of those that are not members,
    are of the files that it replaces: they are deleted. ``max_bytes`` is the size of the POSTs:
    if a proxy refuses one of them as too large, all is done again with smaller ones.

    Raises:
        FileRefusedError: the name is taken in ftrack by a file, or by another sequence.
        TargetRefusedError: another program has files under a name, or a frame of a number.
        RequestRefusedError: ftrack refused.
        UnexpectedAnswerError: an entity was created by someone else since it was looked up.
        UploadError: what ``FtrackClient.call`` raises.
    """
    publish = transfer.publish
    if publish is None:
        raise ValueError(f"transfer {transfer.upload_id} is not a publish")
    # What ftrack has encoded and deleted since is not made again.
    asked = files
    files = [file for file in asked if not (file.target.encode_only and file.was_located)]
    wanted: list[Transfer | Container] = [*publish.containers, *files]
    existing = look_up(ftrack, wanted)
    gone = [file.upload_id for file in files if file.was_located and not existing.has(file)]
    if gone:
        return replace(transfer, gone=tuple(gone))
    for one in wanted:
        _check(one, existing)
    publish, files, existing = _with_used(ftrack, publish, files, existing)
    existing = _with_frames(ftrack, publish, files, existing, path=transfer.path, outdated=outdated)
    jobs: tuple[str, ...] = ()
    for operations in publish_operations(publish, files, existing, max_bytes):
        before_post()
        try:
            jobs += job_ids(ftrack.call(operations) if operations else [])
        except FtrackRefusal as refusal:
            if refusal.is_too_large and max_bytes // 2 >= LEAST_POST_BYTES:
                again = locate_publish(
                    ftrack, transfer, asked, before_post, outdated, max_bytes=max_bytes // 2
                )
                return with_jobs(again, jobs + again.job_ids, [file.target for file in files])
            if refusal.is_duplicate or refusal.may_pass:
                # What was created after it was looked up is found by the next attempt.
                raise UnexpectedAnswerError("ftrack", "create", str(refusal)) from None
            raise RequestRefusedError(transfer.component_id, "publish", str(refusal)) from None
    try:
        set_thumbnails(ftrack, files)
    except FtrackRefusal as refusal:
        raise RequestRefusedError(transfer.component_id, "publish", str(refusal)) from None
    return with_jobs(replace(transfer, publish=publish), jobs, [file.target for file in files])


def _with_frames(
    ftrack: FtrackClient,
    publish: Publish,
    files: Sequence[Transfer],
    existing: Existing,
    *,
    path: str,
    outdated: Callable[[Container, Sequence[str]], Sequence[str]],
) -> Existing:
    """Return the same with the frames that its sequences have, and those of them to delete."""
    ours = {file.component_id for file in files}
    frames, gone = {}, {}
    for container in publish.containers:
        sequence_id = container.target.component_id
        if sequence_id not in existing.components:
            continue
        padding, sizes, names = _frames_of(ftrack, container, path)
        frames[sequence_id] = sizes
        same_number = _same_numbers(ftrack, container, files, names)
        if left := [one for one in sizes if one not in ours and one not in same_number]:
            # Frame 001 replaces frame 0001, although both are of one place.
            is_all = container.target.prune or padding != container.padding
            left = left if is_all else [*outdated(container, left)]
        gone[sequence_id] = [*same_number, *left]
    return replace(existing, frames=frames, outdated=gone)


def _check(wanted: Transfer | Container, existing: Existing) -> None:
    """Check that ftrack has a sequence that was named by its id, and no other under a name.

    Raises:
        TargetRefusedError: it does not, or another program has files under the version's name: the
            upload would make a second component of the name.
        FileRefusedError: it is the name of a sequence, and this is a file.
    """
    target = wanted.target
    if taken := taken_by(wanted, existing):
        raise taken
    is_there = isinstance(wanted, Container) and target.version_id is None
    if is_there and target.component_id not in existing.components:
        raise TargetRefusedError(f"component {target.component_id}", "does not exist in ftrack")
    if target.replace or not is_named(wanted):
        return
    rows = [row for row in existing.others.get(target.own_id, ()) if not is_free(row)]
    if rows:
        what = f'component "{target.name}" of version {target.version_id}'
        raise TargetRefusedError(what, made_by_another(rows[0]), "name")


def _with_used(
    ftrack: FtrackClient, publish: Publish, files: Sequence[Transfer], existing: Existing
) -> tuple[Publish, Sequence[Transfer], Existing]:
    """Have sequences use those of their names that other programs have made, and are empty."""
    used: dict[str, Container] = {}
    for container in publish.containers:
        target = container.target
        if row := used_of(target, "sequence", existing.components, existing.others):
            used[target.component_id] = container._replace(
                target=target._replace(component_id=str(row.get("id")))
            )
    if not used:
        return publish, files, existing
    containers = [used.get(one.target.component_id, one) for one in publish.containers]
    files = [_in_sequence(file, used.get(file.target.container_id or "")) for file in files]
    # What their versions get was looked up with the publish.
    asked = [one._replace(target=one.target._replace(of_version=None)) for one in used.values()]
    return Publish(tuple(containers)), files, existing.with_more(look_up(ftrack, asked))


def _in_sequence(file: Transfer, container: Container | None) -> Transfer:
    if container is None:
        return file
    return replace(file, target=file.target._replace(container_id=container.target.component_id))


def _same_numbers(
    ftrack: FtrackClient,
    container: Container,
    files: Sequence[Transfer],
    names: Mapping[str, str],
) -> list[str]:
    """Return the frames of other programs that have the number of a member; they are empty.

    ``names`` are the frames of the sequence in ftrack: their numbers by id.

    Raises:
        TargetRefusedError: one has files, and the upload does not replace them.
    """
    sequence_id = container.target.component_id
    ours = {
        str(file.target.name): file.component_id
        for file in files
        if file.target.container_id == sequence_id
    }
    found = {
        frame_id: name for frame_id, name in names.items() if ours.get(name, frame_id) != frame_id
    }
    if not found or container.target.replace:
        return [*found]
    for row in _frames_with_locations(ftrack, sequence_id, [*found]):
        if not is_free(row):
            version = container.target.version_id
            owner = f'"{container.target.name}" of version {version}'
            what = f"frame {row.get('name')} of {owner if version else f'sequence {sequence_id}'}"
            raise TargetRefusedError(what, made_by_another(row), "name" if version else "component")
    return [*found]


def _frames_with_locations(
    ftrack: FtrackClient, sequence_id: str, frame_ids: Sequence[str]
) -> list[Result]:
    rows: list[Result] = []
    for start in range(0, len(frame_ids), LOOKED_UP_AT_ONCE):
        among = f"id in ({quoted(frame_ids[start : start + LOOKED_UP_AT_ONCE])})"
        try:
            [found] = ftrack.call([query(f"id, name, {LOCATIONS}", "FileComponent", among)])
        except FtrackRefusal as refusal:
            raise RequestRefusedError(sequence_id, "look up", str(refusal)) from None
        rows += rows_of(found)
    return rows


def _frames_of(
    ftrack: FtrackClient, container: Container, path: str
) -> tuple[int, dict[str, int], dict[str, str]]:
    """Return the padding of a sequence in ftrack, and the sizes and numbers of its frames."""
    # The size of a sequence is that of all its frames, including those of earlier publishes.
    sequence_id = container.target.component_id
    sizes: dict[str, int] = {}
    names: dict[str, str] = {}
    while True:
        operations = frames_operations(sequence_id, len(sizes), FRAMES_A_PAGE)
        try:
            found, page = ftrack.call(operations)
        except FtrackRefusal as refusal:
            raise RequestRefusedError(sequence_id, "look up", str(refusal)) from None
        rows, known = rows_of(page), len(sizes)
        padding = _padding_of(rows_of(found), container, path, is_empty=not rows and not known)
        sizes |= {str(row.get("id")): number_of(row, "size", MAX_SIZE_BYTES) for row in rows}
        names |= {str(row.get("id")): str(row.get("name")) for row in rows}
        if len(rows) < FRAMES_A_PAGE:
            return padding, sizes, names
        if len(sizes) > MAX_ROWS:
            why = f"more than {MAX_ROWS} frames"
            raise UnexpectedAnswerError("ftrack", f"the query for sequence {sequence_id}", why)
        if len(sizes) == known:  # such as from a server that ignores the offset
            what = f"the query for the frames of sequence {sequence_id}"
            raise UnexpectedAnswerError("ftrack", what, "the next page repeats the last one")


def _padding_of(rows: Sequence[Result], container: Container, path: str, *, is_empty: bool) -> int:
    # The name of a frame is its number as it is written, so 1 and 001 would be two frames.
    name = container.target.name or container.target.component_id
    if not rows:
        why = f"is a sequence, but {name} is a component of another kind in ftrack"
        raise FileRefusedError(path, f"{why}; give it another name")
    if is_empty:
        return container.padding
    padding = number_of(rows[0], "padding", MAX_PADDING)
    if padding != container.padding and not container.target.replace:
        why = f"has frame numbers of padding {container.padding}, but {name} in ftrack has"
        raise FileRefusedError(
            path, f"{why} {padding}; use another --name, --replace, or another version"
        )
    return padding
