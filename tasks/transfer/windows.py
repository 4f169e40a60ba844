r"""Paths of Windows. Records have them with slashes: P:/sh010/main.exr, \\server/share/main.exr."""

from __future__ import annotations

import os

#: The start of a path in its long form, which Windows takes as it is.
LONG = "\\\\?\\"
LONG_SHARE = "\\\\?\\UNC\\"
#: Windows refuses longer folders in the ordinary form (MAX_PATH less the room for a name); see
#: https://learn.microsoft.com/windows/win32/fileio/maximum-file-path-limitation
MAX_ORDINARY = 247


def is_windows_path(path: str) -> bool:
    """Return whether a path cannot be another system's: it is on a drive or a share."""
    return path.startswith("\\\\") or (path[1:3] in {":\\", ":/"} and has_drive(path))


def is_posix_path(path: str) -> bool:
    """Return whether a path starts at the root of a system that has no drives."""
    return path[:1] == "/" and path[1:2] != "/"


def is_absolute(path: str) -> bool:
    """Return whether a path is absolute here, or on a system without drives.

    Hosts of both systems may share their settings, and Python 3.13 on Windows no longer counts
    /mnt/prod as absolute.
    """
    return os.path.isabs(path) or is_posix_path(path)


def has_drive(path: str) -> bool:
    """Return whether a path starts with the letter of a drive."""
    return path[1:2] == ":" and path[0].isascii() and path[0].isalpha()


def ordinary(path: str) -> str:
    r"""Return the ordinary form of a path in its long form (\\?\P:\…, \\?\UNC\server\share\…)."""
    if path[: len(LONG_SHARE)].upper() == LONG_SHARE:
        return "\\\\" + path[len(LONG_SHARE) :]
    if path.startswith(LONG) and has_drive(path[len(LONG) :]):
        return path[len(LONG) :]
    return path


def with_slashes(path: str) -> str:
    """Return a path of Windows as records have it."""
    return path[:2] + path[2:].replace("\\", "/")


def on_disk(path: str) -> str:
    """Return the path by which this host opens a file: on Windows, the long form if it is long."""
    if os.sep != "\\" or len(path) <= MAX_ORDINARY:
        return path
    full = os.path.abspath(path)
    if full.startswith(LONG):
        return full
    return LONG_SHARE + full[2:] if full.startswith("\\\\") else LONG + full


def real_path(path: str) -> str:
    """Return a path with all symlinks resolved; on Windows, in the ordinary form."""
    try:
        return ordinary(os.path.realpath(on_disk(path)))
    except OSError:  # Windows, if the server is away: whoever opens the file says why
        return os.path.abspath(path)
