"""Find the frames of an image sequence on disk."""

from __future__ import annotations

import os
import re
import stat
from collections import defaultdict

from tasks.intake.errors import FramesError, printable
from tasks.intake.notation import (
    MAX_DIGITS,
    MAX_FRAMES,
    Frames,
    check_positive,
    compact,
    frame_range,
    parse,
    too_many,
)
from tasks.transfer.windows import on_disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: The most ranges of missing frames, and sequences of a folder, that a message names.
MAX_RANGES_SHOWN = 10
MAX_SEQUENCES_SHOWN = 3

#: Files that Windows leaves in folders. Any other file with a number might be a frame.
WINDOWS_FILES = {"thumbs.db", "desktop.ini"}


def read_frames(text: str, *, look: bool, allow_missing: bool) -> Frames | None:
    """Read a sequence as a user wrote it: a pattern with or without ranges, or a folder.

    Return None for the path of an ordinary file. A file that exists is one, even if its name
    looks like a pattern.

    Args:
        text: the path as the user wrote it.
        look: look at the disk; otherwise the syntax alone decides.
        allow_missing: accept a sequence with holes.

    Raises:
        FramesError: the sequence is not valid, or frames are missing.
    """
    mode = _mode(text) if look else 0
    if stat.S_ISDIR(mode):
        return _whole(sequence_of(text, _names(text)), allow_missing=allow_missing)
    if mode:
        return None
    written = parse(text)
    if written is None:
        if not look and text.endswith("/"):
            raise FramesError(
                f"{printable(text)} is a folder, and --no-stat does not look at the disk; "
                "write a pattern with its frames, such as f.%04d.exr [1001-1240]"
            )
        return None
    if not look:
        if not written.numbers:
            raise FramesError(
                f"{printable(text)} names no frames, and --no-stat does not look at the disk; "
                f'write "{printable(written.pattern)} [1001-1240]"'
            )
        return written
    found = _on_disk(written)
    if not written.numbers:
        return _whole(found, allow_missing=allow_missing)
    existing = set(found.numbers)
    missing = [number for number in written.numbers if number not in existing]
    if len(missing) == len(written.numbers):
        raise FramesError(f"{printable(str(written))}: none of these frames exists")
    if missing and not allow_missing:
        raise _missing(written, compact(missing), len(missing), len(written.numbers))
    return _some(written, (number for number in written.numbers if number in existing))


def _mode(text: str) -> int:
    try:
        return os.stat(on_disk(text)).st_mode
    except (OSError, ValueError):  # ValueError: it contains a NUL, which build.py refuses
        return 0


def _on_disk(written: Frames) -> Frames:
    """Return the frames of a pattern that exist, from one listing of their folder."""
    folder, _, head = written.head.rpartition("/")
    others = []
    numbers = []
    for name in _names(f"{folder}/" if "/" in written.head else "."):
        if not (name.startswith(head) and name.endswith(written.tail)):
            continue
        digits = name[len(head) : len(name) - len(written.tail)]
        if digits.isascii() and digits.isdecimal() and len(digits) <= MAX_DIGITS:
            if digits == written.name(int(digits)):
                numbers.append(int(digits))
            else:
                others.append(name)
    if not numbers:
        other = f" (but {printable(min(others))} exists)" if others else ""
        raise FramesError(
            f"{printable(written.pattern)}: no such frame exists here{other}; "
            "check the name, or use --no-stat if only workers can see the files"
        )
    if others and not written.numbers:
        raise FramesError(
            f"{printable(written.pattern)} does not match {printable(min(others))}, whose number "
            f"has a different number of digits; if you want to leave it out, name the frames: "
            f"{printable(str(_some(written, numbers)))}"
        )
    return _some(written, numbers)


