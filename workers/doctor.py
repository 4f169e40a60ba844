"""What ``farmhaul doctor`` looks at: each thing an upload needs, and the next step where it lacks.

It only reads, but for a file in the spool and a list in Redis that are removed at once, and for
what ``--put`` sends.
A fault is what keeps uploads from being located, or may lose them; a warning is what somebody
should look at.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator

import redis

from tasks.connect import hasty_redis
from tasks.settings import Settings, SettingsError
from tasks.spool import Spool
from workers import doctor_farm, report
from workers.doctor_ftrack import ftrack
from workers.doctor_redis import Finding, server

#: A folder that is not listed by then hangs, as a dead NFS mount does.
ROOT_TIMEOUT_S = 5.0


def diagnose(*, put: bool = False) -> Iterator[Finding]:
    """Look at all that an upload needs, from this node; with ``put``, at the media store too."""
    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        for line in str(error).splitlines():
            step = "correct the variable; docs/configuration.md tells its form"
            yield Finding("fault", "settings", line, step)
        return
    yield Finding("ok", "settings", "the environment makes sense")
    yield from _examine(settings, put=put)


def _examine(settings: Settings, *, put: bool) -> Iterator[Finding]:
    """Look at everything; what Redis tells only where it can be asked."""
    yield from _roots(settings)
    yield from _spool(settings)
    yield from _internals()
    yield from ftrack(settings, put=put)
    client = hasty_redis(settings)
    try:
        client.ping()
    except redis.RedisError as error:
        says, _, step = report.redis_trouble(error).partition("; ")
        yield Finding("fault", "redis", says, step)
        return
    for what, check in {"redis": server, **doctor_farm.CHECKS}.items():
        try:
            yield from check(settings, client)
        except redis.exceptions.NoPermissionError:
            step = "run doctor with a Redis user who may read farmhaul:* and use INFO"
            yield Finding("warning", what, "not looked at: our Redis user may not", step)
        except redis.RedisError as error:
            says, _, step = report.redis_trouble(error).partition("; ")
            yield Finding("fault", what, says, step)


# This node


def _roots(settings: Settings) -> Iterator[Finding]:
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


def _spool(settings: Settings) -> Iterator[Finding]:
    folder = there = settings.spool
    if not folder:
        yield Finding("ok", "spool", "FARMHAUL_SPOOL is not set: without Redis, enqueue fails")
        return
    # enqueue makes the folder when it first needs it.
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    try:
        tempfile.TemporaryFile(dir=there, prefix=".").close()
        spool = Spool(folder)
        bad, waiting = spool.unreadable(), spool.waiting()
    except OSError as error:
        says = f"{folder} cannot be read and written: {error.strerror}"
        yield Finding("fault", "spool", says, f"give {there} and all in it to the hooks' user")
        return
    if bad:
        was = ".json" if bad[0].parent == spool.folder else ".jsonl"
        step = f"mend {bad[0]} and rename it to {was}, or remove it"
        yield Finding("warning", "spool", f"{len(bad)} spooled uploads are unreadable", step)
    if waiting:
        says = f"{len(waiting)} uploads wait in {folder}"
        yield Finding("warning", "spool", says, "farmhaul drain")
    if not bad and not waiting:
        yield Finding("ok", "spool", f"{folder} can be written, and is empty")


def _internals() -> Iterator[Finding]:
    from workers.lease import internals_unknown

    step = "install from deploy/requirements.lock"
    faults = internals_unknown()
    yield from (Finding("fault", "celery", fault, step) for fault in faults)
    if not faults:
        yield Finding("ok", "celery", "kombu and Celery are as the lease knows them")
