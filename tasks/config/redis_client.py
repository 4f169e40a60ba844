"""Connections to Redis: workers wait for it, hooks fail fast."""

from __future__ import annotations

from typing import Any

import redis
import redis.sentinel
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry

from tasks.config.sentinel import Sentinel
from tasks.config.settings import Settings


def worker_redis(settings: Settings) -> redis.Redis:
    """Return a client for a worker; while Redis restarts, it retries for about a minute."""
    return _connect(
        settings.redis_url,
        socket_connect_timeout=5,
        socket_timeout=10,
        socket_keepalive=True,
        retry=Retry(ExponentialWithJitterBackoff(cap=5, base=0.1), retries=20),
        # ReadOnlyError comes from a master that has just become a replica.
        retry_on_error=[
            redis.ConnectionError,
            redis.TimeoutError,
            redis.BusyLoadingError,
            redis.ReadOnlyError,
        ],
    )


def fail_fast_redis(settings: Settings) -> redis.Redis:
    """Return a client for a hook: within 2 seconds it has an answer, or an error."""
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
    # If a sentinel does not answer, the client asks the next one instead of trying again.
    without_retries = {**timeouts, "retry": Retry(NoBackoff(), retries=0)}
    make: Any = redis.sentinel.Sentinel  # redis-py has no types for it
    sentinels = make(address.hosts, sentinel_kwargs=without_retries)
    client: redis.Redis = sentinels.master_for(
        address.master, db=address.db, username=address.user, password=address.password, **options
    )
    return client
