"""Stored files become visible in ftrack: each by itself, or all of a publish at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tasks.transfer.errors import (
    FileRefusedError,
    RequestRefusedError,
    UnexpectedAnswerError,
    UploadError,
)
from tasks.transfer.ftrack import AlreadyThereError, FtrackClient, FtrackRefusal, Outcome
from tasks.transfer.models import Container, Transfer
from tasks.transfer.registration import (
    Existing,
    frames_operations,
    job_ids,
    locate_operations,
    parse_existing,
    parse_located,
    present_operations,
    publish_operations,
)
from tasks.transfer.signing import Operation, Result, rows_of

#: So many components are looked up in one POST.
LOOKED_UP_AT_ONCE = 500
#: Of a sequence that is there already, so many frames: some 150 bytes each.
FRAMES_A_PAGE = 5000


def locate(ftrack: FtrackClient, transfers: Sequence[Transfer]) -> dict[str, Outcome]:
    """Register stored files in ftrack.server, in one POST where nothing is in the way.

    Safe to repeat: ids are derived, and what is there already is looked up and brought up to
    date. Those to be encoded are looked at in any case: an encoding has left its mark.
    Gives the transfer, or the error of it alone, by transfer id.
    """
    encodes = [one for one in transfers if one.target.encode]
    others = [one for one in transfers if not one.target.encode]
    outcomes = ftrack.call_each(others, locate_operations, parse_located, "register", looked=False)
    there = [one for one in others if isinstance(outcomes[one.upload_id], AlreadyThereError)]
    return outcomes | _locate_present(ftrack, [*there, *encodes])


def _locate_present(ftrack: FtrackClient, transfers: Sequence[Transfer]) -> dict[str, Outcome]:
    try:
        existing = look_up(ftrack, transfers)
    except UploadError as error:
        return {one.upload_id: error for one in transfers}

    def operations_of(one: Transfer) -> list[Operation]:
        return locate_operations(one, existing)

    taken: dict[str, Outcome] = {
        one.upload_id: refused for one in transfers if (refused := _taken(one, existing))
    }
    free = [one for one in transfers if one.upload_id not in taken]
    return taken | ftrack.call_each(free, operations_of, parse_located, "register")


def _taken(file: Transfer, existing: Existing) -> FileRefusedError | None:
    # A component that was there before us may be of any kind: only its location is made.
    target = file.target
    if target.version_id is None or target.component_id not in existing.sequences:
        return None
    why = f"is a file, and {target.name} is a sequence in ftrack; give it another name"
    return FileRefusedError(file.path, why)


def locate_publish(
    ftrack: FtrackClient,
    transfer: Transfer,
    files: Sequence[Transfer],
    between: Callable[[], None] = lambda: None,
) -> Transfer:
    """Register all files of a publish; gives the transfer with its encoding jobs.

    Safe to repeat, as ``locate``. ``between`` is called before each POST, and may raise.

    Raises:
        RequestRefusedError, UnexpectedAnswerError, and as ``FtrackClient.call`` does.
        FileRefusedError: the component is there, and another sequence than this one.
    """
    publish = transfer.publish
    if publish is None:
        raise ValueError(f"transfer {transfer.upload_id} is no publish")
    existing = look_up(ftrack, [*publish.containers, *files])
    for one in files:
        if taken := _taken(one, existing):
            raise taken
    there = [one for one in publish.containers if one.target.component_id in existing.components]
    frames = {one.target.component_id: _frames_of(ftrack, one, transfer.path) for one in there}
    existing = replace(existing, frames=frames)
    jobs: tuple[str, ...] = ()
    for post in publish_operations(publish, files, existing):
        between()
        try:
            jobs += job_ids(ftrack.call(post) if post else [])
        except FtrackRefusal as refusal:
            why = f"{refusal.name}: {refusal.why}"
            if refusal.is_duplicate:
                # It came between our look and the call: look again.
                raise UnexpectedAnswerError("ftrack", "create", why) from None
            raise RequestRefusedError(transfer.component_id, "publish", why) from None
    return replace(transfer, job_ids=jobs)


def _frames_of(ftrack: FtrackClient, container: Container, path: str) -> dict[str, int]:
    # Frames enqueued by themselves are not all that the sequence has: its size is that of all.
    sequence_id = container.target.component_id
    sizes: dict[str, int] = {}
    while True:
        asked = frames_operations(sequence_id, len(sizes), FRAMES_A_PAGE)
        try:
            found, page = ftrack.call(asked)
        except FtrackRefusal as refusal:
            why = f"{refusal.name}: {refusal.why}"
            raise RequestRefusedError(sequence_id, "look up", why) from None
        _require_same(rows_of(found), container, path)
        rows, known = rows_of(page), len(sizes)
        sizes |= {str(row.get("id")): _size(row) for row in rows}
        if len(rows) < FRAMES_A_PAGE:
            return sizes
        if len(sizes) == known:  # as of a server that does not know the offset
            what = f"the frames of sequence {sequence_id}"
            raise UnexpectedAnswerError("ftrack", what, "the next page is one we had")


def _require_same(rows: Sequence[Result], container: Container, path: str) -> None:
    # Frames are named by their numbers as these are written: 1 and 001 would be two of them.
    name = container.target.name
    if not rows:
        why = f"is a sequence, and {name} is a component of another kind in ftrack"
    elif (padding := int(rows[0].get("padding") or 0)) != container.padding:
        why = f"has frames of padding {container.padding}, and {name} in ftrack of {padding}"
    else:
        return
    raise FileRefusedError(path, f"{why}; give it another name")


def _size(row: Result) -> int:
    size = row.get("size")
    return int(size) if isinstance(size, int | float) else 0


def look_up(ftrack: FtrackClient, wanted: Sequence[Transfer | Container]) -> Existing:
    """Ask what of these is in ftrack already.

    Raises:
        RequestRefusedError, and as ``FtrackClient.call`` does.
    """
    found = Existing()
    for at in range(0, len(wanted), LOOKED_UP_AT_ONCE):
        step = wanted[at : at + LOOKED_UP_AT_ONCE]
        try:
            more = parse_existing(ftrack.call(present_operations(step)))
        except FtrackRefusal as refusal:
            why = f"{refusal.name}: {refusal.why}"
            raise RequestRefusedError(step[0].target.component_id, "look up", why) from None
        found = found.with_more(more)
    return found
