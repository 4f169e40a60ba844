"""Turn entries into requests; everything is checked before anything is queued."""

from __future__ import annotations

import os

from tasks.config.path_map import absolute, check_here
from tasks.config.remedies import explained
from tasks.intake.context import check_context, new_version, of_version
from tasks.intake.errors import BadInputError, FramesError, quoted
from tasks.intake.marks import may_have_mark
from tasks.intake.request import PRIORITIES, REVIEW_PREFIX, PublishRequest, UploadRequest
from tasks.intake.rules import check_entry, check_fetchable, check_sequence, check_thumbnail
from tasks.intake.written import as_meant
from tasks.transfer.allowed import check_kind, is_below
from tasks.transfer.errors import FileRefusedError
from tasks.transfer.hanging import looking_at
from tasks.transfer.named_tuple import NamedTuple
from tasks.transfer.names import PATTERN, default_name, fetched_name, pattern_metadata, type_of
from tasks.transfer.targets import THUMBNAIL, Container, Publish, Target, derived_id
from tasks.transfer.windows import is_windows_path, on_disk, real_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from tasks.config.hook_settings import HookSettings
    from tasks.config.settings import Settings
    from tasks.intake.manifest import Entry
    from tasks.intake.notation import Frames
    from tasks.intake.request import Request

    AnySettings: TypeAlias = HookSettings | Settings


class Options(NamedTuple):
    """The options that hold for all entries of a call.

    ``stat`` looks at the files on this host; without it, only workers do. ``node_local`` means
    that only this host sees the files. ``allow_missing`` accepts sequences with holes, and
    ``allow_empty`` files of 0 bytes.
    """

    allow_empty: bool = False
    stat: bool = True
    node_local: bool = False
    allow_missing: bool = False


class Component(NamedTuple):
    """The component that an entry becomes, with its file or its frames."""

    entry: Entry
    path: str
    target: Target
    files: tuple[UploadRequest, ...]
    container: Container | None = None


def build_requests(
    entries: Sequence[Entry], settings: AnySettings, options: Options
) -> list[Request]:
    """Check all entries and return their requests.

    Raises:
        BadInputError: an entry is not valid; the text is about the first of them.
    """
    return [request_of(group) for group in build_components(entries, settings, options)]


def build_components(
    entries: Sequence[Entry], settings: AnySettings, options: Options
) -> list[list[Component]]:
    """Check all entries and return their components, those of each request together.

    The entries of a publish become one request, in the place of the first of them.

    Raises:
        BadInputError: an entry is not valid; the text is about the first of them.
    """
    if not settings.storage_roots:
        raise BadInputError(
            "FARMHAUL_STORAGE_ROOTS is not set, so no file can be uploaded; "
            "set it to the folders that renders are written to, such as /mnt/prod:/mnt/cache"
        )
    seen: dict[str, Component] = {}
    groups: dict[object, list[Component]] = {}
    for number, entry in enumerate(entries):
        try:
            component = _component(entry, settings, options)
        except (FileRefusedError, FramesError) as error:
            raise BadInputError(f"{entry.where}{explained(error)}") from None
        known = seen.setdefault(component.target.component_id, component)
        if known.path != component.path:
            raise _two_files(known, component)
        if entry.publish is None:
            groups[number] = [component]
        elif known is component:
            groups.setdefault(entry.publish, []).append(component)
    return [*groups.values()]


