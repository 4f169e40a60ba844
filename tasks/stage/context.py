"""The connections of a worker process, which its stages share; made after the pool has forked."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from tasks.config.redis_client import worker_redis
from tasks.config.sealing import Codec, part_signer, url_codec
from tasks.config.settings import Settings
from tasks.records.parts import PartsRecord
from tasks.records.publishes import Publishes
from tasks.records.record import Record, open_record
from tasks.stage import shared
from tasks.stage.events import Events, open_events
from tasks.stage.limits import Limits
from tasks.stage.mounts import Mounts
from tasks.stage.threads import Threads, pause
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.http import PlainSession
from tasks.transfer.locations import Locations
from tasks.transfer.models import Transfer
from tasks.transfer.put import store_session
from tasks.transfer.signing import UrlDates
from tasks.transfer.versions import Versions


@dataclass(frozen=True)
class Clients:
    """The settings and the open connections of a worker process."""

    settings: Settings
    record: Record
    ftrack: FtrackClient
    store: PlainSession
    urls: Codec
    parts: PartsRecord
    publishes: Publishes
    limits: Limits
    events: Events | None
    threads: Threads
    mounts: Mounts
    locations: Locations
    versions: Versions
    url_dates: UrlDates


@functools.cache
def clients() -> Clients:
    """Return the clients of this process.

    Raises:
        SettingsError: the environment lacks what a worker needs.
    """
    settings = Settings.from_environment()
    ftrack = settings.require_ftrack()
    record = open_record(settings, worker_redis(settings))
    urls = url_codec(settings)
    limits = Limits(
        record.scripts,
        {"bandwidth": settings.bandwidth, "api_rate": settings.api_rate},
        sleep=pause,
    )

    threads = Threads(settings.connections)

    def hanging() -> list[str]:
        items = threads.left_behind
        paths = [item.path for item in items if isinstance(item, Transfer)]
        return paths + [item for item in items if isinstance(item, str)]  # of tasks.probe

    def before_call() -> None:
        shared.note_moved()
        limits.api_call()

    client = FtrackClient(ftrack.server_url, ftrack.api_user, ftrack.api_key, before_call)
    return Clients(
        settings=settings,
        record=record,
        ftrack=client,
        store=store_session(settings.connections),
        urls=urls,
        parts=PartsRecord(record, urls, part_signer(settings)),
        publishes=Publishes(record),
        limits=limits,
        events=open_events(settings),
        threads=threads,
        mounts=Mounts(hanging),
        locations=Locations(client, settings.locations),
        versions=Versions(client),
        url_dates=UrlDates(),
    )
