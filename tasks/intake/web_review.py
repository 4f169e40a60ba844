"""The metadata that ftrack needs to play a reviewable file as it is, without encoding it.

Component names and the keys of ``ftr_meta``: "Publishing for web review" in the documentation of
ftrack's Python client (doc/example/web_review.rst). There, and in pipelines that publish to
ftrack, the frames of a movie count from 0, whatever their numbers were when they were rendered, and
``frameOut`` is the number of frames. Width and height are those of the picture as it is shown: with
square pixels, and rotated as the file says.
"""

from __future__ import annotations

import json
import os
import re

from tasks.intake.errors import BadInputError, listed, printable, quoted
from tasks.transfer.named_tuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from tasks.intake.manifest import Entry

#: The names that ftrack's player knows, by extension: first that of the lowest resolution.
MP4 = tuple(f"ftrackreview-mp4{height}" for height in ("", "-1080", "-1440", "-2160"))
WEBM = ("ftrackreview-webm",)
IMAGE = ("ftrackreview-image", "ftrackreview-image-high")
PDF = ("ftrackreview-pdf",)
NAMES = {".mp4": MP4, ".webm": WEBM, ".jpg": IMAGE, ".jpeg": IMAGE, ".png": IMAGE, ".pdf": PDF}
RESERVED = {*MP4, *WEBM, *IMAGE, *PDF}
#: A movie with one of these sizes, in either direction, has at least the resolution of the name.
SIZES = ((3840, 2160, MP4[3]), (2560, 1440, MP4[2]), (1920, 1080, MP4[1]))

#: The key of what ftrack's player reads.
META = "ftr_meta"

#: A hook must return within 2 seconds.
PROBE_TIMEOUT_S = 1.5

FRAME_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")
FPS = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(?:/([0-9]{1,9}))?")
RESOLUTION = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
PIXEL = re.compile(r"([0-9]{1,9}):([0-9]{1,9})")
#: What ffprobe is asked for.
PROBED = (
    "stream=width,height,sample_aspect_ratio,avg_frame_rate,r_frame_rate,nb_frames,duration"
    ":stream_tags=rotate:stream_side_data=rotation:format=duration"
)
#: Frames per second. A higher value is a time base that was mistaken for a rate.
MAX_FPS = 1000.0
#: As many as a resolution that somebody gives may have.
MAX_PIXELS = 99_999

_MOVIE_KEYS = ("frameIn", "frameOut", "frameRate", "width", "height")
#: The key of an entry that sets a key of ``ftr_meta``, with an example.
_REMEDIES = {
    "frameIn": ("frame_range", "1001-1240"),
    "frameRate": ("fps", "24"),
    "width": ("resolution", "1920x1080"),
}


class Probe(NamedTuple):
    """The first video stream as ffprobe describes it; empty, with a reason, if ffprobe fails."""

    stream: dict[str, Any]
    trouble: str = ""


NOT_PROBED = Probe({}, "with --no-stat and in hooks, nobody looks at the file")


def review_of(
    entry: Entry, path: str | None = None, *, look: bool = True
) -> tuple[str, dict[str, str]]:
    """Return the component's name and its metadata, ``{"ftr_meta": JSON}``.

    ffprobe reads frames, rate and size unless the entry gives them.

    Args:
        entry: the upload.
        path: where this host finds the file, if not at the path that the user wrote.
        look: let ffprobe read the file, which may hang with its storage.

    Raises:
        BadInputError: ftrack cannot play the file, or a value is not valid or missing.
    """
    path = entry.path if path is None else path
    if META in entry.metadata:
        return _described(entry, path)
    names = NAMES.get(os.path.splitext(path)[1].lower())
    if names is None:
        raise BadInputError(
            f"{entry.where}{path} cannot be reviewed as it is: ftrack plays "
            f"{listed([*NAMES])}; use {entry.label('encode')} to have ftrack convert the file"
        )
    given = _given(entry)
    name = _name(entry, names, given)
    still = names is IMAGE
    if names is PDF and (entry.frame_range or entry.fps or entry.resolution):
        raise BadInputError(
            f"{entry.where}{path} is a document; {entry.label('frame_range')}, "
            f"{entry.label('fps')} and {entry.label('resolution')} are for movies and stills"
        )
    if names is PDF:
        return name, {META: json.dumps({"format": "pdf"})}
    if still and (entry.frame_range or entry.fps):
        raise BadInputError(
            f"{entry.where}{path} is a still image; {entry.label('frame_range')} and "
            f"{entry.label('fps')} are for movies"
        )
    meta: dict[str, Any]
    known = given if still else len(given) == len(_MOVIE_KEYS)
    probe = _probed(path) if look and not known else NOT_PROBED
    if still:
        meta = {"format": "image", **(given or _size(probe.stream))}
    else:
        meta = given if known else _movie(entry, path, given, probe)
    return name, {META: json.dumps(meta)}