def _component(entry: Entry, settings: AnySettings, options: Options) -> Component:
    entry.check_texts()
    check_context(entry)
    if version := new_version(entry):
        entry = entry._replace(version_id=version.version_id)
    check_entry(entry)
    if entry.priority not in PRIORITIES:
        raise BadInputError(
            f"{entry.where}{entry.label('priority')} {quoted(entry.priority)} is not one of "
            f"{', '.join(PRIORITIES)}"
        )
    if not entry.path:
        raise BadInputError(f"{entry.where}the path is empty; write the path of a file")
    looking_at(entry.path)
    written = as_meant(entry, settings.storage_roots, look=options.stat)
    path = absolute(written, settings.path_map)
    if options.stat and not path.isascii():
        from tasks.intake.unicode_forms import as_on_disk

        path = as_on_disk(path)
    frames = _frames(entry, path, settings, options)
    if frames is not None:
        return _sequence(entry, frames, options)
    check_thumbnail(entry, path)
    if entry.prune:
        raise BadInputError(
            f"{entry.where}{entry.label('prune')} is for sequences, and {path} is a file"
        )
    _check_roots(path, path, settings, options)
    target = _target(entry, path, options)
    return Component(entry, path, target, (_file(entry, path, target, options),))


def _frames(entry: Entry, path: str, settings: AnySettings, options: Options) -> Frames | None:
    """Return the frames of an entry; None if it is an ordinary file."""
    is_folder = options.stat and os.path.isdir(on_disk(path))
    # A folder stands for a sequence only under a version.
    if is_folder and not entry.version_id:
        return None
    # Without a look at the disk, only the slash shows that the path is a folder.
    slashes = ("/", "\\") if is_windows_path(entry.path) or is_windows_path(path) else "/"
    slash = "/" if not options.stat and entry.path.endswith(slashes) else ""
    if not (is_folder or slash or may_have_mark(path)):
        return None
    if options.stat and not is_folder and os.path.exists(on_disk(path)):
        return None  # a file, even if its name looks like a pattern
    # Before anything is read, and once for all frames. Workers check each when they open it.
    _check_roots(path, path if is_folder or slash else os.path.dirname(path), settings, options)
    from tasks.intake.frames import read_frames

    allow_missing = options.allow_missing or entry.allow_missing
    return read_frames(path + slash, look=options.stat, allow_missing=allow_missing)


def _sequence(entry: Entry, frames: Frames, options: Options) -> Component:
    check_sequence(entry, frames)
    target = _target(entry, frames.head, options, frames)
    container = Container(target, frames.file_type, frames.padding, frames.place)
    files = []
    for number in frames.numbers:
        frame = Target.frame(target, frames.name(number))
        files.append(_file(entry, frames.path(number), frame, options))
    return Component(entry, str(frames), target, tuple(files), container)


def _file(entry: Entry, path: str, target: Target, options: Options) -> UploadRequest:
    size_bytes = mtime_ns = None
    if options.stat:
        status = _status(entry, path, options)
        size_bytes, mtime_ns = status.st_size, status.st_mtime_ns
    host = _this_host() if options.node_local else ""
    return UploadRequest(
        path, target, size_bytes, mtime_ns, entry.priority, host, options.allow_empty
    )


def _this_host() -> str:
    from socket import gethostname

    return gethostname()


def _check_roots(path: str, place: str, settings: AnySettings, options: Options) -> None:
    if not options.stat and (
        is_windows_path(path) or is_below(os.path.normpath(place), settings.storage_roots)
    ):
        return  # a hook must not hang with a mount or a server, and workers check the open file
    check_here(path, real_path(place), settings.storage_roots, look=options.stat)


def _status(entry: Entry, path: str, options: Options) -> os.stat_result:
    looking_at(path)
    try:
        status = os.stat(on_disk(path))
    except FileNotFoundError:
        raise BadInputError(
            f"{entry.where}{path}: no such file exists here; "
            "check the name, or use --no-stat if only workers can see the file"
        ) from None
    except OSError as error:
        raise BadInputError(
            f"{entry.where}cannot read {path} here: {error.strerror}; fix that, "
            "or use --no-stat to leave the check to a worker"
        ) from None
    check_kind(path, status, allow_empty=options.allow_empty)
    return status


