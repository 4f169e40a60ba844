"""The Celery application: ``celery -A workers worker`` and ``farmhaul worker`` start it."""

from __future__ import annotations

import sys
from typing import Any

from celery import Celery
from celery.signals import celeryd_init

from tasks.config.settings import Settings, SettingsError

# The configuration is read when it is first needed, so that importing this package can not
# fail; the tasks are imported by workers alone, since a hook needs none of what they need.
app = Celery("farmhaul", include=["tasks.upload", "tasks.parts", "tasks.download"])
app.config_from_object("workers.config:celery_config")
# By name: only a worker imports them.
app.steps["worker"].update(
    {
        "workers.steps.lease:Lease",
        "workers.steps.reconcile:Reconcile",
        "workers.steps.spool:DrainSpool",
        "workers.steps.encoding_jobs:Encodings",
        "workers.health:Health",
    }
)


@celeryd_init.connect
def check_environment(sender: str, **_: Any) -> None:
    """Say in a line what a worker lacks, in place of a traceback at its first task."""
    try:
        settings = Settings.from_environment()
        settings.require_ftrack()
    except SettingsError as error:
        print(f"farmhaul: {error}", file=sys.stderr)  # noqa: T201 before logging is set up
        raise SystemExit(2) from None
    # Imported here: a hook needs nothing of it.
    from workers import logs

    logs.set_up(sender, settings)
