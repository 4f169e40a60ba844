"""How Redis is reached: patiently by workers, hastily by hooks."""

from __future__ import annotations

from typing import Any

import redis
import redis.sentinel
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry

from tasks.config.sentinel import Sentinel
from tasks.config.settings import Settings


def worker_redis(settings: Settings) -> redis.Redis:
    """Connect as a worker does: a Redis that restarts is waited for, about a minute."""
    return _connect(
        settings.redis_url,
        socket_connect_timeout=5,
        socket_timeout=10,
        socket_keepalive=True,
        retry=Retry(ExponentialWithJitterBackoff(cap=5, base=0.1), retries=20),
        # ReadOnlyError: a master that has just become a replica.
        retry_on_error=[
            redis.ConnectionError,
            redis.TimeoutError,
            redis.BusyLoadingError,
            redis.ReadOnlyError,
        ],
    )


def fail_fast_redis(settings: Settings) -> redis.Redis:
    """Connect as a hook does: it has its answer within 2 seconds, or none."""
    return _connect(
        settings.redis_url,
        socket_connect_timeout=1,
        socket_timeout=1.5,
        retry=Retry(NoBackoff(), retries=0),
    )


def _connect(url: str, **options: Any) -> redis.Redis:
    if not url.startswith("sentinel://"):
        return redis.Redis.from_url(url, **options)
    address = Sentinel.from_url(url)
    timeouts = {name: value for name, value in options.items() if name.startswith("socket_")}
    # A sentinel that is away is not waited for: the next one is asked.
    asked_once = {**timeouts, "retry": Retry(NoBackoff(), retries=0)}
    make: Any = redis.sentinel.Sentinel  # redis-py has no types for it
    sentinels = make(address.hosts, sentinel_kwargs=asked_once)
    client: redis.Redis = sentinels.master_for(
        address.master, db=address.db, username=address.user, password=address.password, **options
    )
    return client
