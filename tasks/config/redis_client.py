"""Connections to Redis for workers, which wait for it.

A connection may be half open: its other side is gone, and nothing says so. Each command therefore
has a timeout, and each socket is probed by the system while nothing is sent on it.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import redis
import redis.sentinel
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry

from tasks.config.redis_url import RedisUrl, parse_redis_url
from tasks.config.settings import Settings
from tasks.transfer.keepalive import KEEPALIVE

#: How long a worker waits until Redis accepts a connection, and for the answer to a command.
#: A client that waits by BLMOVE has a longer time; the answer to BRPOP is read when it is there.
CONNECT_S = 5.0
ANSWER_S = 10.0
#: The same for a sentinel: the next one may know the master.
SENTINEL_S = 2.0


def keepalive_options() -> dict[int, int]:
    """Return the TCP options by which a peer that is gone is noticed within 30 seconds.

    The probes of keepalive stop while sent data is unconfirmed: TCP_USER_TIMEOUT limits that.
    """
    options = {option: value for level, option, value in KEEPALIVE if level == socket.IPPROTO_TCP}
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        options[socket.TCP_USER_TIMEOUT] = 30_000  # ms
    return options


#: Before its version 8, redis-py ignores the options without the first of these.
KEPT_ALIVE: dict[str, Any] = {
    "socket_keepalive": True,
    "socket_keepalive_options": keepalive_options(),
}


def worker_redis(settings: Settings, answer_s: float = ANSWER_S) -> redis.Redis:
    """Return a client for a worker; while Redis restarts, it retries for about a minute."""
    return _connect(
        settings.redis_url,
        socket_connect_timeout=CONNECT_S,
        socket_timeout=answer_s,
        retry=_Wary(ExponentialWithJitterBackoff(cap=5, base=0.1), retries=20),
        # ReadOnlyError comes from a master that has just become a replica.
        retry_on_error=[
            redis.ConnectionError,
            redis.TimeoutError,
            redis.BusyLoadingError,
            redis.ReadOnlyError,
        ],
    )


@functools.cache
def shared_redis(settings: Settings) -> redis.Redis:
    """Return the client of a worker's main process, for commands that are soon over.

    Boot steps and Celery's channels share it, so an idle worker has one such connection. It tries
    nothing again, because the event loop would stop meanwhile: whoever uses it does.
    """
    return _connect(
        settings.redis_url,
        socket_connect_timeout=CONNECT_S,
        socket_timeout=ANSWER_S,
        retry=_Wary(NoBackoff(), retries=0),
    )


#: The pools of this process, to whose connections the same may happen at once.
_pools: WeakSet[Any] = WeakSet()


class _Wary(Retry):
    """Closes the idle connections of this process when one of them gets no answer.

    They may be half open, too. Each would keep a command waiting for as long as that one.
    """

    def call_with_retry(self, do: Callable[[], Any], fail: Any, *args: Any, **options: Any) -> Any:
        """Act as redis-py does, which closes the connection that failed."""

        def failed(error: Exception, *more: Any) -> None:
            if isinstance(error, redis.TimeoutError):
                for pool in tuple(_pools):
                    pool.disconnect(inuse_connections=False)
            fail(error, *more)

        return super().call_with_retry(do, failed, *args, **options)


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


def sentinel_options(url: RedisUrl) -> dict[str, Any]:
    """Return the options of redis-py for the connections to the sentinels."""
    options: dict[str, Any] = {
        "socket_connect_timeout": SENTINEL_S,
        "socket_timeout": SENTINEL_S,
        # If a sentinel does not answer, the client asks the next one instead of trying again.
        "retry": Retry(NoBackoff(), retries=0),
    }
    if url.sentinel_password:
        options |= {"username": url.sentinel_user or None, "password": url.sentinel_password}
    if url.has_tls:
        options |= {"ssl": True, **ssl_options(url)}
    return options


def _connect(text: str, **options: Any) -> redis.Redis:
    client = _client(text, options)
    _pools.add(client.connection_pool)
    return client


def _client(text: str, options: dict[str, Any]) -> redis.Redis:
    url = parse_redis_url(text)
    options |= {"db": url.db, "username": url.user or None, "password": url.password or None}
    if url.scheme == "sentinel":
        return _connect_to_master(url, options)
    if url.scheme == "unix":
        return redis.Redis(unix_socket_path=url.path, **options)
    if url.has_tls:
        options |= {"ssl": True, **ssl_options(url)}
    [(host, port)] = url.hosts
    return redis.Redis(host=host, port=port, **KEPT_ALIVE, **options)


def _connect_to_master(url: RedisUrl, options: dict[str, Any]) -> redis.Redis:
    kind: type[redis.Connection] = MasterConnection
    if url.has_tls:
        kind, options = MasterTlsConnection, {**options, **ssl_options(url)}
    make: Any = redis.sentinel.Sentinel  # redis-py has no types for it
    client: redis.Redis = make(url.hosts, sentinel_kwargs=sentinel_options(url)).master_for(
        url.master,
        connection_class=kind,
        **KEPT_ALIVE,
        **options,
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


class MasterTlsConnection(MasterConnection, redis.SSLConnection):
    """The same with TLS."""
