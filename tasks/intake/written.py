r"""Paths as people and programs write them: what they mean, or what to write instead.

A path of Windows may be anywhere in the long form or with slashes. What only a shell or cmd would
have replaced, and what Windows itself would change, would lead to another file or to none.
"""

from __future__ import annotations

import os

from tasks.intake.errors import BadInputError, printable
from tasks.intake.marks import MARKING
from tasks.transfer.allowed import is_below
from tasks.transfer.windows import LONG, has_drive, is_posix_path, is_windows_path, ordinary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasks.intake.manifest import Entry

QUOTES = "\"'"
SLASHES = "/\\"

#: Nuke's marks for the name of an eye, and what may stand there.
EYES = {"%V": "left", "%v": "l"}
_WORDS = str.maketrans("._-", "///")


def as_meant(entry: Entry, roots: Sequence[str], *, look: bool) -> str:
    """Return an entry's path in its ordinary form.

    Args:
        entry: its path is as somebody wrote it.
        roots: the storage roots, which tell a share from a path with a slash too many.
        look: whether this host looks at the disk: there, a file may have any name.

    Raises:
        BadInputError: the path is not one that this host or a worker can open; the text says what
            to write.
    """
    path = _one_slash(_plain(entry.path), roots, look=look)
    why = _fault(path)
    folder = path.replace("\\", "/").rpartition("/")[0]
    is_marked = "%" in path or "$" in path or not MARKING.isdisjoint(folder)
    if why or path.startswith("~/") or is_marked:
        # What exists is what it says; one look at a path that is odd costs nothing.
        if look and not is_windows_path(path) and os.path.lexists(path):
            return path
        why = why or _unexpanded(path) or _mark_in_folder(path, folder, look=look)
    if why:
        raise BadInputError(f"{entry.where}{printable(entry.path)} {why}")
    return path


def _plain(path: str) -> str:
    r"""Return the ordinary form of what begins with //?/ or \\?\, with its drive in capitals.

    A record names a drive in one way, because the upload's id is made from the path.
    """
    if path[:4].replace("/", "\\") == LONG:
        path = ordinary(path.replace("/", "\\"))
    if has_drive(path) and path[2:3] in set(SLASHES):
        return path[0].upper() + path[1:]
    return path


def _one_slash(path: str, roots: Sequence[str], *, look: bool) -> str:
    """Return what two slashes at the start mean where they are no share of this system's own."""
    if os.sep != "/" or path[:2] != "//" or path[2:3] in {"", "/", ".", "?"}:
        return path
    local = path[1:]
    if is_below(os.path.normpath(local), roots) or (look and os.path.lexists(local)):
        return local
    return f"\\\\{path[2:]}"


def _fault(path: str) -> str:  # noqa: PLR0911 one for each thing that may be wrong
    """Return what is wrong with the form of a path, and what to write; empty if nothing is."""
    inner = path.strip(QUOTES)
    is_quoted = path[0] in QUOTES and path[-1] == path[0]
    if inner != path and (is_windows_path(inner) or (is_quoted and is_posix_path(inner))):
        return f"has quotation marks in it; write {printable(inner)}"
    if is_windows_path(path) and '"' in path:
        return f"has a quotation mark in it; write {printable(path.replace(chr(34), ''))}"
    scheme, is_url, _ = path.partition("://")
    if path[:5].lower() == "file:" or (is_url and len(scheme) > 1 and scheme.isalnum()):
        return "is a URL; write the path of the file"
    device = path[:4].replace("/", "\\")
    if device == LONG or (device == "\\\\.\\" and not path.startswith("//./")):
        rest = path[4:]
        good = printable(rest) if is_windows_path(rest) else "the drive or the share, such as P:\\"
        return f"is a path of a device; write {good}"
    if has_drive(path) and len(path) > len("P:") and path[2] not in SLASHES:
        good = f"{path[:2]}\\{path[2:]}"
        return f"depends on the current folder of drive {path[:2]}; write {printable(good)}"
    if is_windows_path(path):
        return _stripped(path)
    return ""


def _stripped(path: str) -> str:
    names = path.replace("\\", "/").split("/")
    bad = [name for name in names if name.rstrip(". ") != name and name not in {".", ".."}]
    if not bad:
        return ""
    good = "\\".join(name.rstrip(". ") if name in bad else name for name in names)
    return (
        f"has a name with a dot or a space at its end, which Windows drops; write {printable(good)}"
    )


def _unexpanded(path: str) -> str:
    if path.startswith("~/"):
        return "begins with ~, which only a shell replaces; write the whole path"
    for name in path.replace("\\", "/").split("/"):
        variable = _variable(name)
        if variable:
            return (
                f"has the variable {printable(variable)} in it, which nobody has replaced; write "
                "its value"
            )
    return ""


def _mark_in_folder(path: str, folder: str, *, look: bool) -> str:
    """Return what is wrong if a folder is a mark or a token, and none on disk has that name."""
    words = folder.translate(_WORDS).split("/")
    eye = next((mark for mark in EYES if mark in words), "")
    # A single # or @ is a letter.
    marks = (word for word in words if len(word) > 1 and _is_mark(word))
    mark = eye or _token(folder) or next(marks, "")
    if not mark or (look and os.path.isdir(folder)):
        return ""
    why = f"has {printable(mark)} in a folder, and farmhaul reads marks only in the name of a file"
    if not eye:
        return f"{why}; enqueue each folder with its own path"
    good = path.replace(eye, EYES[eye])
    return f"{why}; enqueue each eye with its own path, such as {printable(good)}"


def _token(folder: str) -> str:
    """Return what stands in a folder for something else, such as <RenderLayer>; empty if none."""
    for name in folder.split("/"):
        token, end, _ = name.partition("<")[2].partition(">")
        if token and end:
            return f"<{token}>"
    return ""


def _variable(name: str) -> str:
    """Return the variable of cmd, PowerShell or a shell in a name, as it stands there."""
    for text in name.split("%")[1:-1]:
        # %d_ in b_%d_%d.exr is the mark of a frame, and %V is an eye.
        if len(text) > 1 and text.isidentifier() and text[:2] != "d_" and not _is_mark(f"%{text}%"):
            return f"%{text}%"
    for text in name.split("${")[1:]:
        variable = f"${{{text.partition('}')[0]}}}"
        if "}" in text and not _is_mark(variable):
            return variable
    if name[:5].lower() == "$env:":
        return name
    if name[:1] != "$":
        return ""
    end = 1
    while end < len(name) and (name[end].isalnum() or name[end] == "_"):
        end += 1
    word = name[1:end]
    is_frame = word[:1] == "F" and (word == "F" or word[1:].isdigit())
    return "" if is_frame or not word.isidentifier() else f"${word}"


def _is_mark(text: str) -> bool:
    """Return whether a text is a mark for the frame number, such as ${F4} or %frame4%."""
    if MARKING.isdisjoint(text):
        return False
    import re

    from tasks.intake.marks import MARK

    return re.fullmatch(MARK, text) is not None
