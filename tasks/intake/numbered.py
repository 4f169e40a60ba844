"""Which number in the name of a file is the frame: f.1001.exr, sh010_v003.0998_left.exr."""

from __future__ import annotations

import os
import re
from collections import defaultdict

from tasks.intake.errors import FramesError, printable
from tasks.intake.notation import Frames, check_positive
from tasks.intake.ranges import MAX_DIGITS, MAX_FRAMES, some_of, too_many

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: The most sequences, and other files, of a folder that a message names.
MAX_SHOWN = 3

#: Files that Windows leaves in folders. Any other file with a number might be a frame.
WINDOWS_FILES = {"thumbs.db", "desktop.ini"}
#: A movie has its frames inside.
MOVIES = {
    *(".avi", ".braw", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mxf", ".r3d"),
    *(".webm", ".wmv"),
}
#: What a number is if these letters are right before it. In "v.0001.vdb", v is the name.
BEFORE = (
    ("a version", r"(?:^|[^a-z])(?:v|ver|vers|version|rev|take|tk)$"),
    ("a shot", r"(?:^|[^a-z])(?:sh|shot|sc|scn|scene|seq|sq|ep)$"),
    ("a tile", r"(?:^|[^a-z])(?:tile[_-]?|u|part|bucket|region)$"),
    ("a camera or layer", r"(?:^|[^a-z])(?:cam|camera|layer|lyr|pass)$"),
    ("a level of detail", r"(?:^|[^a-z])(?:lod|level|mip)$"),  # codespell:ignore lod
    ("a size", r"[0-9]x$"),
    ("a copy", r"\($"),
    ("a date", r"(?:19|20)[0-9]{2}-[0-9]{2}-$"),
)
#: What it is if these follow it: 4k, 1080p, 24fps, 16bit, 1920x1080, and tiles as 1x1.
AFTER = r"(?:[kp]|fps|bits?|px|mm|x[0-9]+)(?![a-z])"


class _Name:
    """The name of a file: its numbers, what is around them, and which of them may be the frame."""

    def __init__(self, name: str) -> None:
        self.name = name
        stem, tail = os.path.splitext(name)
        if tail[1:].isdecimal():  # "f.1001"
            stem, tail = name, ""
        self.parts = re.split("([0-9]+)", stem)  # texts and numbers in turn
        self.parts[-1] += tail
        self.is_movie = tail.lower() in MOVIES

    @property
    def numbers(self) -> list[str]:
        return self.parts[1::2]

    def split(self, place: int) -> tuple[str, str, str]:
        """Return what is before a number, the number, and what is after it."""
        start = 2 * place + 1
        return "".join(self.parts[:start]), self.parts[start], "".join(self.parts[start + 1 :])

    def what(self, place: int) -> str:
        """Return what a number is; an empty text if it may be the frame."""
        before, number, after = self.split(place)
        for what, pattern in BEFORE:
            if re.search(pattern, before.lower()):
                return what
        if re.match(AFTER, after.lower()):
            return "a size"
        return "" if len(number) <= MAX_DIGITS else "too long for a frame"

    def frame(self) -> int | None:
        """Return the place of the frame's number, as far as one name shows it.

        The last number counts, and numbers that touch no letter count more: of
        sh010.1001_cam1.exr it is 1001.
        """
        places = [place for place in range(len(self.numbers)) if not self.what(place)]
        alone = [place for place in places if not self._touches(place)]
        best = alone or places
        return best[-1] if best else None

    def _touches(self, place: int) -> bool:
        before, _, after = self.split(place)
        return before[-1:].isalpha() or after[:1].isalpha()


def sequence_of(folder: str, names: Iterable[str]) -> Frames:
    """Return the only sequence in a folder with these files. Names without a number are ignored.

    Raises:
        FramesError: they are not one sequence.
    """
    shapes: dict[tuple[str, ...], list[_Name]] = defaultdict(list)
    for text in names:
        if not text.startswith(".") and text.lower() not in WINDOWS_FILES:
            name = _Name(text)
            if name.numbers:
                shapes[tuple(name.parts[::2])].append(name)
    texts: dict[tuple[str, str], list[str]] = defaultdict(list)
    others: list[_Name] = []
    for alike in shapes.values():
        changing = _changing(alike)
        for name in alike:
            place = name.frame() if changing is None else changing
            if place is None or name.is_movie:
                others.append(name)
            else:
                head, digits, tail = name.split(place)
                texts[head, tail].append(digits)
    if not texts:
        raise _no_frames(folder, others)
    found = [_grouped(folder, *ends, digits) for ends, digits in texts.items()]
    if len(found) > 1 or others:
        found.sort(key=lambda frames: -len(frames.numbers))
        patterns = [os.path.basename(frames.pattern) for frames in found]
        names = [*patterns, *sorted(name.name for name in others)]
        shown = [*map(printable, names)]
        raise FramesError(
            f"{printable(folder)} contains more than one sequence ({some_of(shown, MAX_SHOWN)}); "
            f"write the one you mean: {printable(found[0].pattern)}"
        )
    return check_positive(found[0])


def _changing(alike: Sequence[_Name]) -> int | None:
    """Return the place of the only number that differs between names, if it may be the frame."""
    columns = zip(*(name.numbers for name in alike))
    places = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    # If one name shows another number as its frame, as in lay1_f.1001.exr, these are two things.
    return places[0] if len(places) == 1 and places[0] == alike[0].frame() else None


def _grouped(folder: str, head: str, tail: str, digits: list[str]) -> Frames:
    # The shortest number shows the padding: 998 and 1001 are padded to three digits, 8 and 12 to
    # none, and a longer number begins with no zero.
    padding = min(map(len, digits))
    frames = Frames(f"{folder.rstrip('/')}/{head}", tail, padding if padding > 1 else 0, ())
    if odd := [text for text in digits if text != frames.name(int(text))]:
        short = min(digits, key=len)
        raise FramesError(
            f"{printable(folder)} contains frames that are numbered in two ways "
            f"({printable(head + odd[0] + tail)} and {printable(head + short + tail)}); "
            "write the ones you mean as a pattern, such as f.%04d.exr"
        )
    return with_numbers(frames, map(int, digits))


def with_numbers(frames: Frames, numbers: Iterable[int]) -> Frames:
    """Return the frames with these numbers.

    Raises:
        FramesError: there are too many.
    """
    ascending = tuple(sorted(numbers))
    if len(ascending) > MAX_FRAMES:
        raise too_many(frames.pattern)
    return Frames(frames.head, frames.tail, frames.padding, ascending)


def _no_frames(folder: str, others: Sequence[_Name]) -> FramesError:
    if not others:
        return FramesError(
            f"{printable(folder)}: this folder contains no frames; check the path, "
            "or write the path of a file"
        )
    first = min(others, key=lambda name: name.name)
    why = (
        "it is a movie" if first.is_movie else f"its number is {first.what(len(first.numbers) - 1)}"
    )
    path = f"{folder.rstrip('/')}/{first.name}"
    what = some_of([*map(printable, sorted(name.name for name in others))], MAX_SHOWN)
    return FramesError(
        f"{printable(folder)} contains no frames, but {what} ({why}); "
        f"write the path of each file: {printable(path)}"
    )
