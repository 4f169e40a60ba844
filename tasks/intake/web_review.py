"""What ftrack needs to play a file that is fit for review as it is, without encoding it.

Component names and the keys of ``ftr_meta``: "Publishing for web review" in ftrack's
documentation of its Python client (doc/example/web_review.rst). It counts frames from 0, with
``frameOut`` their number, and so do pipelines that publish to ftrack.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

from tasks.intake.manifest import BadInputError, Entry

NAMES = {
    ".mp4": "ftrackreview-mp4",
    ".webm": "ftrackreview-webm",
    ".jpg": "ftrackreview-image",
    ".jpeg": "ftrackreview-image",
    ".png": "ftrackreview-image",
}

#: A hook is answered within 2 seconds.
PROBE_TIMEOUT_S = 1.5

FRAMES = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")
RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(?:/([0-9]{1,9}))?")
RESOLUTION = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
MAX_RATE = 1000.0  # frames a second; above, it is a time base that was taken for a rate


def review_of(entry: Entry, path: str | None = None) -> tuple[str, dict[str, str]]:
    """Give the component's name and its metadata, ``{"ftr_meta": JSON}``.

    What the entry does not say of frames, rate and size is read by ffprobe, from *path* where
    that is not the one that was typed. Raises BadInputError.
    """
    path = entry.path if path is None else path
    name = NAMES.get(os.path.splitext(path)[1].lower())
    if name is None:
        raise BadInputError(
            f"{entry.where}{path} can not be reviewed as it is; ftrack plays "
            f"{', '.join(NAMES)}; say encode to have ftrack make such a file"
        )
    given = _given(entry)
    still = name == "ftrackreview-image"
    if still and (entry.frame_range or entry.fps):
        raise BadInputError(f"{entry.where}{path} is a still; frame_range and fps are a movie's")
    meta: dict[str, Any]
    if still:
        size = given or _size(_probed(path)[0])
        meta = {"format": "image", **size}
    else:
        meta = given if len(given) == len(_MOVIE) else _movie(entry, path, given)
    return name, {"ftr_meta": json.dumps(meta)}


_MOVIE = ("frameIn", "frameOut", "frameRate", "width", "height")
_OPTIONS = {
    "frameIn": "frame_range (1001-1240)",
    "frameRate": "fps (24)",
    "width": "resolution (WxH)",
}


def _given(entry: Entry) -> dict[str, Any]:
    meta: dict[str, Any] = {}
    if entry.frame_range is not None:
        match = FRAMES.fullmatch(entry.frame_range)
        if match is None or int(match[2]) < int(match[1]):
            raise BadInputError(
                f"{entry.where}frame_range {entry.frame_range!r} is no range of a movie; "
                "write 1001-1240"
            )
        meta |= {"frameIn": int(match[1]), "frameOut": int(match[2])}
    if entry.fps is not None:
        rate = _rate(entry.fps)
        if rate is None:
            raise BadInputError(
                f"{entry.where}fps {entry.fps!r} is no number of frames a second; "
                "write 24, 23.976 or 24000/1001"
            )
        meta["frameRate"] = rate
    if entry.resolution is not None:
        match = RESOLUTION.fullmatch(entry.resolution)
        if match is None:
            raise BadInputError(
                f"{entry.where}resolution {entry.resolution!r} is no size in pixels; "
                "write 1920x1080"
            )
        meta |= {"width": int(match[1]), "height": int(match[2])}
    return meta


def _movie(entry: Entry, path: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Complete what is given by what ffprobe tells; given values win."""
    stream, why = _probed(path)
    rate = _rate(stream.get("avg_frame_rate")) or _rate(stream.get("r_frame_rate"))
    told: dict[str, Any] = _size(stream)
    if rate is not None:
        told["frameRate"] = rate
        if count := _count(stream, rate):
            told |= {"frameIn": 0, "frameOut": count}
    meta = {**told, **given}
    missing = [option for key, option in _OPTIONS.items() if key not in meta]
    if missing:
        raise BadInputError(
            f"{entry.where}{path}: {why or 'ffprobe does not tell all that a review needs'}; "
            f"give {' and '.join(missing)}"
        )
    return {key: meta[key] for key in _MOVIE}


def _size(stream: Mapping[str, Any]) -> dict[str, Any]:
    width, height = stream.get("width"), stream.get("height")
    return {"width": width, "height": height} if width and height else {}


def _rate(text: object) -> float | None:
    """Read "24" or "24000/1001"; None for what is no rate, as ffprobe's "0/0"."""
    match = RATE.fullmatch(text) if isinstance(text, str) else None
    if match is None or not int(match[2] or 1):
        return None
    rate = round(float(match[1]) / int(match[2] or 1), 6)
    if not 0 < rate <= MAX_RATE:
        return None
    return int(rate) if rate.is_integer() else rate


def _count(stream: Mapping[str, Any], rate: float) -> int:
    """Give the number of frames; WebM tells the duration alone."""
    try:
        return int(stream["nb_frames"])
    except (KeyError, ValueError):
        pass
    try:
        return round(float(stream["duration"]) * rate)
    except (KeyError, ValueError, OverflowError):
        return 0


def _probed(path: str) -> tuple[dict[str, Any], str]:
    """Ask ffprobe for the first video stream: what it tells, or {} and why it tells nothing."""
    program = shutil.which("ffprobe")
    if program is None:
        return {}, "there is no ffprobe here to read the file with"
    entries = "stream=width,height,avg_frame_rate,r_frame_rate,nb_frames,duration:format=duration"
    command = [program, "-v", "error", "-select_streams", "v:0", "-show_entries", entries]
    # Only this file: a playlist that calls itself a movie could name others.
    command += ["-protocol_whitelist", "file", "-of", "json", f"file:{path}"]
    try:
        done = subprocess.run(  # noqa: S603 - a list, with no shell
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_TIMEOUT_S,
            check=True,
        )
        told = json.loads(done.stdout)
        return {**told.get("format", {}), **told["streams"][0]}, ""
    except subprocess.TimeoutExpired:
        return {}, f"ffprobe did not answer within {PROBE_TIMEOUT_S} seconds"
    except (OSError, subprocess.CalledProcessError):
        return {}, "ffprobe can not read the file"
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}, "ffprobe finds no picture in the file"
