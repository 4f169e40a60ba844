"""Image sequences: which frames of what a user wrote are there."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterable, Iterator

from tasks.notation import (
    MAX_DIGITS,
    MAX_FRAMES,
    Frames,
    FramesError,
    parse,
    positive,
    run,
    runs,
    shown,
    too_many,
)

__all__ = ["Frames", "FramesError", "read_frames"]

#: Of a long list, so many runs of frames are named.
MAX_RUNS_SHOWN = 10


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
                f"{shown(text)} is a folder, and --no-stat looks at nothing on disk; "
                "write the sequence with its frames, as f.%04d.exr [1001-1240]"
            )
        return None
    if not look:
        if not written.numbers:
            raise FramesError(
                f"{shown(text)} names no frames, and --no-stat looks at nothing on disk; "
                f'write "{shown(written.pattern)} [1001-1240]"'
            )
        return written
    found = _on_disk(written)
    if not written.numbers:
        return _whole(found, allow_missing=allow_missing)
    there = set(found.numbers)
    missing = [number for number in written.numbers if number not in there]
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
    widths: set[int] = set()
    numbers = []
    for name in _names(f"{folder}/" if "/" in written.head else "."):
        if not (name.startswith(head) and name.endswith(written.tail)):
            continue
        digits = name[len(head) : len(name) - len(written.tail)]
        if digits.isascii() and digits.isdecimal() and len(digits) <= MAX_DIGITS:
            if digits == written.name(int(digits)):
                numbers.append(int(digits))
            else:
                widths.add(len(digits))
    if not numbers:
        other = f" (there are some of {min(widths)} digits)" if widths else ""
        raise FramesError(
            f"{shown(written.pattern)}: no such frame is here{other}; "
            "is the name right? When only workers see them, say --no-stat"
        )
    return _some(written, numbers)


def _in_folder(folder: str) -> Frames:
    """Give the one sequence of a folder; files without a number in their names are no frames."""
    from fileseq.constants import PAD_STYLE_HASH1  # late, as in tasks.notation
    from fileseq.filesequence import FileSequence

    # A minus is a hyphen, as in shot-0001.exr: fileseq would take that for frame -1.
    names = {name.replace("-", "\0") for name in _names(folder) if not name.startswith(".")}
    found = []
    for sequence in FileSequence.findSequencesInList(names, pad_style=PAD_STYLE_HASH1):
        padding = sequence.zfill() if sequence.zfill() > 1 else 0
        frames = Frames(sequence.basename(), sequence.extension(), padding, ())
        # It reads the digits of all scripts, and then writes ours: only what is there is a frame.
        numbers = [n for n in map(int, sequence.frameSet() or ()) if frames.path(n) in names]
        if numbers:
            head, tail = (text.replace("\0", "-") for text in (frames.head, frames.tail))
            found.append(_some(Frames(os.path.join(folder, head), tail, padding, ()), numbers))
    if not found:
        raise FramesError(
            f"{shown(folder)}: no frames are in this folder; is it the right one? "
            "Frames without an extension need a pattern, as f.%04d"
        )
    found.sort(key=lambda frames: (-len(frames.numbers), frames.pattern))
    if len(found) > 1:
        patterns = [os.path.basename(frames.pattern) for frames in found]
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""  # noqa: PLR2004
        raise FramesError(
            f"{shown(folder)} holds more than one sequence "
            f"({shown(', '.join(patterns[:3]))}{more}); "
            f"name the one you mean: {shown(found[0].pattern)}"
        )
    return positive(found[0])


def _names(folder: str) -> Iterator[str]:
    """Give the names of files, from one listing: a stat for each would take minutes on NFS."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    yield entry.name
    except OSError as error:
        raise FramesError(
            f"{shown(folder)} can not be looked at here: {error.strerror}; "
            "mend that, or leave the look to a worker with --no-stat"
        ) from None


def _some(frames: Frames, numbers: Iterable[int]) -> Frames:
    ascending = tuple(sorted(numbers))
    if not ascending:
        raise FramesError(f"{shown(str(frames))}: none of the frames named is there")
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
        f"{shown(frames.pattern)}: {count} of {total} frames are missing: "
        f"{', '.join(runs[:MAX_RUNS_SHOWN])}{more}; render them, or send the others alone "
        "with --allow-missing"
    )
