"""Errors about what a user wrote, and how their texts repeat it."""

from __future__ import annotations

from tasks.config.texts import visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: How many characters of a user's text a message repeats.
MAX_QUOTED = 100
MAX_PRINTED = 300


class BadInputError(Exception):
    """Farmhaul cannot do what the user asked for; the text is one line that explains why.

    A usage error of the command line has a second line, which names the help.
    """


class FramesError(ValueError):
    """A sequence cannot be sent as it was written; the text is one line for the user."""


def quoted(text: str) -> str:
    """Return the text in quotes, on one line: for ids, names and other values.

    Unprintable characters are escaped, and a text above MAX_QUOTED characters is cut.
    """
    return repr(text) if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]!r}…"


def printable(text: str) -> str:
    """Return the text without quotes, on one line: for paths, so that they can be copied.

    Names on disk may hold any characters: a text with unprintable ones is escaped. A text above
    MAX_PRINTED characters loses its middle, because paths differ at their end.
    """
    if len(text) > MAX_PRINTED:
        text = f"{text[: MAX_PRINTED // 2]}…{text[-MAX_PRINTED // 2 :]}"
    return visible(text)


def listed(names: Sequence[str]) -> str:
    """Return the names as a list in a sentence: "a, b and c"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