def _described(entry: Entry, path: str) -> tuple[str, dict[str, str]]:
    """Return the same for an entry with metadata of its own, which count as they are.

    Raises:
        BadInputError: they are no JSON object, or the entry says it twice, or has no name for it.
    """
    label = f"{entry.label('metadata')} {META}"
    if entry.frame_range or entry.fps or entry.resolution:
        raise BadInputError(
            f"{entry.where}{label} says all of it; leave out {entry.label('frame_range')}, "
            f"{entry.label('fps')} and {entry.label('resolution')}"
        )
    try:
        known = json.loads(entry.metadata[META])
        json.dumps(known, allow_nan=False)  # Python reads NaN, and ftrack's player does not
    except (ValueError, RecursionError):
        known = None
    if not isinstance(known, dict):
        raise BadInputError(f"{entry.where}{label} is no JSON object")
    names = (
        (entry.name,) if entry.name in RESERVED else NAMES.get(os.path.splitext(path)[1].lower())
    )
    if names is None or entry.name not in (None, *names):
        raise BadInputError(
            f"{entry.where}{label} needs {entry.label('name')}, one of {listed(sorted(RESERVED))}"
        )
    return str(names[0]), {META: entry.metadata[META]}


def check_not_reserved(entry: Entry, name: str) -> None:
    """Check the name of a component that is not reviewable.

    Raises:
        BadInputError: ftrack's player would look for a reviewable there, and find another file.
    """
    if name in RESERVED:
        raise BadInputError(
            f"{entry.where}{printable(entry.path)} would become the component {quoted(name)}, in "
            f"which ftrack's player looks for a reviewable; use {entry.label('reviewable')}, or "
            f"another {entry.label('name')}"
        )


def _name(entry: Entry, names: tuple[str, ...], given: Mapping[str, Any]) -> str:
    """Return the name that the entry gives, or else the name for the resolution that it gives."""
    if entry.name in names:
        return str(entry.name)
    if entry.name is not None:
        raise BadInputError(
            f"{entry.where}{entry.label('name')} {quoted(entry.name)} is not a name that ftrack's "
            f"player knows for {entry.path}; it knows {listed(names)}"
        )
    if names is MP4 and "width" in given:
        short, long = sorted((given["width"], given["height"]))
        for width, height, name in SIZES:
            if long >= width or short >= height:
                return name
    return names[0]


def _given(entry: Entry) -> dict[str, Any]:
    """Return the part of ``ftr_meta`` that the entry gives."""
    meta: dict[str, Any] = {}
    if entry.frame_range is not None:
        match = FRAME_RANGE.fullmatch(entry.frame_range)
        if match is None or int(match[2]) < int(match[1]):
            raise _not_valid(entry, "frame_range", "a frame range; write 1001-1240")
        meta.update(frameIn=0, frameOut=int(match[2]) - int(match[1]) + 1)
    if entry.fps is not None:
        fps = _fps(entry.fps)
        if fps is None:
            raise _not_valid(entry, "fps", "a frame rate; write 24, 23.976 or 24000/1001")
        meta["frameRate"] = fps
    if entry.resolution is not None:
        match = RESOLUTION.fullmatch(entry.resolution)
        if match is None:
            raise _not_valid(entry, "resolution", "a size in pixels; write 1920x1080")
        meta.update(width=int(match[1]), height=int(match[2]))
    return meta


