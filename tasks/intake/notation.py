"""How people and farm managers write image sequences, and how ftrack does.

A text is taken apart and bounded here; what its mark and its ranges mean, fileseq says. It is
imported late: a hook of a single file doesn't need it. docs/architecture.md has what it would
make of a whole text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fileseq.frameset import FrameSet

#: More frames than this are a slip of the keyboard: 100,000 are more than an hour of film.
MAX_FRAMES = 100_000

#: What stands for the frame number. A name like "100%done" or "logo@2x" has none.
PRINTF = re.compile(r"%0[0-9]{1,4}d|%[0-9]{0,4}d(?![^\W_])")
OTHER_MARKS = re.compile(r"(?:#+|@+|\$F[0-9]{0,4})(?![^\W_#@])")
#: A time to the second as the number has 14.
MAX_DIGITS = 18

NAME_AND_RANGES = re.compile(r"(.*?\S)(?:\s*\[([^\[\]]*)\]|\s+(-?[0-9][-0-9,x\s]*))", re.DOTALL)
ONE_RANGE = r"[0-9]+(?:-[0-9]+)?(?:x[0-9]+)?"
#: Ranges right before the mark, as fileseq has them. A number alone is one after a dot: it is
#: the frame in "f.1001#.exr", and belongs to the name in "sh010####.exr".
RANGES_BEFORE = re.compile(
    rf"(?<![0-9])(?:{ONE_RANGE}(?:,{ONE_RANGE})+|[0-9]+-[0-9]+(?:x[0-9]+)?)$"
)
NUMBER_BEFORE = re.compile(r"(?<=\.)[0-9]+$")
NUMBER = rf"[0-9]{{1,{MAX_DIGITS}}}"
#: What fileseq is asked about. It would take "1 2" for 12, "1.5" for half a frame, and write out
#: millions of frames for "1-9000000y3", in 12 s, before it has told how many.
RANGE = re.compile(rf"{NUMBER}(?:\s*-\s*{NUMBER}(?:x{NUMBER})?)?")

#: Of what a user wrote, so much is repeated in a message.
MAX_SHOWN = 300


class FramesError(ValueError):
    """A sequence that can not be sent as it was written; the text is one line for the user."""


@dataclass(frozen=True, slots=True)
class Frames:
    """Files that differ by a frame number alone."""

    head: str
    tail: str
    padding: int  # digits; 0 when the numbers are not padded
    numbers: tuple[int, ...]  # ascending, each once

    def name(self, number: int) -> str:
        """Give the number as it stands in the file's name; a long one overflows its padding."""
        return f"{number:0{self.padding}d}"

    def path(self, number: int) -> str:
        return f"{self.head}{self.name(number)}{self.tail}"

    @property
    def pattern(self) -> str:
        mark = f"%0{self.padding}d" if self.padding else "%d"
        return f"{self.head}{mark}{self.tail}"

    def __str__(self) -> str:
        return f"{self.pattern} [{', '.join(runs(self.numbers))}]"


def parse(text: str) -> Frames | None:
    """Take pattern and ranges apart; no numbers when none are given, None for no pattern."""
    folder, slash, name = text.rpartition("/")
    ranges = None
    if split := NAME_AND_RANGES.fullmatch(name):
        name, ranges = split[1], split[2] if split[2] is not None else split[3]
    marks = list(PRINTF.finditer(name)) or list(OTHER_MARKS.finditer(name))
    if not marks:
        return None
    if len(marks) > 1:
        raise FramesError(
            f"{printable(text)} has {len(marks)} places for the frame number "
            f"({', '.join(mark[0] for mark in marks)}); write one"
        )
    mark = marks[0]
    head, tail = name[: mark.start()], name[mark.end() :]
    if before := RANGES_BEFORE.search(head) or NUMBER_BEFORE.search(head):
        if ranges is not None:
            raise FramesError(f"{printable(text)} names its frames twice; write them once")
        head, ranges = head[: before.start()], before[0]
    frames = positive(Frames(f"{folder}{slash}{head}", tail, _padding(mark[0], text), ()))
    return frames if ranges is None else replace(frames, numbers=_numbers(ranges, text))


def _padding(mark: str, text: str) -> int:
    from fileseq.constants import PAD_STYLE_HASH1, PAD_STYLE_HASH4
    from fileseq.filesequence import FileSequence

    # A hash alone is four digits, as fileseq counts it; of several each is one, as in Nuke.
    style = PAD_STYLE_HASH4 if mark == "#" else PAD_STYLE_HASH1
    digits = FileSequence.getPaddingNum(mark, pad_style=style)
    if digits > MAX_DIGITS:
        raise FramesError(f"{printable(text)} has {digits} digits; {MAX_DIGITS} are the most")
    return digits if digits > 1 else 0  # each number has a digit


def _numbers(ranges: str, text: str) -> tuple[int, ...]:
    numbers: set[int] = set()
    total = 0
    for part in ranges.split(","):  # of a list, fileseq's time grows with the square
        frames = _frame_set(part.strip(), text)
        total += len(frames)
        if total > MAX_FRAMES:
            raise too_many(text)
        numbers.update(map(int, frames))
    return tuple(sorted(numbers))


def _frame_set(part: str, text: str) -> FrameSet:
    """Read one range: 1001-1240, or of that each second frame, with x2."""
    from fileseq.exceptions import MaxSizeException, ParseException
    from fileseq.frameset import FrameSet

    if RANGE.fullmatch(part):
        try:
            # With a step, it knows the last frame that is met, and not the one that was written.
            whole = FrameSet(part.partition("x")[0])
            frames = FrameSet(part)
        except MaxSizeException:
            raise too_many(text) from None
        except ParseException:  # a step of 0
            pass
        else:
            first, last = whole.start(), whole.end()
            if first <= last:
                return frames
            raise FramesError(
                f"{printable(text)}: {printable(part)} runs backwards; is it {last}-{first}?"
            )
    raise FramesError(
        f"{printable(text)}: {printable(part) or 'nothing'} is no range of frames; "
        "write 1001-1240, or 1001-1100, 1110 (there are no negative ones)"
    )


def positive(frames: Frames) -> Frames:
    """Refuse negative frames: ftrack's own notation has none, so a minus would join the name."""
    if re.search(r"(?:^|[._/\s])-$", frames.head):
        raise FramesError(
            f"{printable(frames.pattern)} has negative frame numbers, which ftrack has no notation "
            "for; renumber the frames from 0 upwards"
        )
    return frames


def too_many(text: str) -> FramesError:
    return FramesError(
        f"{printable(text)} is more than {MAX_FRAMES} frames; is a digit too many in it?"
    )


def runs(numbers: Iterable[int]) -> list[str]:
    """Write ascending numbers compactly: 1001-1100, 1110."""
    ends: list[list[int]] = []
    for number in numbers:
        if ends and number == ends[-1][1] + 1:
            ends[-1][1] = number
        else:
            ends.append([number, number])
    return [run(first, last) for first, last in ends]


def run(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def printable(text: str) -> str:
    """On one line, whatever characters the names on a disk have, and not all of a megabyte."""
    if len(text) > MAX_SHOWN:
        text = f"{text[: MAX_SHOWN // 2]}…{text[-MAX_SHOWN // 2 :]}"
    return text if text.isprintable() else ascii(text)
