"""What a job of a render manager says: its outputs, their frames and the ids of ftrack."""

from __future__ import annotations

import json
import re

from tasks.intake.frames import sequence_of
from tasks.intake.notation import MAX_DIGITS, OTHER_MARKS, PRINTF

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

#: Keys of a manifest that a job may have, each with the prefix ftrack_.
TEXTS = (
    "component_id",
    "version_id",
    "task_id",
    "name",
    "publish",
    "frame_range",
    "fps",
    "resolution",
    "priority",
)
FLAGS = ("thumbnail", "encode", "reviewable")
YES = ("1", "true", "yes", "on")
NO = ("0", "false", "no", "off", "")


def flag(text: object, name: str = "flag") -> bool:
    """Return what a job means by 1, true, yes, on, or 0, false, no, off and an empty text.

    Raises:
        ValueError: it is another word; the text is one line for the log.
    """
    word = str(text if text is not None else "").strip().lower()
    if word not in YES + NO:
        raise ValueError(f"{name} is {word!r}, which is neither yes nor no; write 1 or 0")
    return word in YES


def upload(path: str, lookup: Callable[[str], Any], number: int | str = "") -> dict[str, Any]:
    """Return the manifest line for an output of a job; empty if the job names no ftrack id.

    *lookup* returns the job's value of a key, or nothing. *number* is the number of the output if
    a job has several: ftrack_version_id1 then wins over ftrack_version_id.
    """

    def value(key: str) -> str:
        for name in (f"ftrack_{key}{number}", f"ftrack_{key}"):
            text = lookup(name)
            if text is not None and str(text).strip():
                return str(text).strip()
        return ""

    found: dict[str, Any] = {key: value(key) for key in TEXTS if value(key)}
    if not {"component_id", "version_id"} & set(found):
        return {}
    for key in FLAGS:
        try:
            if flag(value(key)):
                found[key] = True
        except ValueError:
            found[key] = value(key)  # enqueue refuses it, keeps it and says why
    if value("metadata"):
        try:
            found["metadata"] = json.loads(value("metadata"))
        except (ValueError, RecursionError):
            found["metadata"] = value("metadata")  # as above
    found["path"] = path
    return found


def sequence(path: str, frames: Iterable[int]) -> str:
    """Return a sequence as farmhaul reads it: f.%04d.exr [1001-1240] for f.####.exr.

    Each # or ? stands for a digit; %04d, $F4 and @@@@ are marks too. A path without a mark is one
    file, and so is a path with a single frame.
    """
    numbers = sorted(set(frames))
    mark = _mark(path)
    if mark is None or not numbers:
        return path
    start, end, digits = mark
    if len(numbers) == 1:
        return f"{path[:start]}{numbers[0]:0{digits}d}{path[end:]}"
    return f"{path[:start]}%0{digits}d{path[end:]} [{ranges(numbers)}]"


def files(folder: str, names: str | Sequence[str]) -> str:
    """Return the path of a file, or several files that are numbered by frame as a sequence.

    Raises:
        ValueError: they are not one sequence; the text is one line for the log.
    """
    several = [names] if isinstance(names, str) else list(names)
    if len(several) == 1:
        return _joined(folder, several[0])
    found = sequence_of(folder, several)
    if len(found.numbers) != len(several):
        raise ValueError(f"{folder}: {len(several)} files are not one sequence of frames")
    return str(found)


def outputs(folders: Sequence[str], names: Sequence[str]) -> tuple[dict[int, str], list[str]]:
    """Return the paths of a job's outputs by number, and what is missing, as a text for the log.

    A manager has the folders and the names of outputs as two lists, which need not be of one
    length.
    """
    paths: dict[int, str] = {}
    missing = []
    for number in range(max(len(folders), len(names))):
        folder, name = _at(folders, number), _at(names, number)
        if folder and name:
            paths[number] = _joined(folder, name)
        elif folder or name:
            has, lacks = ("a folder", "file name") if folder else ("a file name", "folder")
            missing.append(f"output {number} has {has} and no {lacks}: {folder or name}")
    if not paths and not missing:
        missing.append("the job has no output: set the folder and the file name of output 0")
    return paths, missing


def _at(texts: Sequence[str], number: int) -> str:
    return str(texts[number] or "").strip() if number < len(texts) else ""


def _joined(folder: str, name: str) -> str:
    # The separators of the system where the job was submitted, which need not be this one.
    return f"{folder.rstrip('/' + chr(92))}/{name}" if folder else name


def ranges(numbers: Iterable[int]) -> str:
    """Return ascending numbers as ranges: 1001-1100, 1110."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{first}-{last}" if first != last else f"{first}" for first, last in found)


def _mark(path: str) -> tuple[int, int, int] | None:
    """Return where the frame number is in the name of a file, and its digits."""
    start = max(path.rfind("/"), path.rfind("\\")) + 1
    name = path[start:]
    # Deadline's marks stand anywhere in a name, also where farmhaul alone would not take them.
    marks = [*re.finditer(PRINTF, name)]
    marks = marks or [*re.finditer(OTHER_MARKS, name), *re.finditer("[#?]+", name)]
    if not marks:
        return None
    mark = max(marks, key=lambda found: found.end())
    text = mark[0]
    digits = len(text) if text[0] in "#@?" else int(text.strip("%d$F") or 1)
    return start + mark.start(), start + mark.end(), min(digits, MAX_DIGITS)
