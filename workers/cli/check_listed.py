"""Where components of ftrack lie on disk: what ``farmhaul check`` compares without a PATH."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.config.sealing import UNREADABLE
from tasks.intake.manifest import Entry
from tasks.intake.notation import Frames, parse
from tasks.intake.request import REVIEW_PREFIX
from tasks.records.query import Query
from tasks.records.scripts import Scripts
from tasks.records.search import Search
from tasks.records.status import Status
from tasks.records.upload_state import UploadState
from tasks.transfer.inventory import Inventory, Known
from tasks.transfer.names import fetched_name, name_fault
from tasks.transfer.thumbnails import thumbnail_id

NO_PATH = "no record of farmhaul shows where it lies on disk; name its folder with --in"
NO_KEY = (
    "this node's FARMHAUL_SECRET_KEY does not open its record: see farmhaul doctor, "
    "or name its folder with --in"
)

#: The frames of a sequence whose records are looked at: two show where the number is.
LOOKED_AT = 2


@dataclass(frozen=True, slots=True)
class Listed:
    """Entries for what is to be compared, and why the path of other components is not known."""

    entries: list[Entry]
    unknown: dict[str, str]


def listed_by_records(
    scripts: Scripts, inventory: Inventory, component_ids: Sequence[str], versions: Sequence[str]
) -> Listed:
    """Return what to compare for components, and for all components of versions.

    Paths are those of farmhaul's records. A version also has the components whose records say that
    they were uploaded, and which somebody has deleted since. Components of a version that farmhaul
    has not uploaded belong to other programs, or are what ftrack has encoded.

    Raises:
        RedisError: the records cannot be read.
    """
    wanted = list(inventory.known.values())
    status = Status(scripts.client, scripts.codec)
    search = Search(scripts.client, scripts.codec, scripts.hasher)
    uploads = _uploads(status, wanted)
    sealed = {component_id for component_id, upload in uploads.items() if upload.path == UNREADABLE}
    uploads = {
        component_id: upload
        for component_id, upload in uploads.items()
        if component_id not in sealed
    }
    entries, unknown = [], {}
    for known in wanted:
        path, only_in = _place_of(known, uploads)
        if path:
            entries.append(Entry(path, component_id=known.component_id, only_in=only_in or None))
        elif known.component_id in component_ids or _is_ours(known):
            is_sealed = sealed.intersection(_ids(known))
            unknown[known.component_id] = NO_KEY if is_sealed else NO_PATH
    for version_id in versions:
        found = search.find(Query(version=version_id, states=("located",))).ids
        requests = zip(found, search.requests(found), strict=True)
        kept = [upload_id for upload_id, request in requests if not _is_encoded_only(request)]
        entries += _deleted(filter(None, status.find(kept)), inventory)
    return Listed(entries, unknown)


def listed_in(folder: str, inventory: Inventory, patterns: Mapping[str, str]) -> Listed:
    """Return the same for components whose files are in a folder, named as ``fetch`` names them.

    ``patterns`` are the metadata PATTERN of components that have it, by their ids.
    """
    entries, unknown = [], {}
    for known in inventory.known.values():
        is_encoded = known.name.startswith(REVIEW_PREFIX) and not known.is_ours
        if is_encoded or not _is_there(known):
            continue
        digits = f"0{known.padding}" if known.padding > 1 else ""
        mark = f"%{digits}d" if known.is_sequence else None
        kind = f".{known.file_type.lstrip('.')}" if known.file_type else ""
        name = fetched_name(known.name, kind, patterns.get(known.component_id, ""), mark)
        if name_fault(name):
            unknown[known.component_id] = NO_PATH
        else:
            entries.append(Entry(f"{folder}/{name}", component_id=known.component_id))
    return Listed(entries, unknown)


def _is_ours(known: Known) -> bool:
    """Return whether farmhaul has uploaded it; ftrack adds what it has encoded."""
    return known.is_ours or any(frame.is_ours for frame in known.frames.values())


def _is_there(known: Known) -> bool:
    return known.is_located or any(frame.is_located for frame in known.frames.values())


def _uploads(status: Status, wanted: Iterable[Known]) -> dict[str, UploadState]:
    """Return the last upload of components, and of some frames, by the component's id."""
    ids = [component_id for known in wanted for component_id in _ids(known)]
    current = dict(zip(ids, status.current(ids), strict=True))
    found = {component_id: upload_id for component_id, upload_id in current.items() if upload_id}
    uploads = zip(found, status.find([*found.values()]), strict=True)
    return {component_id: upload for component_id, upload in uploads if upload is not None}


def _ids(known: Known) -> list[str]:
    return [file.component_id for file in (known, *_sample(known))]


def _sample(known: Known) -> list[Known]:
    numbers = sorted(known.frames)
    return [known.frames[number] for number in numbers[:1] + numbers[1:][1 - LOOKED_AT :]]


def _place_of(known: Known, uploads: Mapping[str, UploadState]) -> tuple[str, str]:
    """Return the path of a file, or the pattern of a sequence; empty if no record has it.

    With it comes the location that has the path alone, or an empty text.
    """
    upload = uploads.get(known.component_id)
    if not known.is_sequence:
        return (upload.path, upload.only_in) if upload is not None else ("", "")
    if upload is not None and (written := parse(upload.path)):
        return written.pattern, upload.only_in
    # A sequence of a publish has no record of its own.
    members = [
        uploads[frame.component_id] for frame in _sample(known) if frame.component_id in uploads
    ]
    return _pattern_of(known, uploads), next((member.only_in for member in members), "")


def _pattern_of(known: Known, uploads: Mapping[str, UploadState]) -> str:
    paths = {
        frame.name: uploads[frame.component_id].path
        for frame in _sample(known)
        if frame.component_id in uploads
    }
    return next((frames.pattern for frames in _patterns(paths)), "")


def _patterns(paths: Mapping[str, str]) -> Iterator[Frames]:
    """Yield the patterns that paths of frames may have, by their numbers as ftrack has them."""
    for name, path in [*paths.items()][:1]:
        start = path.rfind(name)
        while start > path.rfind("/"):
            head, tail = path[:start], path[start + len(name) :]
            if all(f"{head}{number}{tail}" == other for number, other in paths.items()):
                padding = min(map(len, paths))
                yield Frames(head, tail, padding if padding > 1 else 0, ())
            start = path.rfind(name, 0, start)


def _is_encoded_only(request: Mapping[str, Any]) -> bool:
    """Return whether ftrack itself deletes the component, because only what it encodes stays."""
    target = request.get("target")
    return isinstance(target, dict) and bool(target.get("encode_only"))


def _deleted(uploads: Iterable[UploadState], inventory: Inventory) -> Iterator[Entry]:
    """Yield entries for located uploads of a version whose component is not there."""
    for upload in uploads:
        # A publish has an id of its own, and its name in place of a path.
        if upload.component_id in inventory.known or "/" not in upload.path:
            continue
        frames = parse(upload.path)
        path = upload.path if frames is None else frames.pattern
        if upload.name.startswith(REVIEW_PREFIX):
            yield Entry(path, component_id=upload.component_id)
        else:
            is_hidden = upload.component_id == thumbnail_id(upload.version_id)
            named = Entry(path, version_id=upload.version_id, name=upload.name)
            yield named._replace(thumbnail=is_hidden, only_in=upload.only_in or None)
