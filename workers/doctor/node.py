"""What doctor checks on this node: storage roots, spool, and the installed packages."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator

from tasks.config.settings import Settings
from tasks.spool import Spool
from workers.doctor.finding import Finding

#: A folder that is not listed by then hangs, as a dead NFS mount does.
ROOT_TIMEOUT_S = 5.0


def roots(settings: Settings) -> Iterator[Finding]:
    if not settings.storage_roots:
        step = "set FARMHAUL_STORAGE_ROOTS to the folders that files may come from"
        yield Finding("fault", "roots", "FARMHAUL_STORAGE_ROOTS is not set", step)
    for root in settings.storage_roots:
        seen: list[str | bool] = []
        # A thread, since nothing else gets away from a mount that hangs.
        look = threading.Thread(target=lambda at=root, to=seen: to.append(_list(at)), daemon=True)
        look.start()
        look.join(ROOT_TIMEOUT_S)
        if not seen:
            step = f"look at the mount: stat {root} hangs, too"
            yield Finding("fault", "roots", f"{root} does not answer", step)
        elif isinstance(seen[0], str):
            step = "mount it, or correct FARMHAUL_STORAGE_ROOTS; the worker's user must read it"
            yield Finding("fault", "roots", f"{root} cannot be read: {seen[0]}", step)
        elif not seen[0]:
            yield Finding("warning", "roots", f"{root} is empty", f"see that {root} is mounted")
        else:
            yield Finding("ok", "roots", f"{root} can be read")


def _list(folder: str) -> str | bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError as error:
        return error.strerror or type(error).__name__


def spool(settings: Settings) -> Iterator[Finding]:
    folder = there = settings.spool
    if not folder:
        yield Finding("ok", "spool", "FARMHAUL_SPOOL is not set: without Redis, enqueue fails")
        return
    # enqueue makes the folder when it first needs it.
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    try:
        tempfile.TemporaryFile(dir=there, prefix=".").close()
        kept = Spool(folder)
        bad, waiting = kept.unreadable(), kept.waiting()
    except OSError as error:
        says = f"{folder} cannot be read and written: {error.strerror}"
        yield Finding("fault", "spool", says, f"give {there} and all in it to the hooks' user")
        return
    if bad:
        was = ".json" if bad[0].parent == kept.folder else ".jsonl"
        step = f"mend {bad[0]} and rename it to {was}, or remove it"
        yield Finding("warning", "spool", f"{len(bad)} spooled uploads are unreadable", step)
    if waiting:
        says = f"{len(waiting)} uploads wait in {folder}"
        yield Finding("warning", "spool", says, "farmhaul flush-spool")
    if not bad and not waiting:
        yield Finding("ok", "spool", f"{folder} can be written, and is empty")


def internals() -> Iterator[Finding]:
    from workers.steps.lease import internals_unknown

    step = "install from deploy/requirements.lock"
    faults = internals_unknown()
    yield from (Finding("fault", "celery", fault, step) for fault in faults)
    if not faults:
        yield Finding("ok", "celery", "kombu and Celery are as the lease knows them")
