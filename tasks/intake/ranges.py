"""Ranges of frames, as people and render managers write them: 1001-1100, 1110-1200x2."""

from __future__ import annotations

from tasks.intake.errors import FramesError, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: A sequence with more frames is a typing error: 100,000 frames are more than an hour of film.
MAX_FRAMES = 100_000
#: A range that is wider than this is a typing error too, even when its step leaves few frames.
MAX_SPAN = 10_000_000
#: A time stamp to the second, used as a frame number, has 14 digits.
MAX_DIGITS = 18
#: The most ranges that a message names.
MAX_SHOWN = 10

NUMBER = rf"[0-9]{{1,{MAX_DIGITS}}}"
#: 1001, 1001-1240, 1240-1001, 1-10x2, 10-1x-2; 1-10y3 is what 1-10x3 leaves out.
RANGE = rf"({NUMBER})(?:\s*-\s*({NUMBER})(?:\s*([xy:])\s*(-?)({NUMBER}))?)?"


def numbers_of(ranges: str, text: str) -> tuple[int, ...]:
    """Return the frames of ranges that are separated by commas: ascending, each of them once.

    Args:
        ranges: the ranges, such as 1001-1240x2, 1300.
        text: what the user wrote, for the error.

    Raises:
        FramesError: they are not ranges, or not ranges that everybody reads in the same way.
    """
    numbers: set[int] = set()
    total = 0
    for part in ranges.split(","):
        frames = _range(part.strip(), text)
        total += len(frames)
        if total > MAX_FRAMES:
            raise too_many(text)
        numbers.update(frames)
    if not numbers:
        raise FramesError(f"{printable(text)} has no frames; y1 leaves out each of them")
    return tuple(sorted(numbers))


def _range(part: str, text: str) -> Sequence[int]:
    import re

    match = re.fullmatch(RANGE, part)
    step = int(match[5] or 1) if match else 0
    if match is None or not step:
        raise FramesError(
            f"{printable(text)}: {printable(part) or 'an empty text'} is not a range of frames; "
            "write 1001-1240, or 1001-1100, 1110, or 1001-1240x2 for every second frame "
            "(negative frame numbers are not supported)"
        )
    first = int(match[1])
    last = int(match[2] or first)
    kind, minus = match[3], match[4]
    if kind == ":":
        raise FramesError(
            f"{printable(text)}: {part} means all of these frames to some programs, and one of "
            f"{step} to others; write {first}-{last}, or {first}-{last}x{step}"
        )
    if minus and first < last:
        raise FramesError(
            f"{printable(text)}: {part} runs forwards, and its step backwards; "
            f"write {first}-{last}{kind}{step}"
        )
    if abs(last - first) >= (MAX_FRAMES if kind == "y" else MAX_SPAN):
        raise too_many(text)
    # Managers render backwards to see the end first. It is the same sequence.
    frames = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
    if kind != "y":
        return frames
    return [
        number for number in range(min(first, last), max(first, last) + 1) if number not in frames
    ]


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


def shortest(numbers: Iterable[int]) -> str:
    """Return ascending numbers as ranges, with steps: 1001-1100, 1110-1200x2.

    A path has room for few of the single frames of a long sequence.
    """
    runs: list[list[int]] = []
    for number in numbers:
        run = runs[-1] if runs else []
        if len(run) == 1 or (run and number - run[-1] == run[1] - run[0]):
            run.append(number)
        elif len(run) == 2 and run[1] - run[0] > 1:  # noqa: PLR2004 no step yet
            runs.append([run.pop(), number])
        else:
            runs.append([number])
    return ", ".join(map(_run, runs))


def _run(run: list[int]) -> str:
    step = run[1] - run[0] if run[1:] else 1
    if step == 1:
        return frame_range(run[0], run[-1])
    return f"{run[0]}-{run[-1]}x{step}" if run[2:] else f"{run[0]}, {run[1]}"


def holes(numbers: Sequence[int]) -> list[str]:
    """Return what ascending numbers leave out between the first and the last, as ranges."""
    # Computed from the ends of a hole: a stray f.99999999.exr makes it too large to count.
    return [
        frame_range(number + 1, following - 1)
        for number, following in zip(numbers, numbers[1:])
        if following - number > 1
    ]


def some_of(texts: Sequence[str], most: int = MAX_SHOWN, between: str = ", ") -> str:
    """Return the first of some ranges or names, and how many more there are."""
    rest = len(texts) - most
    return f"{between.join(texts[:most])}{f' and {rest} more' if rest > 0 else ''}"


def frame_range(first: int, last: int) -> str:
    """Return the frames from first to last, as a user writes them."""
    return str(first) if first == last else f"{first}-{last}"
