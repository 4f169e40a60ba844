"""What a job of a render manager says: its outputs, their frames and the ids of ftrack."""

from __future__ import annotations

import json

from tasks.intake.errors import FramesError
from tasks.intake.marks import is_udim
from tasks.intake.notation import Frames, parse
from tasks.intake.numbered import sequence_of
from tasks.intake.ranges import MAX_DIGITS, MAX_FRAMES, shortest
from tasks.transfer.windows import is_absolute, is_windows_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    #: Returns a job's value of a key, or nothing.
    Lookup = Callable[[str], Any]

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
    "also_in",
    "only_in",
    "priority",
)
IDS = ("component_id", "version_id")
#: Keys of a version that need not exist. A studio may have such keys for something else, so they
#: count together, and only without an id.
OF_CONTEXT = (
    *("context", "asset", "asset_type", "version_key", "version_number"),
    *("task", "comment", "status"),
)
FLAGS = ("thumbnail", "encode", "encode_only", "reviewable", "replace", "prune")
#: Keys whose values a job has as JSON.
IN_JSON = ("metadata", "version_metadata", "attributes", "lists", "review_sessions")
YES = ("1", "true", "yes", "on")
NO = ("0", "false", "no", "off", "")
#: A manager is asked for values of at least so many outputs, because it does not list them.
NUMBERED = 10


def flag(text: object, name: str = "flag") -> bool:
    """Return what a job means by 1, true, yes, on, or 0, false, no, off and an empty text.

    Raises:
        ValueError: it is another word; the text is one line for the log.
    """
    word = str(text if text is not None else "").strip().lower()
    if word not in YES + NO:
        raise ValueError(f"{name} is {word!r}, which is neither yes nor no; write 1 or 0")
    return word in YES


def upload(path: str, lookup: Lookup, number: int | str = "") -> dict[str, Any]:
    """Return the manifest line for an output of a job; empty if the job names no target in ftrack.

    *lookup* returns the job's value of a key, or nothing. *number* is the number of the output if
    a job has several: ftrack_version_id1 then wins over ftrack_version_id.
    """

    def value(key: str) -> str:
        return _value(lookup, f"ftrack_{key}{number}") or _value(lookup, f"ftrack_{key}")

    found: dict[str, Any] = {key: value(key) for key in TEXTS if value(key)}
    if not set(IDS) & set(found):
        made = {key: value(key) for key in OF_CONTEXT if value(key)}
        if not {"context", "asset"} <= set(made):
            return {}
        found.update(made)
    for key in FLAGS:
        try:
            if flag(value(key)):
                found[key] = True
        except ValueError:
            found[key] = value(key)  # enqueue refuses it, keeps it and says why
    for key in IN_JSON:
        try:
            if value(key):
                found[key] = json.loads(value(key))
        except (ValueError, RecursionError):
            found[key] = value(key)  # as above
    found["path"] = path
    return found


