"""Take in what hooks have pushed, once, as a worker does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.config.hook_key import derive_hook_key
from tasks.config.redis_client import worker_redis
from tasks.config.settings import Settings
from tasks.records.inbox import Inbox
from tasks.records.keys import TAKING
from tasks.records.scripts import open_scripts
from tests.helpers.controller import controller
from workers.steps.entries import Intake


def take_in(environment: Mapping[str, str]) -> None:
    """Take in as a worker with this environment does."""
    settings = Settings.from_environment(environment)
    with controller(environment) as app, worker_redis(settings) as client:
        scripts = open_scripts(settings, client)
        intake = Intake(app, scripts, tuple(map(derive_hook_key, settings.secret_keys)))
        # Redis may have handed an entry to a worker that a test has frozen.
        entries: Any = client.lrange(TAKING, 0, -1)
        while entries or (entries := Inbox(scripts).take(0.01)):
            assert not any(intake.take_in(entries)), "no key opens what hooks have signed"
            entries = []
