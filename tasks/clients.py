"""What the stages of one process work with; made once, after the pool has forked."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import requests

from tasks.codec import Codec, url_codec
from tasks.connect import open_record, worker_redis
from tasks.events import Events, open_events
from tasks.ledger import Ledger
from tasks.limits import Limits
from tasks.publishes import Publishes
from tasks.record import Record
from tasks.settings import Settings
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.put import store_session


@dataclass(frozen=True)
class Clients:
    """The conversations of a worker process, over connections that stay open."""

    settings: Settings
    record: Record
    ftrack: FtrackClient
    store: requests.Session
    urls: Codec
    ledger: Ledger
    publishes: Publishes
    limits: Limits
    events: Events | None
    threads: ThreadPoolExecutor


@functools.cache
def clients() -> Clients:
    """Give the clients of this process.

    Raises:
        SettingsError: the environment lacks what a worker needs.
    """
    settings = Settings.from_environment()
    ftrack = settings.require_ftrack()
    record = open_record(settings, worker_redis(settings))
    urls = url_codec(settings)
    limits = Limits(record, {"bandwidth": settings.bandwidth, "api_calls": settings.api_calls})
    return Clients(
        settings,
        record,
        FtrackClient(ftrack.server_url, ftrack.api_user, ftrack.api_key, limits.api_call),
        store_session(settings.connections),
        urls,
        Ledger(record, urls),
        Publishes(record),
        limits,
        open_events(settings),
        ThreadPoolExecutor(settings.connections, "put"),
    )