def sequence_of(folder: str, names: Iterable[str]) -> Frames:
    """Return the only sequence in a folder with these files. Names without a number are ignored.

    Raises:
        FramesError: they are not one sequence.
    """
    texts: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in names:
        if name.startswith(".") or name.lower() in WINDOWS_FILES:
            continue
        stem, tail = os.path.splitext(name)
        if tail[1:].isdecimal():  # "f.1001"
            stem, tail = name, ""
        # The last number is the frame, as in sh010_v003.1001.exr.
        match = re.fullmatch(r"(.*?)([0-9]+)([^0-9]*)", stem, re.DOTALL)
        if match:
            texts[match[1], f"{match[3]}{tail}"].append(match[2])
    if not texts:
        raise FramesError(f"{printable(folder)}: this folder contains no frames; check the path")
    found = [_grouped(folder, *ends, digits) for ends, digits in texts.items()]
    if len(found) > 1:
        found.sort(key=lambda frames: -len(frames.numbers))
        names = [os.path.basename(frames.pattern) for frames in found]
        rest = len(names) - MAX_SEQUENCES_SHOWN
        raise FramesError(
            f"{printable(folder)} contains more than one sequence "
            f"({printable(', '.join(names[:MAX_SEQUENCES_SHOWN]))}"
            f"{f' and {rest} more' if rest > 0 else ''}); write the one you mean: "
            f"{printable(found[0].pattern)}"
        )
    return check_positive(found[0])


def _grouped(folder: str, head: str, tail: str, digits: list[str]) -> Frames:
    padded = {len(text) for text in digits if text.startswith("0") and len(text) > 1}
    widths = padded or {len(text) for text in digits}
    # A leading zero shows the padding. Without one, 1001-1240 counts as padded to 4 digits,
    # because all numbers have that many, and 8-12 counts as not padded.
    padding = min(widths) if len(widths) == 1 else 0
    frames = Frames(f"{folder.rstrip('/')}/{head}", tail, padding if padding > 1 else 0, ())
    if odd := [text for text in digits if text != frames.name(int(text))]:
        other = next(text for text in digits if len(text) != len(odd[0]))
        raise FramesError(
            f"{printable(folder)} contains frames that are numbered in two ways "
            f"({printable(head + odd[0] + tail)} and {printable(head + other + tail)}); "
            "write the ones you mean as a pattern, such as f.%04d.exr"
        )
    return _some(frames, map(int, digits))


def _names(folder: str) -> Iterator[str]:
    """Yield the names of files, from one listing: a stat of each would take minutes on NFS."""
    try:
        with os.scandir(on_disk(folder)) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    yield entry.name
    except OSError as error:
        raise FramesError(
            f"cannot read {printable(folder)} here: {error.strerror}; fix that, "
            "or name the frames and use --no-stat to leave the check to a worker"
        ) from None


def _some(frames: Frames, numbers: Iterable[int]) -> Frames:
    ascending = tuple(sorted(numbers))
    if len(ascending) > MAX_FRAMES:
        raise too_many(frames.pattern)
    return Frames(frames.head, frames.tail, frames.padding, ascending)


def _whole(found: Frames, *, allow_missing: bool) -> Frames:
    """Return the frames unless there are holes between the first and the last.

    A hole means that a render has failed.

    Raises:
        FramesError: there are holes, and *allow_missing* is not set.
    """
    numbers = found.numbers
    count = numbers[-1] - numbers[0] + 1 - len(numbers)
    if count and not allow_missing:
        # Computed from the ends of a hole: a stray f.99999999.exr makes it too large to count.
        holes = [
            frame_range(number + 1, following - 1)
            for number, following in zip(numbers, numbers[1:])
            if following - number > 1
        ]
        raise _missing(found, holes, count, count + len(numbers))
    return found


def _missing(frames: Frames, ranges: list[str], count: int, total: int) -> FramesError:
    rest = len(ranges) - MAX_RANGES_SHOWN
    return FramesError(
        f"{printable(frames.pattern)}: {count} of {total} frames are missing: "
        f"{', '.join(ranges[:MAX_RANGES_SHOWN])}{f' and {rest} more' if rest > 0 else ''}; "
        "render them, or upload the others with --allow-missing"
    )
