"""``python -m tests.helpers.take_in``: take in what hooks have pushed, once, as a worker does."""

from __future__ import annotations

from typing import Any

from tasks.config.hook_key import derive_hook_key
from tasks.config.redis_client import worker_redis
from tasks.config.settings import Settings
from tasks.records.inbox import Inbox
from tasks.records.keys import TAKING
from tasks.records.scripts import open_scripts
from workers.app import app
from workers.steps.intake import Intake


def main() -> None:
    settings = Settings.from_environment()
    scripts = open_scripts(settings, worker_redis(settings))
    intake = Intake(app, scripts, tuple(map(derive_hook_key, settings.secret_keys)))
    # Redis may have handed an entry to a worker that a test has frozen.
    entries: Any = scripts.client.lrange(TAKING, 0, -1)
    while entries or (entries := Inbox(scripts).take(0.01)):
        assert not any(intake.take_in(entries)), "no key opens what hooks have signed"
        entries = []


if __name__ == "__main__":
    main()