def request_of(group: Sequence[Component]) -> Request:
    """Return the request for a component, or for the components of a publish.

    Raises:
        BadInputError: components of a publish do not go together.
    """
    first = group[0]
    name = first.entry.publish
    if name is None and first.container is None:
        return first.files[0]
    containers = tuple(
        component.container for component in group if component.container is not None
    )
    files = [file._replace(is_member=True) for component in group for file in component.files]
    if name is None:
        return PublishRequest(
            first.path, first.target.component_id, Publish(containers), tuple(files)
        )
    _check_publish(name, group)
    component_id = derived_id("publish", first.target.version_id, name)
    return PublishRequest(name, component_id, Publish(containers), tuple(files))


def _check_publish(name: str, group: Sequence[Component]) -> None:
    """Check that the components of a publish have one version, one priority, one thumbnail.

    Raises:
        BadInputError: they have more than one.
    """
    version_id, priority = group[0].target.version_id, group[0].entry.priority
    for what, others in (
        ("version", [other for other in group if other.target.version_id != version_id]),
        ("priority", [other for other in group if other.entry.priority != priority]),
        ("thumbnail", [other for other in group if other.target.thumbnail][1:]),
        (
            "task, comment or status",
            [one for one in group if one.target.new_version != group[0].target.new_version],
        ),
    ):
        if others:
            raise BadInputError(
                f"{others[0].entry.where}publish {quoted(name)} would get a second {what}; "
                f"a publish has one {what}"
            )


def _two_files(known: Component, other: Component) -> BadInputError:
    where = known.entry.where.rstrip(": ")
    target = other.target
    if target.version_id:
        what = f"component {quoted(target.name or '')} of version {target.version_id}"
        key = "name"
    else:
        what = f"component {target.component_id}"
        key = "component_id"
    return BadInputError(
        f"{other.entry.where}{what} would get two files: {known.path}"
        f"{f' ({where})' if where else ''} and {other.path}; "
        f"enqueue each file with its own {other.entry.label(key)}"
    )


def _target(entry: Entry, head: str, options: Options, frames: Frames | None = None) -> Target:
    if entry.version_id:
        return _under_version(entry, options, head, frames)
    return Target(
        str(entry.component_id).lower(),
        metadata=tuple(sorted(entry.metadata.items())),
        replace=entry.replace,
        prune=entry.prune,
        also_in=entry.also_in or "",
        only_in=entry.only_in or "",
    )


def _under_version(
    entry: Entry, options: Options, head: str, frames: Frames | None = None
) -> Target:
    """Return the target for the file at this path, or for frames with this head."""
    tail, padding = (frames.tail, frames.padding) if frames else (None, 0)
    default = default_name(head, tail)
    described: dict[str, str] = {}
    if entry.reviewable:
        from tasks.intake.web_review import review_of

        default, described = review_of(entry, head, look=options.stat)
    elif entry.thumbnail and not entry.encode:
        default = THUMBNAIL
    name = default if entry.name is None else entry.name
    if not name.strip():
        raise BadInputError(
            f"{entry.where}the component of {entry.path} has an empty name; "
            f"set {entry.label('name')}"
        )
    if name.startswith(REVIEW_PREFIX) and not entry.reviewable:
        from tasks.intake.web_review import check_not_reserved

        check_not_reserved(entry, name)
    is_own = name != default and not entry.reviewable
    named = pattern_metadata(name, head, tail, padding, is_own=is_own, always=entry.replace)
    last = frames.name(frames.numbers[-1]) if frames else None
    check_fetchable(entry, fetched_name(name, type_of(head, tail), named.get(PATTERN, ""), last))
    metadata = {**entry.metadata, **described, **named}
    return Target.under_version(
        str(entry.version_id).lower(),
        name,
        thumbnail=entry.thumbnail,
        listed=entry.thumbnail and entry.name == THUMBNAIL,
        encode=entry.encode or entry.encode_only,
        encode_only=entry.encode_only,
        task_id=entry.task_id.lower() if entry.task_id else None,
        metadata=tuple(sorted(metadata.items())),
        replace=entry.replace,
        prune=entry.prune,
        also_in=entry.also_in or "",
        only_in=entry.only_in or "",
        new_version=new_version(entry),
        of_version=of_version(entry),
    )
