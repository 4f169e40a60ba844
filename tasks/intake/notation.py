"""Image sequences as people, render managers and ftrack write them: a pattern and its frames."""

from __future__ import annotations

from tasks.intake.errors import FramesError, printable
from tasks.intake.marks import find_mark, may_have_mark
from tasks.intake.ranges import compact, numbers_of
from tasks.transfer.named_tuple import NamedTuple
from tasks.transfer.names import file_type

NAME_AND_RANGES = r"(?s)(.*?\S)(?:\s*\[([^\[\]]*)\]|\s+(-?[0-9][-0-9,xy:\s]*))"
ONE_RANGE = r"[0-9]+(?:-[0-9]+)?(?:[xy:]-?[0-9]+)?"
#: Ranges right before the mark, as fileseq writes them. A single number is a range only after a
#: dot: it is the frame in "f.1001#.exr", and part of the name in "sh010####.exr".
RANGES_BEFORE = rf"(?<![0-9])(?:{ONE_RANGE}(?:,{ONE_RANGE})+|[0-9]+-[0-9]+(?:[xy:]-?[0-9]+)?)$"
NUMBER_BEFORE = r"(?<=\.)[0-9]+$"
#: What follows a mark when there are ranges before those at the end.
TWICE = r"(?s).*\s\[?[0-9][-0-9,xy:\s]*\]?"
#: What begins as ranges after an extension, and is none: "1-10 step 2", "1-10s2", "(1-10)", "1t10",
#: or with another dash than the hyphen of ASCII.
NO_RANGES = r"\.[A-Za-z]\w*\s+(\(?[0-9]+[-,t\u2010-\u2014][0-9][^.]*)$"
#: A name with an extension, whose frames are named although there is no place for a number.
ONE_FILE = r"(?s).*\.[A-Za-z][A-Za-z0-9]*"


class Frames(NamedTuple):
    """Files whose names differ only by a frame number."""

    head: str
    tail: str
    padding: int  # digits; 0 when the numbers are not padded
    numbers: tuple[int, ...]  # ascending, without duplicates

    def name(self, number: int) -> str:
        """Return the number as it is written in the file's name.

        A number with more digits than the padding is written in full.
        """
        return f"{number:0{self.padding}d}"

    def path(self, number: int) -> str:
        """Return the path of a frame."""
        return f"{self.head}{self.name(number)}{self.tail}"

    @property
    def pattern(self) -> str:
        """The path with a printf mark in place of the number."""
        mark = f"%0{self.padding}d" if self.padding else "%d"
        return f"{self.head}{mark}{self.tail}"

    @property
    def place(self) -> str:
        """The path with %d in place of the number: the same for all frames, however padded."""
        return f"{self.head}%d{self.tail}"

    @property
    def file_type(self) -> str:
        """The extension with its dots, as in ftrack; empty if there is none."""
        return file_type(f"0{self.tail}")

    def __str__(self) -> str:
        return f"{self.pattern} [{', '.join(compact(self.numbers))}]"


def parse(text: str) -> Frames | None:
    """Read a pattern with or without frame ranges.

    Return None for a text without a mark, and no numbers for a pattern without ranges.

    Raises:
        FramesError: the pattern or its ranges are not valid.
    """
    if not may_have_mark(text):
        return None
    import re

    folder, slash, name = text.rpartition("/")
    ranges = None
    split = re.fullmatch(NAME_AND_RANGES, name)
    if split:
        name, ranges = split[1], split[2] if split[2] is not None else split[3]
    mark = find_mark(name, text)
    if mark is None:
        if split and split[2] and re.search("[0-9]", split[2]) and re.fullmatch(ONE_FILE, name):
            raise FramesError(
                f"{printable(text)} names frames, but its name has no place for their numbers; "
                "write f.%04d.exr [1001-1240]"
            )
        return None
    head, tail = name[: mark.start], name[mark.end :]
    if ranges is not None and re.fullmatch(TWICE, tail):
        raise FramesError(f"{printable(text)} names its frames twice; write them once")
    if odd := re.search(NO_RANGES, tail):
        numbers_of(f"{odd[1]} {ranges or ''}".strip(), text)
    if before := re.search(RANGES_BEFORE, head) or re.search(NUMBER_BEFORE, head):
        if ranges is not None:
            raise FramesError(f"{printable(text)} names its frames twice; write them once")
        head, ranges = head[: before.start()], before[0]
    digits = mark.digits or 0
    padding = digits if digits > 1 else 0  # every number has a digit
    frames = check_positive(Frames(f"{folder}{slash}{head}", tail, padding, ()))
    return frames if ranges is None else frames._replace(numbers=numbers_of(ranges, text))


def check_positive(frames: Frames) -> Frames:
    """Return the frames unless their numbers are negative.

    ftrack's own notation has no negative frames: the minus would become part of the name.

    Raises:
        FramesError: there is a minus before the number.
    """
    import re

    if re.search(r"(?:^|[._/\s])-$", frames.head):
        raise FramesError(
            f"{printable(frames.pattern)} has negative frame numbers, which ftrack does not "
            "support; renumber the frames from 0 or higher"
        )
    return frames