def _not_valid(entry: Entry, key: str, what: str) -> BadInputError:
    value = quoted(getattr(entry, key))
    return BadInputError(f"{entry.where}{entry.label(key)} {value} is not {what}")


def _movie(entry: Entry, path: str, given: Mapping[str, Any], probe: Probe) -> dict[str, Any]:
    """Return the metadata of a movie: what the entry gives, and what ffprobe finds for the rest."""
    stream, trouble = probe
    fps = _fps(stream.get("avg_frame_rate")) or _fps(stream.get("r_frame_rate"))
    found: dict[str, Any] = _size(stream)
    if fps is not None:
        found["frameRate"] = fps
        if count := _count(stream, fps):
            found.update(frameIn=0, frameOut=count)
    meta = {**found, **given}
    missing = [
        f"{entry.label(key)} {example}"
        for name, (key, example) in _REMEDIES.items()
        if name not in meta
    ]
    if missing:
        raise BadInputError(
            f"{entry.where}{path}: "
            f"{trouble or 'ffprobe does not report everything that a review needs'}; "
            f"give values such as {listed(missing)}"
        )
    return {key: meta[key] for key in _MOVIE_KEYS}


def _size(stream: Mapping[str, Any]) -> dict[str, Any]:
    """Return width and height of the picture as it is shown."""
    width, height = stream.get("width"), stream.get("height")
    if not (isinstance(width, int) and isinstance(height, int)):
        return {}
    if not (0 < width <= MAX_PIXELS and 0 < height <= MAX_PIXELS):
        return {}
    pixel = PIXEL.fullmatch(str(stream.get("sample_aspect_ratio")))
    if pixel and int(pixel[1]) and int(pixel[2]):  # 0:1 is unknown
        width = max(round(width * int(pixel[1]) / int(pixel[2])), 1)
    if _rotation(stream) % 180:
        width, height = height, width
    return {"width": width, "height": height}


def _rotation(stream: Mapping[str, Any]) -> int:
    """Return by how many degrees the picture is rotated when it is shown."""
    sides = stream.get("side_data_list")
    for place in [*(sides if isinstance(sides, list) else ()), stream.get("tags")]:
        for key in ("rotation", "rotate"):
            try:
                return round(float(place[key]))
            except (KeyError, TypeError, ValueError, OverflowError):
                continue
    return 0


def _fps(text: object) -> float | None:
    """Read "24" or "24000/1001"; return None for anything else, such as ffprobe's "0/0"."""
    match = FPS.fullmatch(text) if isinstance(text, str) else None
    if match is None or not int(match[2] or 1):
        return None
    fps = round(float(match[1]) / int(match[2] or 1), 6)
    if not 0 < fps <= MAX_FPS:
        return None
    return int(fps) if fps.is_integer() else fps


def _count(stream: Mapping[str, Any], fps: float) -> int:
    """Return the number of frames; without one, as in WebM, compute it from the duration."""
    try:
        return int(stream["nb_frames"])
    except (LookupError, TypeError, ValueError, OverflowError):
        pass
    try:
        return round(float(stream["duration"]) * fps)
    except (LookupError, TypeError, ValueError, OverflowError):
        return 0


def _probed(path: str) -> Probe:
    """Have ffprobe describe the first video stream of a file."""
    import shutil
    import subprocess

    program = shutil.which("ffprobe")
    if program is None:
        return Probe({}, "ffprobe, which would read the file, is not installed here")
    command = [program, "-v", "error", "-select_streams", "v:0", "-show_entries", PROBED]
    # Only this file: a playlist that pretends to be a movie could name others.
    command += ["-protocol_whitelist", "file", "-of", "json", f"file:{path}"]
    try:
        done = subprocess.run(  # noqa: S603 a list, with no shell
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_TIMEOUT_S,
            check=True,
        )
        report = json.loads(done.stdout)
        return Probe({**(report.get("format") or {}), **report["streams"][0]})
    except subprocess.TimeoutExpired:
        return Probe({}, f"ffprobe did not finish within {PROBE_TIMEOUT_S} seconds")
    except (OSError, subprocess.CalledProcessError):
        return Probe({}, "ffprobe cannot read the file")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return Probe({}, "ffprobe finds no picture in the file")
