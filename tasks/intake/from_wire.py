"""Reads a request from plain JSON values that anybody may have written, and checks everything."""

from __future__ import annotations

from tasks.intake.fields import (
    Fields,
    check_bounds,
    check_host,
    check_identity,
    check_metadata,
    check_names,
    check_number,
    check_path,
    check_tail,
    check_text,
)
from tasks.intake.notation import Frames
from tasks.intake.ranges import MAX_DIGITS
from tasks.intake.request import PRIORITIES, PublishRequest, Request, UploadRequest
from tasks.intake.wire import LOCATIONS, NEW_VERSION, VERSION_NAMES, VERSION_TEXTS
from tasks.transfer.targets import (
    QUOTES,
    Container,
    NewVersion,
    OfVersion,
    Publish,
    Target,
    derived_id,
    is_uuid,
    is_version_number,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def from_wire(values: object) -> Request:
    """Return the request that ``to_wire`` has turned into plain values; everything is checked.

    Raises:
        ValueError: the values are not those of a request; the text is a short reason.
    """
    fields = Fields(values)
    shared: dict[str, Any] = {
        "priority": fields.take("priority", str, "normal"),
        "host": check_host(fields.take("host", str, "")),
        "allow_empty": fields.take("allow_empty", bool, default=False),
    }
    if shared["priority"] not in PRIORITIES:
        raise ValueError("priority is not one of " + ", ".join(PRIORITIES))
    request: Request
    if "components" in fields:
        request = _publish(fields, {**shared, "is_member": True})
    elif "head" in fields:
        is_there = "component_id" in fields
        target = _there(fields) if is_there else _of_version(fields, _version(fields))
        container, frames, files = _sequence(fields, target, {**shared, "is_member": True}, 0)
        publish = Publish((container,))
        request = PublishRequest(str(frames), container.target.component_id, publish, files)
    elif "component_id" in fields:
        request = _file(fields, _there(fields), shared)
    else:
        target = _under_version(fields, _version(fields))
        request = _file(fields, target, shared)
    fields.end()
    return request


def _publish(fields: Fields, shared: dict[str, Any]) -> PublishRequest:
    name = check_text("publish", fields.take("publish", str))
    version = _version(fields)
    containers: list[Container] = []
    files: list[UploadRequest] = []
    targets: list[Target] = []
    characters = 0
    for row in fields.take("components", list):
        values = Fields(row)
        if "head" in values:
            target = _of_version(values, version)
            container, _, members = _sequence(values, target, shared, len(files))
            containers.append(container)
            targets.append(container.target)
        else:
            targets.append(_under_version(values, version))
            members = (_file(values, targets[-1], shared),)
        values.end()
        files += members
        characters += sum(len(file.path) for file in members)
        check_bounds(len(files), characters)
    if not files:
        raise ValueError("the publish has no components")
    if len({target.component_id for target in targets}) < len(targets):
        raise ValueError("two components of the publish have the same name")
    if sum(target.thumbnail for target in targets) > 1:
        raise ValueError("the publish has a second thumbnail")
    component_id = derived_id("publish", _id_of(version), name)
    return PublishRequest(name, component_id, Publish(tuple(containers)), tuple(files))


def _there(fields: Fields) -> Target:
    """Return the target for a component that exists: a file, or with prune a sequence."""
    replace = fields.take("replace", bool, default=False)
    prune = "head" in fields and fields.take("prune", bool, default=False)
    component_id, metadata = fields.uuid("component_id"), fields.metadata()
    known = Target(component_id, metadata=metadata, replace=replace, prune=prune)
    return known._replace(**_location(fields))


def _location(fields: Fields) -> dict[str, Any]:
    found = {key: check_text(key, fields.take(key, str)) for key in LOCATIONS if key in fields}
    if len(found) > 1:
        raise ValueError("also_in and only_in do not go together")
    return found


def _version(fields: Fields) -> str | NewVersion:
    """Return the id of a version, or what it is made from."""
    if "new_version" not in fields:
        return fields.uuid("version_id")
    values = Fields(fields.take("new_version", dict))
    texts = {key: values.take(key, str) for key in NEW_VERSION if key in values}
    values.end()
    for key, text in texts.items():
        # Tabs and line breaks may be part of a comment.
        check_text(key, text.translate({9: " ", 10: " "}) if key == "comment" else text)
        if key != "comment" and not QUOTES.isdisjoint(text):
            raise ValueError(f"{key} has a quotation mark")
    if "task" in texts and not is_uuid(texts["task"]):
        raise ValueError("task is not a UUID")
    if "task_name" in texts:
        if "task" in texts:
            raise ValueError("task and task_name do not go together")
        texts["task"] = texts.pop("task_name")
    if not is_version_number(texts.get("number", "1")):
        raise ValueError("number is not that of a version")
    try:
        return NewVersion(**texts)
    except TypeError:
        raise ValueError("new_version lacks its context, asset or asset_type") from None


def _data_of(fields: Fields) -> OfVersion | None:
    """Take out what the version gets with its component."""
    if "of_version" not in fields:
        return None
    values = Fields(fields.take("of_version", dict))
    metadata, attributes = (check_metadata(values.take(key, dict, {})) for key in VERSION_TEXTS)
    lists, reviews = (check_names(key, values.take(key, list, [])) for key in VERSION_NAMES)
    values.end()
    for name in (*lists, *reviews, *(key for key, _ in attributes)):
        if not QUOTES.isdisjoint(name):
            raise ValueError("of_version has something that is not a name")
    return OfVersion(metadata, attributes, lists, reviews)


def _id_of(version: str | NewVersion) -> str:
    return version.version_id if isinstance(version, NewVersion) else version


def _made(version: str | NewVersion) -> NewVersion | None:
    return version if isinstance(version, NewVersion) else None


def _of_version(fields: Fields, version: str | NewVersion) -> Target:
    """Return the target for a sequence of a version."""
    return Target.under_version(
        _id_of(version),
        check_text("name", fields.take("name", str)),
        metadata=fields.metadata(),
        replace=fields.take("replace", bool, default=False),
        prune=fields.take("prune", bool, default=False),
        new_version=_made(version),
        of_version=_data_of(fields),
        **_location(fields),
    )


def _sequence(
    fields: Fields, target: Target, shared: dict[str, Any], before: int
) -> tuple[Container, Frames, tuple[UploadRequest, ...]]:
    """Return a sequence; ``before`` is the number of files before it in the same request."""
    frames = Frames(
        check_path("head", fields.take("head", str)),
        check_tail(fields.take("tail", str)),
        check_number("padding", fields.take("padding", int), 0, MAX_DIGITS),
        _numbers(fields.take("frames", list), before),
    )
    count = len(frames.numbers)
    check_bounds(count, count * len(frames.path(frames.numbers[-1])))
    identities: Sequence[tuple[int | None, int | None]] = [(None, None)] * count
    if "sizes" in fields or "mtimes_ns" in fields:
        sizes = fields.take("sizes", list)
        mtimes_ns = fields.take("mtimes_ns", list)
        if not len(sizes) == len(mtimes_ns) == count:
            raise ValueError(f"{count} frames have {len(sizes)} sizes and {len(mtimes_ns)} mtimes")
        identities = list(map(check_identity, sizes, mtimes_ns))

    def frame(number: int, identity: tuple[int | None, int | None]) -> UploadRequest:
        member = Target.frame(target, frames.name(number))
        return UploadRequest(frames.path(number), member, *identity, **shared)

    files = tuple(map(frame, frames.numbers, identities))
    return Container(target, frames.file_type, frames.padding, frames.place), frames, files


def _file(fields: Fields, target: Target, shared: dict[str, Any]) -> UploadRequest:
    path = check_path("path", fields.take("path", str))
    if path.endswith("/"):
        raise ValueError("path is a folder")
    size = mtime_ns = None
    if "size" in fields or "mtime_ns" in fields:
        size, mtime_ns = check_identity(fields.take("size", int), fields.take("mtime_ns", int))
    return UploadRequest(path, target, size, mtime_ns, **shared)


def _under_version(fields: Fields, version: str | NewVersion) -> Target:
    thumbnail = fields.take("thumbnail", bool, default=False)
    encode = fields.take("encode", bool, default=False)
    encode_only = fields.take("encode_only", bool, default=False)
    listed = fields.take("listed", bool, default=False)
    if listed and not thumbnail:
        raise ValueError("listed needs thumbnail")
    if encode_only and (thumbnail or not encode):
        raise ValueError("encode_only needs encode, and no thumbnail")
    if "task_id" in fields and not thumbnail:
        raise ValueError("task_id needs thumbnail")
    if ("only_in" in fields and (thumbnail or encode)) or ("also_in" in fields and encode_only):
        raise ValueError("its location does not go with the other options")
    return Target.under_version(
        _id_of(version),
        check_text("name", fields.take("name", str)),
        thumbnail=thumbnail,
        listed=listed,
        encode=encode,
        encode_only=encode_only,
        task_id=fields.uuid("task_id") if thumbnail and "task_id" in fields else None,
        metadata=fields.metadata(),
        replace=fields.take("replace", bool, default=False),
        new_version=_made(version),
        of_version=_data_of(fields),
        **_location(fields),
    )


def _numbers(ranges: list[Any], before: int) -> tuple[int, ...]:
    """Read ascending ranges, as ``compact`` has written them."""
    numbers: list[int] = []
    following = 0
    for text in ranges:
        first, dash, last = text.partition("-") if type(text) is str else ("", "", "")
        for digits in (first, last if dash else first):
            if not (digits.isascii() and digits.isdecimal() and len(digits) <= MAX_DIGITS):
                raise ValueError("frames has something that is not a range")
        frames = range(int(first), int(last or first) + 1)
        if not frames or frames[0] < following:
            raise ValueError("frames are not in ascending order")
        # The length is known before any frame is stored: "1-999999999" costs nothing.
        check_bounds(before + len(numbers) + len(frames))
        numbers += frames
        following = frames[-1] + 1
    if not numbers:
        raise ValueError("the sequence has no frames")
    return tuple(numbers)
