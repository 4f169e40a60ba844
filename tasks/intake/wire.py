"""A request as plain JSON values: how it travels through the inbox, and lies in the spool.

Only what a user asked for is sent. Ids are derived from it on both sides, so nobody can ask for one
thing under the id of another. A sequence is its pattern and ranges, with its frames' sizes and
mtimes as two lists: 100,000 frames are at most 7 MB.
"""

from __future__ import annotations

from itertools import groupby

from tasks.intake.fields import (
    check_bounds,
    check_host,
    check_metadata,
    check_names,
    check_path,
    check_tail,
    check_text,
)
from tasks.intake.notation import Frames
from tasks.intake.ranges import compact
from tasks.intake.request import Request, UploadRequest
from tasks.transfer.targets import Container, OfVersion, Target, is_uuid

#: The fields of a target that are true or false.
FLAGS = ("thumbnail", "listed", "encode", "encode_only", "replace", "prune")
#: Its fields that name a location of ftrack.
LOCATIONS = ("also_in", "only_in")
#: What a version gets with a component: objects of texts, and arrays of names.
VERSION_TEXTS = ("metadata", "attributes")
VERSION_NAMES = ("lists", "reviews")
#: What is sent of a version that is made. Former versions know no ``task_name``, only ids.
NEW_VERSION = (
    "context", "asset", "asset_type", "key", "number", "task", "task_name", "comment", "status",
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any


def to_wire(request: Request) -> dict[str, Any]:
    """Return a request as plain values, for JSON; ``asked_at`` is not one of them.

    Raises:
        ValueError: workers would refuse it; the text is a short reason.
    """
    if isinstance(request, UploadRequest):
        return {**_file_values(request), **_shared_values(request)}
    first = request.files[0]
    shared = _shared_values(first)
    shared.update(_version_values(first.target))
    check_bounds(len(request.files), sum(len(file.path) for file in request.files))
    containers = {row.target.component_id: row for row in request.publish.containers}
    if request.component_id in containers:
        whole = _sequence_values(containers[request.component_id], request.files, request.path)
        return {**whole, **shared}
    components: list[dict[str, Any]] = []
    for container_id, files in groupby(request.files, lambda file: file.target.container_id):
        if container_id is None:
            components += map(_file_values, files)
        else:
            components.append(_sequence_values(containers[container_id], tuple(files)))
    for values in components:
        for key in ("version_id", "new_version"):
            values.pop(key, None)
    return {"publish": check_text("publish", request.path), "components": components, **shared}


def _shared_values(file: UploadRequest) -> dict[str, Any]:
    """Return what all files of a request have in common, without what is the default."""
    values: dict[str, Any] = {"priority": file.priority} if file.priority != "normal" else {}
    if file.host:
        values["host"] = check_host(file.host)
    if file.allow_empty:
        values["allow_empty"] = True
    return values


def _file_values(file: UploadRequest) -> dict[str, Any]:
    values: dict[str, Any] = {"path": check_path("path", file.path)}
    values.update(_target_values(file.target))
    if file.size_bytes is not None:
        values["size"], values["mtime_ns"] = file.size_bytes, file.mtime_ns
    return values


def _target_values(target: Target) -> dict[str, Any]:
    if target.version_id is None:
        known: dict[str, Any] = {"component_id": target.component_id}
        known.update((key, True) for key in ("replace", "prune") if getattr(target, key))
        known.update(_location_values(target))
        if target.metadata:
            known["metadata"] = dict(check_metadata(dict(target.metadata)))
        return known
    values = {**_version_values(target), "name": check_text("name", target.name or "")}
    values.update((key, True) for key in FLAGS if getattr(target, key))
    values.update(_location_values(target))
    if target.of_version:
        values["of_version"] = _of_version_values(target.of_version)
    if target.task_id:
        values["task_id"] = target.task_id
    if target.metadata:
        values["metadata"] = dict(check_metadata(dict(target.metadata)))
    return values


def _version_values(target: Target) -> dict[str, Any]:
    """Return what says which version a component is of: its id is not sent if it is derived."""
    if target.new_version:
        values = target.new_version._asdict()
        if not is_uuid(values["task"]):
            values["task_name"] = values.pop("task")
        return {"new_version": {key: values[key] for key in NEW_VERSION if values.get(key)}}
    return {"version_id": target.version_id} if target.version_id else {}


def _of_version_values(data: OfVersion) -> dict[str, Any]:
    values: dict[str, Any] = {
        key: dict(check_metadata(dict(getattr(data, key)))) for key in VERSION_TEXTS
    }
    for key in VERSION_NAMES:
        values[key] = [*check_names(key, getattr(data, key))]
    return {key: value for key, value in values.items() if value}


def _location_values(target: Target) -> dict[str, str]:
    return {key: check_text(key, getattr(target, key)) for key in LOCATIONS if getattr(target, key)}


def _sequence_values(
    container: Container, files: Sequence[UploadRequest], path: str | None = None
) -> dict[str, Any]:
    """Return the values of a sequence; ``path`` is how its user wrote it, if it is known."""
    patterns = _patterns(container, files)
    frames = next(
        (
            found
            for found in patterns
            if path in {None, str(found)} and container.pattern in {"", found.place}
        ),
        None,
    )
    if frames is None:
        raise ValueError("the names of its frames have no pattern")
    values = {
        **_target_values(container.target),
        "head": check_path("head", frames.head),
        "tail": check_tail(frames.tail),
        "padding": frames.padding,
        "frames": compact(frames.numbers),
    }
    if files[0].size_bytes is not None:
        values["sizes"] = [file.size_bytes for file in files]
        values["mtimes_ns"] = [file.mtime_ns for file in files]
    return values


def _patterns(container: Container, files: Sequence[UploadRequest]) -> Iterator[Frames]:
    """Yield the patterns that the frames may have; mostly one, but a1.1.exr alone has two."""
    first, name = files[0].path, str(files[0].target.name)
    numbers = tuple(int(str(file.target.name)) for file in files)
    start = first.find(name, first.rfind("/") + 1)
    while start >= 0:
        head, tail = first[:start], first[start + len(name) :]
        found = Frames(head, tail, container.padding, numbers)
        if found.file_type == container.file_type and all(
            file.path == f"{head}{file.target.name}{tail}" for file in files
        ):
            yield found
        start = first.find(name, start + 1)
