"""How people, render managers and ftrack write image sequences."""

from __future__ import annotations

from tasks.intake.errors import FramesError, printable
from tasks.transfer.named_tuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: A sequence with more frames is a typing error: 100,000 frames are more than an hour of film.
MAX_FRAMES = 100_000
#: A range that is wider than this is a typing error too, even when its step leaves few frames.
MAX_SPAN = 10_000_000
#: A time stamp to the second, used as a frame number, has 14 digits.
MAX_DIGITS = 18

# re is imported where a pattern is used: most files are no sequences, and it takes a hook half as
# long to import it as to start Python.

#: The marks for the frame number. A name such as "100%done" or "logo@2x" has none.
PRINTF = r"%0[0-9]{1,4}d|%[0-9]{0,4}d(?![^\W_])"
OTHER_MARKS = r"(?:#+|@+|\$F[0-9]{0,4})(?![^\W_#@])"
#: One of these is in every mark.
MARKING = frozenset("%#@$")

NAME_AND_RANGES = r"(?s)(.*?\S)(?:\s*\[([^\[\]]*)\]|\s+(-?[0-9][-0-9,x\s]*))"
ONE_RANGE = r"[0-9]+(?:-[0-9]+)?(?:x[0-9]+)?"
#: Ranges right before the mark, as fileseq writes them. A single number is a range only after a
#: dot: it is the frame in "f.1001#.exr", and part of the name in "sh010####.exr".
RANGES_BEFORE = rf"(?<![0-9])(?:{ONE_RANGE}(?:,{ONE_RANGE})+|[0-9]+-[0-9]+(?:x[0-9]+)?)$"
NUMBER_BEFORE = r"(?<=\.)[0-9]+$"
NUMBER = rf"[0-9]{{1,{MAX_DIGITS}}}"
RANGE = rf"({NUMBER})(?:\s*-\s*({NUMBER})(?:x({NUMBER}))?)?"


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
    def file_type(self) -> str:
        """The extension with its dot, as in ftrack; empty if there is none."""
        dot = self.tail.rfind(".")
        return self.tail[dot:] if -1 < dot < len(self.tail) - 1 else ""

    def __str__(self) -> str:
        return f"{self.pattern} [{', '.join(compact(self.numbers))}]"


def may_have_mark(text: str) -> bool:
    """Return whether the name at the end of a path may have a mark, and needs to be parsed."""
    return not MARKING.isdisjoint(text.rpartition("/")[2])


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
    if split := re.fullmatch(NAME_AND_RANGES, name):
        name, ranges = split[1], split[2] if split[2] is not None else split[3]
    marks = list(re.finditer(PRINTF, name)) or list(re.finditer(OTHER_MARKS, name))
    if not marks:
        return None
    if len(marks) > 1:
        raise FramesError(
            f"{printable(text)} has {len(marks)} places for the frame number "
            f"({', '.join(mark[0] for mark in marks)}); write one"
        )
    mark = marks[0]
    head, tail = name[: mark.start()], name[mark.end() :]
    if before := re.search(RANGES_BEFORE, head) or re.search(NUMBER_BEFORE, head):
        if ranges is not None:
            raise FramesError(f"{printable(text)} names its frames twice; write them once")
        head, ranges = head[: before.start()], before[0]
    frames = check_positive(Frames(f"{folder}{slash}{head}", tail, _padding(mark[0], text), ()))
    return frames if ranges is None else frames._replace(numbers=_numbers(ranges, text))


def _padding(mark: str, text: str) -> int:
    """Return the number of digits that a mark stands for; 0 when numbers are not padded.

    A single # is four digits, as in fileseq; if there are several, each is one digit, as in Nuke.
    """
    if mark == "#":
        digits = 4
    elif mark[0] in "#@":
        digits = len(mark)
    else:  # %d, %4d, %04d, $F, $F4
        digits = int(mark.strip("%d$F") or 0)
    if digits > MAX_DIGITS:
        raise FramesError(
            f"{printable(text)} asks for frame numbers of {digits} digits; "
            f"the maximum is {MAX_DIGITS}"
        )
    return digits if digits > 1 else 0  # every number has a digit


def _numbers(ranges: str, text: str) -> tuple[int, ...]:
    numbers: set[int] = set()
    total = 0
    for part in ranges.split(","):
        frames = _range(part.strip(), text)
        total += len(frames)
        if total > MAX_FRAMES:
            raise too_many(text)
        numbers.update(frames)
    return tuple(sorted(numbers))


def _range(part: str, text: str) -> range:
    """Read one range: 1001, 1001-1240, or every second frame of it with 1001-1240x2."""
    import re

    match = re.fullmatch(RANGE, part)
    step = int(match[3] or 1) if match else 0
    if match is None or not step:
        raise FramesError(
            f"{printable(text)}: {printable(part) or 'an empty text'} is not a range of frames; "
            "write 1001-1240, or 1001-1100, 1110 (negative frame numbers are not supported)"
        )
    first = int(match[1])
    last = int(match[2] or first)
    if last < first:
        raise FramesError(
            f"{printable(text)}: {printable(part)} runs backwards; did you mean {last}-{first}?"
        )
    if last - first >= MAX_SPAN:
        raise too_many(text)
    return range(first, last + 1, step)


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


def too_many(text: str) -> FramesError:
    """Return the error for a sequence with more than MAX_FRAMES frames."""
    return FramesError(
        f"{printable(text)} has more than {MAX_FRAMES} frames; is there a digit too many in it?"
    )


def compact(numbers: Iterable[int]) -> list[str]:
    """Return ascending numbers as ranges: ["1001-1100", "1110"]."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return [frame_range(first, last) for first, last in ranges]


def frame_range(first: int, last: int) -> str:
    """Return the frames from first to last, as a user writes them."""
    return str(first) if first == last else f"{first}-{last}"
