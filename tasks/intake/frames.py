"""Find the frames of an image sequence on disk."""

from __future__ import annotations

import os
import stat

from tasks.intake.errors import FramesError, printable
from tasks.intake.marks import is_udim
from tasks.intake.notation import Frames, parse
from tasks.intake.numbered import sequence_of, with_numbers
from tasks.intake.ranges import MAX_DIGITS, compact, holes, some_of
from tasks.transfer.hanging import looking_at
from tasks.transfer.names import is_unfit
from tasks.transfer.windows import on_disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = {"frames": "1001-1240", "tiles": "1001-1004, 1011"}


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
        return _whole(_in_folder(text), allow_missing=allow_missing)
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
            what, pattern = ("tiles", text) if is_udim(text) else ("frames", written.pattern)
            raise FramesError(
                f"{printable(text)} names no {what}, and --no-stat does not look at the disk; "
                f'write "{printable(pattern)} [{EXAMPLES[what]}]"'
            )
        return written
    found = _on_disk(written)
    if not written.numbers:
        # The tiles of a texture need not be neighbours: 1001, 1002, 1011.
        return _whole(found, allow_missing=allow_missing or is_udim(text))
    existing = set(found.numbers)
    missing = [number for number in written.numbers if number not in existing]
    if len(missing) == len(written.numbers):
        raise FramesError(f"{printable(str(written))}: none of these frames exists")
    if missing and not allow_missing:
        raise _missing(written, compact(missing), len(missing), len(written.numbers))
    return with_numbers(written, (number for number in written.numbers if number in existing))


def _mode(text: str) -> int:
    looking_at(text)
    try:
        return os.stat(on_disk(text)).st_mode
    except (OSError, ValueError):  # ValueError: it contains a NUL, which build.py refuses
        return 0


def _in_folder(folder: str) -> Frames:
    """Return the only sequence in a folder."""
    found = sequence_of(folder, _names(folder))
    if is_unfit(found.head) or is_unfit(found.tail):
        raise FramesError(
            f"{printable(found.pattern)} contains characters that cannot be stored "
            "(control characters, or bytes that are not UTF-8); rename the frames"
        )
    return found


def _on_disk(written: Frames) -> Frames:
    """Return the frames of a pattern that exist, from one listing of their folder."""
    folder, _, head = written.head.rpartition("/")
    others = []
    numbers = []
    negative = ""
    for name in _names(f"{folder}/" if "/" in written.head else "."):
        if not (name.startswith(head) and name.endswith(written.tail)):
            continue
        digits = name[len(head) : len(name) - len(written.tail)]
        if digits.isascii() and digits.isdecimal() and len(digits) <= MAX_DIGITS:
            if digits == written.name(int(digits)):
                numbers.append(int(digits))
            else:
                others.append(name)
        elif digits[:1] == "-" and digits[1:].isdecimal() and head[-1:] in {"", ".", "_"}:
            negative = name
    if negative and not written.numbers:
        raise FramesError(
            f"{printable(written.pattern)} leaves out {printable(negative)}, because ftrack does "
            "not support negative frame numbers; renumber the frames, or name those to upload: "
            f"{printable(written.pattern)} [0-100]"
        )
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
            f"{printable(str(with_numbers(written, numbers)))}"
        )
    return with_numbers(written, numbers)


def _names(folder: str) -> Iterator[str]:
    """Yield the names of files, from one listing: a stat of each would take minutes on NFS."""
    looking_at(folder)
    try:
        with os.scandir(on_disk(folder)) as entries:
            for entry in entries:
                looking_at(folder)
                if not entry.is_dir(follow_symlinks=False):
                    yield entry.name
    except OSError as error:
        raise FramesError(
            f"cannot read {printable(folder)} here: {error.strerror}; fix that, "
            "or name the frames and use --no-stat to leave the check to a worker"
        ) from None


def _whole(found: Frames, *, allow_missing: bool) -> Frames:
    """Return the frames unless there are holes between the first and the last.

    A hole means that a render has failed.

    Raises:
        FramesError: there are holes, and *allow_missing* is not set.
    """
    numbers = found.numbers
    count = numbers[-1] - numbers[0] + 1 - len(numbers)
    if count and not allow_missing:
        raise _missing(found, holes(numbers), count, count + len(numbers))
    return found


def _missing(frames: Frames, ranges: list[str], count: int, total: int) -> FramesError:
    return FramesError(
        f"{printable(frames.pattern)}: {count} of {total} frames are missing: "
        f"{some_of(ranges)}; "
        "render them, or upload the others with --allow-missing"
    )
