"""How Redis is reached: patiently by workers, hastily by hooks."""

from __future__ import annotations

import redis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry

from tasks.codec import message_codec
from tasks.record import Record
from tasks.settings import Settings


def worker_redis(settings: Settings) -> redis.Redis:
    """Connect as a worker does: a Redis that restarts is waited for, about a minute."""
    backoff = ExponentialWithJitterBackoff(cap=5, base=0.1)
    return redis.Redis.from_url(
        settings.redis_url,
        socket_connect_timeout=5,
        socket_timeout=10,
        socket_keepalive=True,
        retry=Retry(backoff, retries=20),
        retry_on_error=[redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError],
    )


def hasty_redis(settings: Settings) -> redis.Redis:
    """Connect as a hook does: it has its answer within 2 seconds, or none."""
    return redis.Redis.from_url(
        settings.redis_url,
        socket_connect_timeout=1,
        socket_timeout=1.5,
        retry=Retry(NoBackoff(), retries=0),
    )


def open_record(settings: Settings, client: redis.Redis) -> Record:
    """Open the records as the environment says."""
    return Record(
        client, message_codec(settings), lease_s=settings.lease_s, days=settings.record_days
    )
