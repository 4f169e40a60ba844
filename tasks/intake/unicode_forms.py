"""Patterns of sequences in another Unicode form than the names on disk."""

from __future__ import annotations

import os
import unicodedata

from tasks.intake.errors import FramesError
from tasks.intake.notation import parse
from tasks.transfer.unicode_forms import in_other_form
from tasks.transfer.windows import on_disk


def as_on_disk(path: str) -> str:
    """Return a path with the names that the disk has, if only their Unicode form differs.

    The last name may be the pattern of a sequence. A path that is not there stays as it is.
    """
    if os.path.lexists(on_disk(path)):
        return path
    return in_other_form(path, _pattern) or path


def _pattern(names: list[str], name: str) -> str:
    """Return the form of a pattern that names in the folder match, or an empty text."""
    for text in (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)):
        try:
            written = parse(text)
        except FramesError:
            return ""
        if written and any(
            other.startswith(written.head) and other.endswith(written.tail) for other in names
        ):
            return text
    return ""
