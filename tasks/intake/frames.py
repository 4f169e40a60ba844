"""Image sequences: which frames of what a user wrote are there."""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator

from tasks.intake.notation import (
    MAX_DIGITS,
    MAX_FRAMES,
    Frames,
    FramesError,
    parse,
    positive,
    printable,
    run,
    runs,
    too_many,
)

__all__ = ["Frames", "FramesError", "read_frames"]

#: Of a long list, so many runs of frames are named.
MAX_RUNS_SHOWN = 10

#: What Windows leaves in folders; all else with a number in its name might be a frame.
DROPPINGS = {"thumbs.db", "desktop.ini"}


def read_frames(text: str, *, look: bool, allow_missing: bool) -> Frames | None:
    """Read a sequence as a user wrote it: a pattern with or without ranges, or a folder.

    Gives None for the path of an ordinary file. An existing file is one, whatever its name.
    Without *look* nothing on disk is looked at, and syntax alone decides. Raises FramesError.
    """
    mode = _mode(text) if look else 0
    if stat.S_ISDIR(mode):
        return _whole(_in_folder(text), allow_missing=allow_missing)
    if mode:
        return None
    written = parse(text)
    if written is None:
        if not look and text.endswith("/"):
            raise FramesError(
                f"{printable(text)} is a folder, and --no-stat looks at nothing on disk; "
                "write the sequence with its frames, as f.%04d.exr [1001-1240]"
            )
        return None
    if not look:
        if not written.numbers:
            raise FramesError(
                f"{printable(text)} names no frames, and --no-stat looks at nothing on disk; "
                f'write "{printable(written.pattern)} [1001-1240]"'
            )
        return written
    found = _on_disk(written)
    if not written.numbers:
        return _whole(found, allow_missing=allow_missing)
    there = set(found.numbers)
    missing = [number for number in written.numbers if number not in there]
    if len(missing) == len(written.numbers):
        raise FramesError(f"{printable(str(written))}: none of the frames named is there")
    if missing and not allow_missing:
        raise _missing(written, runs(missing), len(missing), len(written.numbers))
    return _some(written, (number for number in written.numbers if number in there))


def _mode(text: str) -> int:
    try:
        return os.stat(text).st_mode
    except (OSError, ValueError):  # ValueError: a NUL in it; the intake refuses that
        return 0


def _on_disk(written: Frames) -> Frames:
    """Give the frames of a pattern that are there, by one look at their folder."""
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
        other = f" (but {printable(min(others))} is)" if others else ""
        raise FramesError(
            f"{printable(written.pattern)}: no such frame is here{other}; "
            "is the name right? When only workers see them, say --no-stat"
        )
    if others and not written.numbers:
        raise FramesError(
            f"{printable(written.pattern)} leaves out {printable(min(others))}, whose number has "
            f"other digits; if that is meant, name the frames: "
            f"{printable(str(_some(written, numbers)))}"
        )
    return _some(written, numbers)


def _in_folder(folder: str) -> Frames:
    """Give the one sequence of a folder; files without a number in their names are no frames."""
    texts: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in _names(folder):
        if name.startswith(".") or name.lower() in DROPPINGS:
            continue
        stem, tail = os.path.splitext(name)
        if tail[1:].isdecimal():  # "f.1001"
            stem, tail = name, ""
        # The last number is the frame, as in sh010_v003.1001.exr.
        match = re.fullmatch(r"(.*?)([0-9]+)([^0-9]*)", stem, re.DOTALL)
        if match:
            texts[match[1], f"{match[3]}{tail}"].append(match[2])
    if not texts:
        raise FramesError(
            f"{printable(folder)}: no frames are in this folder; is it the right one?"
        )
    found = [_grouped(folder, *ends, digits) for ends, digits in texts.items()]
    if len(found) > 1:
        found.sort(key=lambda frames: -len(frames.numbers))
        names = [os.path.basename(frames.pattern) for frames in found]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""  # noqa: PLR2004
        raise FramesError(
            f"{printable(folder)} holds more than one sequence "
            f"({printable(', '.join(names[:3]))}{more}); name the one you mean: "
            f"{printable(found[0].pattern)}"
        )
    return positive(found[0])


def _grouped(folder: str, head: str, tail: str, digits: list[str]) -> Frames:
    padded = {len(text) for text in digits if text.startswith("0") and len(text) > 1}
    widths = padded or {len(text) for text in digits}
    # Where no number has a leading zero, 1001-1240 are taken as padded to 4, 8-12 as not padded.
    padding = min(widths) if len(widths) == 1 else 0
    frames = Frames(os.path.join(folder, head), tail, padding if padding > 1 else 0, ())
    if odd := [text for text in digits if text != frames.name(int(text))]:
        other = next(text for text in digits if len(text) != len(odd[0]))
        raise FramesError(
            f"{printable(folder)} holds frames numbered in two ways "
            f"({printable(head + odd[0] + tail)} and {printable(head + other + tail)}); "
            "name those you mean by a pattern, such as f.%04d.exr"
        )
    return _some(frames, map(int, digits))


def _names(folder: str) -> Iterator[str]:
    """Give the names of files, from one listing: a stat for each would take minutes on NFS."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    yield entry.name
    except OSError as error:
        raise FramesError(
            f"{printable(folder)} can not be looked at here: {error.strerror}; "
            "mend that, or leave the look to a worker with --no-stat"
        ) from None


def _some(frames: Frames, numbers: Iterable[int]) -> Frames:
    ascending = tuple(sorted(numbers))
    if len(ascending) > MAX_FRAMES:
        raise too_many(frames.pattern)
    return Frames(frames.head, frames.tail, frames.padding, ascending)


def _whole(found: Frames, *, allow_missing: bool) -> Frames:
    """Refuse holes between the first frame and the last: there, a render has not ended well."""
    numbers = found.numbers
    count = numbers[-1] - numbers[0] + 1 - len(numbers)
    if count and not allow_missing:
        # By its ends: a stray f.99999999.exr makes a hole too large to count through.
        pairs = itertools.pairwise(numbers)
        holes = [run(one + 1, other - 1) for one, other in pairs if other - one > 1]
        raise _missing(found, holes, count, count + len(numbers))
    return found


def _missing(frames: Frames, runs: list[str], count: int, total: int) -> FramesError:
    more = f" and {len(runs) - MAX_RUNS_SHOWN} more" if len(runs) > MAX_RUNS_SHOWN else ""
    return FramesError(
        f"{printable(frames.pattern)}: {count} of {total} frames are missing: "
        f"{', '.join(runs[:MAX_RUNS_SHOWN])}{more}; render them, or send the others alone "
        "with --allow-missing"
    )
