"""The files that ``farmhaul check`` compares: those on disk, and those that ftrack has for them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks.config.hook_settings import HookSettings
from tasks.config.path_map import absolute
from tasks.intake.build import Component, Options, build_components
from tasks.intake.errors import BadInputError, FramesError
from tasks.intake.manifest import Entry
from tasks.intake.marks import may_have_mark
from tasks.intake.notation import Frames, parse
from tasks.intake.ranges import compact
from tasks.transfer.compare import Pair
from tasks.transfer.errors import FatalError
from tasks.transfer.hanging import looking_at
from tasks.transfer.inventory import Inventory, Known
from tasks.transfer.targets import Target

#: What a person compares may have holes, and files that enqueue would refuse.
LOOK = Options(allow_empty=True, allow_missing=True)
NO_LOOK = LOOK._replace(stat=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A component as the user named it.

    ``component`` has the files to compare, whether they exist or not. With ``is_whole``, frames
    that only ftrack has count too: the user has named none.
    """

    component: Component
    frames: Frames | None = None
    is_whole: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """A file to compare; ``number`` is that of a frame. The item of a sequence itself has none.

    ``lacks`` says what ftrack was asked for, and does not have.
    """

    wanted: Wanted
    pair: Pair
    number: int | None = None
    lacks: str = ""


def wanted_of(entry: Entry, settings: HookSettings) -> Wanted:
    """Return what an entry names; the files need not exist.

    Raises:
        BadInputError: the entry is not valid.
    """
    path = absolute(entry.path, settings.path_map) if entry.path else ""
    looking_at(path)
    is_folder = os.path.isdir(path)
    # A file may be named like a pattern, and ffprobe tells the name of a reviewable one.
    if is_folder or ((entry.reviewable or may_have_mark(path)) and os.path.exists(path)):
        return Wanted(*_built(entry, settings, LOOK), is_whole=is_folder)
    written = _parsed(entry, path)
    if written is None or written.numbers:
        # As it is written: a file that cannot be read must not stop the check of all others.
        return Wanted(*_built(entry, settings, NO_LOOK))
    if _has_frames(written):
        return Wanted(*_built(entry, settings, LOOK), is_whole=True)
    # Nothing is left of it on disk. The number only makes the pattern complete.
    component, frames = _built(entry._replace(path=f"{path} [1001]"), settings, NO_LOOK)
    return Wanted(component._replace(files=()), frames, is_whole=True)


def _parsed(entry: Entry, path: str) -> Frames | None:
    try:
        return parse(path)
    except FramesError as error:
        raise BadInputError(f"{entry.where}{error}") from None


def _built(entry: Entry, settings: HookSettings, how: Options) -> tuple[Component, Frames | None]:
    # By itself: a name of a publish does not matter here.
    [[component]] = build_components([entry], settings, how)
    return component, parse(component.path) if component.container else None


def _has_frames(written: Frames) -> bool:
    folder, _, head = written.head.rpartition("/")
    try:
        names = os.listdir(f"{folder}/")
    except OSError:  # read_frames names what is wrong with a folder that exists
        return os.path.exists(f"{folder}/")
    return any(
        name.startswith(head)
        and name.endswith(written.tail)
        and name[len(head) : len(name) - len(written.tail)].isdecimal()
        for name in names
    )


def items_of(wanted: Wanted, inventory: Inventory) -> Iterator[Item]:
    """Yield the files to compare, in order.

    Raises:
        FatalError: ftrack has a sequence in place of the file, or the other way round.
    """
    component = wanted.component
    known = inventory.find(component.target)
    if known is not None and known.is_sequence != (wanted.frames is not None):
        kinds = ("a file", "a sequence")
        raise FatalError(
            f"component {known.component_id} is {kinds[known.is_sequence]} in ftrack, and "
            f"{component.path} is {kinds[not known.is_sequence]}; check the name or the id"
        )
    lacks = _lacks(component.target) if known is None else ""
    if wanted.frames is None:
        yield Item(wanted, _pair(component, component.path, known), lacks=lacks)
        return
    frames = known.frames if known is not None else {}
    if known is not None and frames and not _pair(component, component.path, known).is_known:
        yield Item(wanted, Pair(component.path, known.component_id))
    paths = {int(str(file.target.name)): file.path for file in component.files}
    if wanted.is_whole:
        paths = {number: wanted.frames.path(number) for number in frames} | paths
    for number in sorted(paths):
        yield Item(wanted, _pair(component, paths[number], frames.get(number)), number, lacks)


def _lacks(target: Target) -> str:
    # Its file may be in ftrack under another name, or in another version.
    if target.version_id and not target.is_hidden:
        return f'version {target.version_id} has no component "{target.name}"'
    return f"ftrack has no component {target.component_id}"


def _pair(component: Component, path: str, known: Known | None) -> Pair:
    is_path_alone = bool(component.target.only_in)
    if known is None:
        return Pair(path, is_path_alone=is_path_alone)
    return Pair(
        path,
        known.component_id,
        known.is_located,
        known.is_ours,
        is_path_alone,
        known.identifiers,
        known.size_bytes,
    )


def entries_for(items: Sequence[Item]) -> list[Entry]:
    """Return the entries that upload these files again, and no other of their sequences."""
    numbers: dict[int, list[int]] = {}
    wanted: Mapping[int, Wanted] = {id(item.wanted): item.wanted for item in items}
    for item in items:
        chosen = numbers.setdefault(id(item.wanted), [])
        if item.number is not None:
            chosen.append(item.number)
        elif item.wanted.frames is not None:  # the sequence has no location
            chosen += [int(str(file.target.name)) for file in item.wanted.component.files]
    return [_entry(wanted[key], sorted({*chosen})) for key, chosen in numbers.items()]


def _entry(wanted: Wanted, numbers: Sequence[int]) -> Entry:
    # Of part of a sequence, prune and replace would delete the rest.
    entry = wanted.component.entry._replace(
        prune=False, replace=False, allow_missing=True, publish=None
    )
    if entry.context is not None:
        entry = entry._replace(version_id=None)  # that of the context
    if wanted.frames is None:
        return entry._replace(path=wanted.component.path)
    return entry._replace(path=f"{wanted.frames.pattern} [{', '.join(compact(numbers))}]")
