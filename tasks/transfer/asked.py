"""Whether a file is the one that was asked for.

Anyone who can write to the inbox may send an old request once more, and anyone who can write to
Redis may set an old upload going again. Neither must upload what lies at the path by now: a file
that differs is accepted only for a day, in which it is rendered again while its upload waits.
"""

from __future__ import annotations

from datetime import UTC, datetime

from tasks.transfer.errors import FileChangedError, FileRefusedError, FileShrunkError
from tasks.transfer.models import AskedFor, FileIdentity

MAX_AGE_S = 86400.0
#: Hooks may see the file by another file system: FAT counts times in steps of 2 s, SMB in 100 ns.
MTIME_STEP_NS = 2 * 10**9


def check_asked(path: str, asked: AskedFor, found: FileIdentity, now_s: float) -> None:
    """Compare a file with what its hook saw, at a time in seconds since 1970.

    Raises:
        FileShrunkError: it is smaller. Perhaps it is being written again.
        FileRefusedError: it differs, and the request is too old for that.
    """
    if asked.size_bytes is None:
        return  # with --no-stat, nobody has looked at it
    if found.size_bytes < asked.size_bytes:
        raise FileShrunkError(path, asked.size_bytes, found.size_bytes)
    _check_age(path, asked, found, now_s)


def check_changed(
    path: str, asked: AskedFor, known: FileIdentity, found: FileIdentity, now_s: float
) -> None:
    """Compare a file with what its hook saw, if it is not the one that a worker has read before.

    Raises:
        FileRefusedError: it differs, and the request is too old for that.
    """
    # Without an mtime, its bytes were changed on their way, and are read again. Workers may see it
    # by other file systems, too.
    is_known = found.size_bytes == known.size_bytes and _is_near(found.mtime_ns, known.mtime_ns)
    if known.mtime_ns >= 0 and not is_known:
        _check_age(path, asked, found, now_s)


def check_same(path: str, asked: AskedFor, found: FileIdentity) -> None:
    """Compare a file with what its hook saw, because another node may see that.

    Raises:
        FileChangedError: it differs.
    """
    if what := difference(asked, found):
        raise FileChangedError(path, what, is_here=True)


def difference(asked: AskedFor, found: FileIdentity) -> str:
    """Describe how a file differs from what its hook saw; empty if it does not, or nobody knows."""
    if asked.size_bytes is None:
        return ""
    if found.size_bytes != asked.size_bytes:
        return f"size {asked.size_bytes} → {found.size_bytes}"
    is_near = _is_near(found.mtime_ns, asked.mtime_ns)
    return "" if is_near else f"mtime {asked.mtime_ns} → {found.mtime_ns}"


def _check_age(path: str, asked: AskedFor, found: FileIdentity, now_s: float) -> None:
    is_same = asked.size_bytes is not None and not difference(asked, found)
    if not is_same and asked.at is not None and now_s - asked.at > MAX_AGE_S:
        when = datetime.fromtimestamp(asked.at, UTC)
        why = f"has changed since it was asked for on {when:%Y-%m-%d %H:%M} UTC"
        raise FileRefusedError(path, why, "outdated")


def check_host(path: str, asked: AskedFor, host: str) -> None:
    """Check that a file that only one host sees is read there.

    Raises:
        FileRefusedError: *host* is another one, where the path may lead to another file.
    """
    if asked.host not in {"", host}:
        why = f"is to be read on {asked.host} alone, and this worker runs on {host}"
        raise FileRefusedError(path, why)


def _is_near(mtime_ns: int, asked_ns: int | None) -> bool:
    return asked_ns is None or abs(mtime_ns - asked_ns) < MTIME_STEP_NS
