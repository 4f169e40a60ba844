"""What people may do on the pages, with the Redis user of operators: retry and cancel."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from typing import Any

from tasks.config.environment import SettingsError
from tasks.config.redis_url import parse_redis_url
from tasks.config.settings import Settings
from tasks.config.texts import read_text
from tasks.records.commands import Commands
from tasks.records.fail_fast import ANSWER_S, CONNECT_S, fail_fast_redis
from tasks.records.fetches import Fetches
from tasks.records.scripts import Scripts, open_scripts
from workers.app import app
from workers.broker.address import celery_address
from workers.downloads import send_fetch
from workers.web.access import Records

OPERATOR_URL_FILE = "FLOWER_OPERATOR_REDIS_URL_FILE"


class Actions:
    """Retries and cancels for a login; connects when it is first used.

    Flower's own Redis user may write no record, but it is used if no operators' user is named.
    """

    def __init__(self, records: Records) -> None:
        self._records = records

    def change_upload(self, action: str, upload_id: str, login: str) -> str:
        """Retry or cancel an upload, and return its state then."""
        commands, who = Commands(self._scripts), _who(login)
        if action == "cancel":
            return commands.cancel(upload_id, who)
        # The reconciler sends the wake-up within a second, so no rights to send tasks are needed.
        return commands.retry(upload_id, who).state

    def change_download(self, action: str, fetch_id: str, login: str) -> str:
        """Let a worker make a download again, or cancel it, and return its state then."""
        fetches = Fetches(self._scripts)
        if action == "cancel":
            return fetches.cancel(fetch_id, _who(login)) or "unknown"
        fetch = fetches.find([fetch_id]).get(fetch_id)
        if fetch is None or not fetch.folder or fetch.state == "fetching":
            return fetch.state if fetch else "unknown"
        asked = (fetch_id, fetch.component_id, fetch.folder)
        with _sender() as connection:
            send_fetch(app, fetches, *asked, who=_who(login), connection=connection)
        return "queued"

    @cached_property
    def _scripts(self) -> Scripts:
        if not os.environ.get(OPERATOR_URL_FILE):
            return self._records.scripts
        settings = _settings()
        return open_scripts(settings, fail_fast_redis(settings))


def _who(login: str) -> str:
    return f"{login} in Flower"


def _settings() -> Settings:
    """Return the settings with the operators' URL of Redis, if a file names one."""
    file, settings = os.environ.get(OPERATOR_URL_FILE, ""), Settings.from_environment()
    if not file:
        return settings
    try:
        settings = replace(settings, redis_url=read_text(file).strip())
        parse_redis_url(settings.redis_url)
        return settings
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not a file with the URL of a Redis"
        raise SettingsError(f"{OPERATOR_URL_FILE}: {file}: {why}") from None


def _sender() -> Any:
    """Return a connection of Celery's with the Redis user of operators."""
    address = celery_address(parse_redis_url(_settings().redis_url))
    options = {
        **address["broker_transport_options"],
        "socket_connect_timeout": CONNECT_S,
        "socket_timeout": ANSWER_S,
        "max_retries": 0,
    }
    ssl = address.get("broker_use_ssl")
    return app.connection_for_write(address["broker_url"], ssl=ssl, transport_options=options)
