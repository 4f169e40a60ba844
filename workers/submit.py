"""Handing uploads over: to Redis, or while it is away to the spool."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress

import redis

from tasks.connect import hasty_redis, open_record
from tasks.pipeline import enqueue
from tasks.request import Request
from tasks.settings import Settings
from tasks.spool import Spool
from workers.app import app

#: What a hook sends of what earlier hooks had to spool; it must not wait for thousands.
SPOOLED_AT_ONCE = 100


def submit(settings: Settings, requests: Sequence[Request]) -> list[str]:
    """Enqueue uploads, or spool them; gives the state of each. Raises RedisError."""
    record = open_record(settings, hasty_redis(settings))
    try:
        states = enqueue(app, record, requests)
    except redis.RedisError as error:
        if not settings.spool:
            raise
        states = _spool(settings.spool, requests)
        print(  # noqa: T201 for the log of the hook
            f"farmhaul: Redis is away ({type(error).__name__}); kept in {settings.spool}, "
            "and sent by the next enqueue, a worker here, or farmhaul drain",
            file=sys.stderr,
        )
        return states
    if settings.spool:
        # These uploads are queued; what is wrong with the spool, farmhaul drain says.
        with suppress(redis.RedisError, OSError):
            Spool(settings.spool).drain(app, record, settings, most=SPOOLED_AT_ONCE)
    return states


def _spool(folder: str, requests: Sequence[Request]) -> list[str]:
    try:
        Spool(folder).write(requests)
    except OSError as error:
        why = f"nor can FARMHAUL_SPOOL be written: {error.strerror} in {folder}"
        raise redis.ConnectionError(why) from None
    return ["spooled"] * len(requests)