def job_uploads(
    folders: Sequence[str] | None,
    names: Sequence[str] | None,
    frames: Iterable[int] | None,
    lookup: Lookup,
    *,
    here: Callable[[str], str] = str,
    each_frame: bool = False,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the manifest lines for the outputs of a job, and what of it cannot be queued.

    The second list has texts for the log. Both are empty if the job has no value for ftrack. A
    fault of one output does not affect the others.

    Args:
        folders: the folders of the outputs; those and the names need not be of one length.
        names: their file names, with a mark for the frame number.
        frames: the frames of the job, or of a task of it.
        lookup: returns the job's value of a key, or nothing.
        here: returns this host's path for one of the host that submitted the job.
        each_frame: make a line for each frame, not for all of them.
    """
    lines: list[dict[str, Any]] = []
    faults: list[str] = []
    found = list(outputs(folders or (), names or ()))
    numbers = [frame for _, frame in zip(range(MAX_FRAMES + 1), frames or ())]
    if len(numbers) > MAX_FRAMES:
        meant = any(upload("", lookup, number) for number, _, _ in found)
        return [], [f"the job has more than {MAX_FRAMES} frames: submit it in parts"] * meant
    for number, path, fault in found:
        try:
            if fault:
                # It is no fault if the output is not meant for ftrack.
                faults += [fault] if upload("", lookup, number) else []
                continue
            place = here(path)
            line = upload(place, lookup, number)
            parts = [[frame] for frame in numbers] if each_frame and numbers else [numbers]
            lines += [{**line, "path": sequence(place, part)} for part in parts if line]
        except FramesError as error:
            faults.append(f"output {number}: {error}")
        except Exception as error:  # noqa: BLE001 an error of the manager's
            faults.append(f"output {number} ({path}): {type(error).__name__}: {error}")
    return lines, [*faults, *_unused(lookup, [number for number, _, _ in found], lines)]


def _unused(lookup: Lookup, numbers: Sequence[int], lines: Sequence[object]) -> list[str]:
    """Return texts for the log about values for ftrack that have no effect."""
    faults = []
    general = _first_given(lookup, "")
    if general and not numbers:
        faults.append("the job has no output: set the folder and the file name of output 0")
    elif general and not (lines or upload("", lookup)):
        faults.append(f"the job has {general}, and no ftrack_version_id: set the id")
    for number in sorted({*range(NUMBERED), *numbers}):
        given = _first_given(lookup, number)
        if given and number not in numbers:
            faults.append(f"the job has {given}, and no output {number}")
        elif given and not upload("", lookup, number):
            faults.append(f"the job has {given}, and no ftrack_version_id{number}: set the id")
    return faults


def _first_given(lookup: Lookup, number: int | str) -> str:
    """Return the name of a value that a job has for an output; empty if it has none."""
    names = (f"ftrack_{key}{number}" for key in (*TEXTS, *FLAGS, *IN_JSON))
    return next((name for name in names if _value(lookup, name)), "")


def _value(lookup: Lookup, name: str) -> str:
    text = lookup(name)
    return "" if text is None else str(text).strip()


def sequence(path: str, frames: Iterable[int]) -> str:
    """Return a sequence as farmhaul reads it: f.%04d.exr [1001-1240] for f.####.exr.

    The mark may be any that farmhaul reads, and Deadline's, whose # and ? stand anywhere in a name.
    A path without a mark is one file, and so is a path with a single frame. If the mark cannot be
    read, the frames are still added: enqueue then refuses the path, and says why. It also refuses
    <UDIM>, whose tiles a job does not name.
    """
    numbers = sorted(set(frames))
    # The separators of the system where the job was submitted, which need not be this one.
    start = max(path.rfind("/"), path.rfind("\\")) + 1
    folder, name = path[:start], path[start:]
    try:
        found = _deadline(name, parse(name))
    except FramesError:
        return f"{path} [{shortest(numbers)}]"
    if found is None or not numbers or is_udim(name):
        return path  # the frames of a job are not the tiles of a texture
    if found.numbers:
        return f"{path} [{shortest(numbers)}]"
    # Programs pad -5 in different ways, and ftrack has no such frames.
    if len(numbers) == 1 and numbers[0] >= 0:
        return folder + found.path(numbers[0])
    return f"{folder}{found.head}%0{found.padding or 1}d{found.tail} [{shortest(numbers)}]"


def _deadline(name: str, found: Frames | None) -> Frames | None:
    """Return a name as Deadline reads it: each # or ? of the last ones in it is a digit."""
    end = max(name.rfind("#"), name.rfind("?")) + 1
    head = name[:end].rstrip(name[end - 1 : end] or None)
    if not end or (found is not None and found.head != head):
        return found  # it has no such mark, or also another one
    return Frames(head, name[end:], min(end - len(head), MAX_DIGITS), ())


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


def outputs(folders: Sequence[str], names: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """Yield the number of each output of a job, its path, and else what it lacks, for the log.

    A manager has the folders and the names of outputs as two lists. A name may have its folder in
    itself.
    """
    for number in range(max(len(folders), len(names))):
        folder, name = _at(folders, number), _at(names, number)
        if name and (folder or is_absolute(name) or is_windows_path(name)):
            yield number, _joined(folder, name), ""
        elif folder or name:
            has, lacks = ("a folder", "file name") if folder else ("a file name", "folder")
            path = folder or name
            yield number, path, f"output {number} has {has} and no {lacks}: {path}"


def _at(texts: Sequence[str], number: int) -> str:
    # A name may begin and end with spaces, but is not made of them.
    text = str(texts[number] or "").strip("\t\r\n") if number < len(texts) else ""
    # A space before an absolute path is none of the name.
    start = text.lstrip()
    if is_absolute(start) or is_windows_path(start):
        return start
    return text if start else ""


def _joined(folder: str, name: str) -> str:
    if not folder or is_absolute(name) or is_windows_path(name):
        return name
    # The separators of the system where the job was submitted, which need not be this one.
    return f"{folder.rstrip('/' + chr(92))}/{name}"
