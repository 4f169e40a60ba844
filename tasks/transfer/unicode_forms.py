"""Names in another Unicode form than the one on disk: é is one character, or e and an accent.

macOS and some programs write names decomposed (NFD), most others composed (NFC). To Linux and
Windows, these are two names.
"""

from __future__ import annotations

import os
import unicodedata

from tasks.transfer.windows import on_disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def in_other_form(
    path: str, last: Callable[[list[str], str], str] = lambda _names, _name: ""
) -> str:
    """Return a path with the names that the disk has, or an empty text if it is not there at all.

    Args:
        path: its folders are separated by slashes.
        last: finds the last name among the names in its folder, if it is not one of them in any
            form; returns an empty text if it finds none.
    """
    found, *names = path.split("/")
    for number, name in enumerate(names, start=1):
        here = f"{found}/{name}"
        if name and not os.path.lexists(on_disk(here)):
            there = _listed(f"{found}/")
            other = _same(there, name) or (last(there, name) if number == len(names) else "")
            if not other:
                return ""
            here = f"{found}/{other}"
        found = here
    return found


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(on_disk(folder))
    except OSError:
        return []


def _same(names: list[str], name: str) -> str:
    """Return the only one of these names that is the same in another form, or nothing."""
    wanted = unicodedata.normalize("NFC", name)
    found = [other for other in names if unicodedata.normalize("NFC", other) == wanted]
    return found[0] if len(found) == 1 else ""
