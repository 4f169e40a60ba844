"""What people type to find uploads, as records have it: paths, frames, times, starts of ids."""

from __future__ import annotations

import posixpath
import re
from datetime import datetime, timedelta, tzinfo

from tasks.intake.errors import BadInputError, FramesError
from tasks.intake.notation import parse
from tasks.transfer.targets import is_uuid
from tasks.transfer.windows import is_windows_path, ordinary, with_slashes

GLOB = re.compile(r"[*?\[]")
#: Fewer digits than these are words, such as the name of a shot.
_START_OF_ID = re.compile(r"[0-9a-f]{8}[0-9a-f-]{0,27}")
_UNIT = r"(\d{1,6})\s*(s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?|w|weeks?)"
_AGO = re.compile(rf"-?(?:{_UNIT}\s*)+(?:ago)?")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)")
#: Seconds since 1970, as JSON has them.
_EPOCH = re.compile(r"\d{9,10}(?:\.\d+)?")


def word_of(text: str) -> str:
    """Return a word as it is compared; empty if everything fits it, as with ``/`` or ``*``.

    A path is without ``..`` and doubled slashes, one of Windows has slashes, and a frame number's
    mark (``%04d``, ``####``, ``1001-1240#``) is ``%d``. What a table has shortened is left out.
    """
    word = text.strip()
    if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'":
        word = word[1:-1]
    word = word.removeprefix("file://").rstrip("…")
    if word.startswith("…"):
        word = word.partition("/")[2] or word[1:]
    if is_uuid(word.strip("{}")):
        return word.strip("{}").lower()
    if is_windows_path(word):
        word = with_slashes(ordinary(word))
        rest = re.sub("/{2,}", "/", word[2:])
        word = word[:2] + (rest.rstrip("/") or "/")
    elif word.startswith("/"):
        word = f"/{posixpath.normpath(word).lstrip('/')}"
    return "" if not word.strip("/*") else _with_mark(word)


def _with_mark(word: str) -> str:
    if "*" in word or "?" in word:
        return word
    try:
        frames = parse(word)
    except FramesError:
        return word
    return frames.place if frames else word


def is_path(word: str) -> bool:
    """Return whether a word is a path from the root, or from a drive or share."""
    return word.startswith("/") or is_windows_path(word)


def is_start_of_id(word: str) -> bool:
    """Return whether a word may be the first digits of an id."""
    return bool(_START_OF_ID.fullmatch(word.lower()))


def time_of(asked: str, text: str, now: float, zone: tzinfo | None = None) -> float:
    """Return a time that a person has written, in seconds since 1970; by default in local time.

    *asked* is what the error names.

    Raises:
        BadInputError: it is no time.
    """
    written = text.strip().lower()
    if _AGO.fullmatch(written):
        return now - sum(int(n) * _UNITS_S[unit[0]] for n, unit in re.findall(_UNIT, written))
    if _EPOCH.fullmatch(written):
        return float(written)
    today = datetime.fromtimestamp(now, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        if written in {"today", "yesterday"}:
            return (today - timedelta(days=written == "yesterday")).timestamp()
        if match := _CLOCK.fullmatch(written):
            time = today.replace(hour=int(match[1]), minute=int(match[2]))
            # What the clock will show later has been yesterday.
            return (time - timedelta(days=time.timestamp() > now)).timestamp()
        time = datetime.fromisoformat(text.strip())
        return (time if time.tzinfo else time.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        why = "write 2h, 3d, yesterday, 22:00, or 2026-11-26T14:00"
        raise BadInputError(f"{asked} is no time: {why}") from None
