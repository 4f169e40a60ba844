"""The marks for the frame number in a name: %04d, ####, $F4, <F4> and what other programs write."""

from __future__ import annotations

from tasks.intake.errors import FramesError, printable
from tasks.intake.ranges import MAX_DIGITS
from tasks.transfer.named_tuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from re import Match

#: One of these is in every mark, and in every token that is refused.
MARKING = frozenset("%#@$<{[?*")

# A name such as "100%done", "logo@2x" or "what?.mov" has no mark. re is imported where a pattern is
# used: most files are no sequences, and it takes a hook half as long to import it as to start
# Python.
PRINTF = r"%(?:0([0-9]{1,4})[di]|([0-9]{0,4})[di](?![^\W_]))"
HOUDINI = r"\$(?:F([0-9]{0,4})|\{F([0-9]{0,4})\})(?![^\W_#@])"
#: After Effects writes f_[####].exr for f_0001.exr.
RUN = r"(\[#+\]|(?:#+|@+)(?![^\W_#@])|\?{2,}|(?<=[._-])\?(?=[._-]))"
_LONG = "(?i:frame(?:_?num(?:ber)?)?|udim)"
_SHORT = f"{_LONG}|[fF]"
_COUNT = r"[:_]?(?:0?[<>=])?0?([0-9]{0,4})d?"
#: <F4>, <UDIM>, {frame:04d}, {frame:0>4}, $(frame:4), [FRAME:4], %frame4%, and Python's {:04d} and
#: %(frame)04d
WORDS = (
    rf"<({_SHORT}){_COUNT}>",
    rf"\$?\{{@?({_SHORT}){_COUNT}\}}",
    rf"\$\(({_SHORT}){_COUNT}\)",
    rf"\[({_LONG}){_COUNT}\]",
    rf"%({_LONG}){_COUNT}%",
    r"\{(0?:)0?([0-9]{1,4})d\}",
    rf"%\(({_LONG})\)0?([0-9]{{0,4}})[di]",
)
MARK = "|".join((PRINTF, HOUDINI, RUN, *WORDS))
#: The group of each word in a match; the next one is its number of digits.
WORD_GROUPS = range(6, 6 + 2 * len(WORDS), 2)

#: What stands for something else, or for a number that cannot be known; and why it is refused.
REFUSED = {
    r"\$S?FF?[0-9]*(?![^\W_])": (
        "{token} is not the number of a frame (a fraction, or the frame of a simulation); "
        "write $F4, and render whole frames"
    ),
    r"%[vV](?![^\W_])": "{token} stands for the names of eyes; enqueue each eye with its own path",
    r"(?<=[._-])[\[{]-?[0-9]+(?:-|\.\.|,)[-0-9.,x]*[\]}](?=[._-])": (
        "{token} is no place for frames; write %04d there, and the frames after the name: "
        "f.%04d.exr [1001-1240]"
    ),
    r"%%0?[0-9]*[di](?![^\W_])": "{token} has a % too many, as only batch files need; write %04d",
    r"\$\{?(?:HIP|HIPNAME|HIPFILE|JOB|OS|WEDGE)\}?(?![^\W_])|`[^`]*`": (
        "{token} is a variable or an expression of Houdini's; write the name as it is on disk"
    ),
    r"\*": "{token} is a wildcard; write %04d for a frame number of four digits",
    # Also of Cinema 4D, After Effects and Nuke.
    r"<[^<>/]+>|\{@?(?i:frame)[^/]*\}|\$(?i:frame)(?![^\W_])"
    r"|\$(?:prj|camera|take|pass|userpass)(?![^\W_])"
    r"|\[(?:compName|projectName|outputModuleName|fileExtension)\]"
    r"|\[(?:value|getenv|python|expression|lindex|regsub) [^\]]*\]"
    # Of templates, as OpenJD's and Jinja's; of Python; printf's other forms; a task of Slurm's.
    r"|\{\{[^/]*?\}\}|%\([A-Za-z_]\w*\)[a-z]|%[0-9]*\.[0-9]+[di](?![^\W_])"
    r"|%0[0-9]{1,2}(?:[DXux]|ll?[diu])(?![^\W_])|(?<=[._-])%[0-9]{0,2}a(?=[._-])": (
        "{token} is a token that only the program knows which wrote it; write %04d for a frame "
        "number of four digits, or the name as it is on disk"
    ),
}


class Mark(NamedTuple):
    """A mark in a name: where it is, and the digits of the numbers it stands for.

    ``digits`` is 0 for numbers that are not padded, and None if the mark does not say.
    """

    start: int
    end: int
    text: str
    digits: int | None


def may_have_mark(text: str) -> bool:
    """Return whether the name at the end of a path may have a mark, and needs to be parsed."""
    return not MARKING.isdisjoint(text.rpartition("/")[2])


def is_udim(text: str) -> bool:
    """Return whether the mark of a valid pattern stands for the tiles of a texture."""
    mark = find_mark(text.rpartition("/")[2], text)
    return mark is not None and "udim" in mark.text.lower()


def find_mark(name: str, text: str) -> Mark | None:
    """Return the mark in the name of a file; None if it has none.

    Args:
        name: the name, without its folder and its ranges.
        text: what the user wrote, for the error.

    Raises:
        FramesError: there are two, or one that cannot be read.
    """
    import re

    found = [_mark(match) for match in re.finditer(MARK, name)]
    for pattern, why in REFUSED.items():
        for token in re.finditer(pattern, name):
            if not any(mark.start <= token.start() < mark.end for mark in found):
                raise FramesError(f"{printable(text)}: {why.replace('{token}', token[0])}")
    # In "take #_%04d.exr", one is a mark, and the other a letter.
    marks = [mark for mark in found if not _may_be_letter(mark, name)] or found
    if len(marks) > 1:
        raise FramesError(
            f"{printable(text)} has {len(marks)} places for the frame number "
            f"({', '.join(mark.text for mark in marks)}); write one"
        )
    if not marks:
        return None
    mark = marks[0]
    if mark.digits is None:
        raise FramesError(
            f"{printable(text)}: {mark.text} does not say how many digits the frame numbers have; "
            f"if they have four, write {printable(f'{name[: mark.start]}%04d{name[mark.end :]}')}"
        )
    if mark.digits > MAX_DIGITS:
        raise FramesError(
            f"{printable(text)} asks for frame numbers of {mark.digits} digits; "
            f"the maximum is {MAX_DIGITS}"
        )
    return mark


def _mark(match: Match[str]) -> Mark:
    return Mark(match.start(), match.end(), match[0], _digits(match))


def _digits(match: Match[str]) -> int | None:
    if match[5]:
        # A single # is four digits, as in fileseq; if there are several, each is one digit, as in
        # Nuke.
        return 4 if match[5] == "#" else len(match[5].strip("[]"))
    for group in WORD_GROUPS:
        if word := match[group]:
            if word.lower() == "udim":
                return 4
            # <F> and %(frame)d are numbers without padding; <frame> may be any.
            known = match[group + 1] or group == WORD_GROUPS[-1] or len(word) == 1
            return int(match[group + 1] or 0) if known else None
    return int(match[1] or match[2] or match[3] or match[4] or 0)


def _may_be_letter(mark: Mark, name: str) -> bool:
    """Return whether a mark is a single letter that does not stand alone between separators."""
    around = (name[mark.start - 1 : mark.start] or ".") + (name[mark.end : mark.end + 1] or ".")
    return mark.text in {"#", "@"} and not set(around) <= set("._-")
