"""Connections to Redis: workers wait for it, hooks fail fast."""

from __future__ import annotations

from typing import Any

import redis
import redis.sentinel
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry

from tasks.config.redis_url import RedisUrl, parse_redis_url
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


def ssl_options(url: RedisUrl) -> dict[str, Any]:
    """Return the options of redis-py for TLS; certificates are always verified."""
    return {
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": url.ssl_check_hostname,
        # None, not an empty text, stands for the system's authorities.
        "ssl_ca_certs": url.ssl_ca_certs or None,
        "ssl_certfile": url.ssl_certfile or None,
        "ssl_keyfile": url.ssl_keyfile or None,
    }


def sentinel_login(url: RedisUrl) -> dict[str, Any]:
    """Return the options of redis-py for the sentinels' own login, if they want one."""
    if not url.sentinel_password:
        return {}
    return {"username": url.sentinel_user or None, "password": url.sentinel_password}


def _connect(text: str, **options: Any) -> redis.Redis:
    url = parse_redis_url(text)
    options |= {"db": url.db, "username": url.user or None, "password": url.password or None}
    if url.scheme == "sentinel":
        return _connect_to_master(url, options)
    if url.scheme == "unix":
        return redis.Redis(unix_socket_path=url.path, **options)
    if url.scheme == "rediss":
        options |= {"ssl": True, **ssl_options(url)}
    [(host, port)] = url.hosts
    return redis.Redis(host=host, port=port, **options)


def _connect_to_master(url: RedisUrl, options: dict[str, Any]) -> redis.Redis:
    timeouts = {name: value for name, value in options.items() if name.startswith("socket_")}
    # If a sentinel does not answer, the client asks the next one instead of trying again.
    without_retries = {**timeouts, "retry": Retry(NoBackoff(), retries=0)}
    make: Any = redis.sentinel.Sentinel  # redis-py has no types for it
    sentinels = make(url.hosts, sentinel_kwargs={**without_retries, **sentinel_login(url)})
    client: redis.Redis = sentinels.master_for(
        url.master, connection_class=MasterConnection, **options
    )
    return client


class MasterConnection(redis.sentinel.SentinelManagedConnection):
    """Asks the sentinels each time that it connects.

    redis-py's own does so only for a new command. A command that is tried again on a broken
    connection, such as a BLMOVE that was waiting, goes back to the former master.
    """

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: FBT001, FBT002 as in redis-py
        """Send a command, if need be to another server than the one before."""
        if not self._sock:
            self.connect()  # type: ignore[no-untyped-call]
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]
