"""The Celery application: ``celery -A workers worker`` and ``farmhaul worker`` start it."""

from __future__ import annotations

import os
import sys
from typing import Any

from celery import Celery
from celery.signals import celeryd_init

from tasks.config.environment import SettingsError
from tasks.config.settings import Settings
from tasks.intake.errors import printable
from tasks.intake.exit_codes import BAD_INPUT, complain
from tasks.intake.utf8 import UTF8

# Celery reads the configuration when it is first needed, so importing this package cannot fail.
# Only workers import the tasks, because a hook needs none of their dependencies.
app = Celery(
    "farmhaul",
    include=["tasks.upload", "tasks.parts", "tasks.download", "tasks.check", "tasks.probe"],
)
app.config_from_object("workers.config:celery_config")
# Named as text, so that only a worker imports them.
app.steps["worker"].update(
    {
        "workers.steps.lease:Lease",
        "workers.steps.breaker:Breaker",
        "workers.steps.pool:Pool",
        "workers.steps.reconcile:Reconcile",
        "workers.steps.intake:TakeIn",
        "workers.steps.spool:FlushSpool",
        "workers.steps.encoding_jobs:Encodings",
        "workers.steps.notify:Notify",
        "workers.health:Health",
    }
)


@celeryd_init.connect
def set_up_worker(sender: str, options: dict[str, Any], **_: Any) -> None:
    """Exit with a line for each wrong setting, instead of a traceback at the first task.

    Then let the worker's channels share connections to Redis with its boot steps, and let remote
    control do no more than it needs to.
    """
    # Imported here, because only workers need them.
    from tasks.config.redis_client import shared_redis
    from tasks.records.cluster import check_no_cluster
    from workers import logs, remote_control
    from workers.broker import transport

    try:
        _check_locale()
        _check_options(options)
        settings = Settings.from_environment(for_worker=True)
        check_no_cluster(settings)
    except SettingsError as error:
        raise SystemExit(complain(error, BAD_INPUT)) from None
    # Not passed as a transport option, because remote control sends those to Flower as JSON.
    transport.share(shared_redis(settings))
    remote_control.restrict()
    logs.set_up(sender, settings)


def _check_locale() -> None:
    """Refuse a locale in which this worker would look for other names than hooks ask for."""
    if (encoding := sys.getfilesystemencoding()) != UTF8:
        why = f"the locale: Python reads names of files as {encoding}, and requests have UTF-8"
        raise SettingsError(f"{why}; set PYTHONUTF8=1, or LC_ALL=C.UTF-8")


def _check_options(options: dict[str, Any]) -> None:
    """Refuse options with which a worker would take nothing, or end with a traceback of Celery."""
    from tasks.chain import QUEUE

    for name in options.get("queues") or ():
        if name != QUEUE and not name.startswith(f"{QUEUE}."):
            why = f"-Q {printable(name)}: no upload goes to a queue of this name"
            raise SettingsError(f"{why}; name {QUEUE}, or {QUEUE}.HOST for the files of one host")
    pidfile = options.get("pidfile")
    if pidfile and not os.access(os.path.dirname(os.path.abspath(pidfile)), os.W_OK):
        why = f"--pidfile={printable(pidfile)}: its folder is missing, or not to be written"
        raise SettingsError(f"{why}; name a file that this user may write")
    if (tasks := options.get("max_tasks_per_child")) is not None and tasks < 1:
        raise SettingsError(f"--max-tasks-per-child={tasks} is not a number from 1 on")
