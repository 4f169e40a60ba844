"""Doctor's checks of this node: the storage roots, the spool, the installed packages."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

from tasks.config.settings import Settings
from tasks.intake.spool import Spool
from tasks.transfer.hanging import HungError, look
from workers.doctor.finding import Finding

#: A folder that does not answer within this time hangs, as a dead NFS mount does.
ANSWERS_WITHIN_S = 5.0


def roots(settings: Settings) -> Iterator[Finding]:
    """Check that each storage root can be read, and is not empty as an unmounted folder is."""
    if not settings.storage_roots:
        step = "set FARMHAUL_STORAGE_ROOTS to the folders that may be uploaded from"
        yield Finding("fault", "roots", "FARMHAUL_STORAGE_ROOTS is not set", step)
    for root in settings.storage_roots:
        try:
            seen = look(lambda at=root: _list(at), ANSWERS_WITHIN_S)  # type: ignore[misc]
        except HungError:
            step = f"check the mount; stat {root} also hangs"
            yield Finding("fault", "roots", f"{root} does not answer", step)
            continue
        if isinstance(seen, str):
            step = "mount it, correct FARMHAUL_STORAGE_ROOTS, or let the worker's user read it"
            yield Finding("fault", "roots", f"{root} cannot be read: {seen}", step)
        elif not seen:
            yield Finding("warning", "roots", f"{root} is empty", f"check that {root} is mounted")
        else:
            yield Finding("ok", "roots", f"{root} can be read")


def _list(folder: str) -> str | bool:
    """Return whether the folder holds anything, or why it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError as error:
        return error.strerror or type(error).__name__


def spool(settings: Settings) -> Iterator[Finding]:
    """Check that hooks can write the spool, and that nothing is left in it."""
    folder = settings.spool
    if not folder:
        yield Finding(
            "ok", "spool", "FARMHAUL_SPOOL is not set: enqueue fails while Redis is unreachable"
        )
        return
    kept = Spool(folder)
    try:
        there = look(lambda: _nearest(folder), ANSWERS_WITHIN_S)
        bad, waiting = look(lambda: _kept_in(kept, there), ANSWERS_WITHIN_S)
    except HungError:
        step = f"check its mount; hooks keep what they cannot send in {tempfile.gettempdir()}"
        yield Finding("fault", "spool", f"{folder} does not answer", step)
        return
    except OSError as error:
        # The file that was tried is not there, and has a name that tells nobody anything.
        named = error.filename if os.path.lexists(error.filename or "") else folder
        says = f"{named} cannot be read or written: {error.strerror}"
        step = f"repair its disk, or name another folder in FARMHAUL_SPOOL, which is {folder}"
        if isinstance(error, PermissionError):
            step = f"make the hooks' user the owner of {there} and of everything in it"
        elif isinstance(error, (NotADirectoryError, FileNotFoundError)):
            step = f"remove {named}: it must be a folder, which enqueue makes"
        yield Finding("fault", "spool", says, step)
        return
    if bad:
        was = ".json" if os.path.dirname(bad[0]) == kept.folder else ".jsonl"
        step = f"fix {bad[0]} and rename it to {was}, or remove it"
        yield Finding("warning", "spool", f"spooled requests that cannot be read: {len(bad)}", step)
    if waiting:
        says = f"spooled requests that are not enqueued yet: {len(waiting)}, in {folder}"
        yield Finding("warning", "spool", says, "run farmhaul flush-spool")
    if not bad and not waiting:
        yield Finding("ok", "spool", f"{folder} can be written and is empty")


def _nearest(folder: str) -> str:
    """Return the folder, or the one above where enqueue creates it when it first needs it."""
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    return folder


def _kept_in(kept: Spool, there: str) -> tuple[list[str], list[str]]:
    """Return the unreadable files of a spool, and those to send.

    Raises:
        OSError: the folder cannot be written or read.
    """
    tempfile.TemporaryFile(dir=there, prefix=".").close()
    kept.check_alone()
    return kept.unreadable(), kept.waiting()


def internals() -> Iterator[Finding]:
    """Check that the installed kombu and Celery have the internals that leases rely on."""
    from workers.steps.lease import internals_unknown

    step = "install from deploy/requirements.lock"
    faults = internals_unknown()
    yield from (Finding("fault", "celery", fault, step) for fault in faults)
    if not faults:
        yield Finding("ok", "celery", "kombu and Celery have the internals that leases rely on")
