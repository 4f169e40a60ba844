"""kombu's Redis transport, made to survive a connection that closes under it.

A task that ends while Redis is away is acknowledged on a closed connection. kombu 5.7 then
raises AttributeError ("'NoneType' object has no attribute 'hostname'"), which Celery takes
for unrecoverable: the whole worker exits (measured: 1 of 3 series of five Redis kills). As
a connection error it is what it is: the message is delivered again, the record knows that
its work is done, and the worker reconnects.
"""

from __future__ import annotations

import time
from typing import Any

import redis
from kombu.transport import redis as kombu_redis

#: When this process last asked Redis for tasks (time.monotonic), for ``workers.health``.
last_asked = time.monotonic()


class _Guarded:
    """For a channel: a closed connection raises an error that Celery recovers from."""

    connection: Any

    def _brpop_start(self, *args: Any, **options: Any) -> Any:
        global last_asked  # noqa: PLW0603 one process, one moment
        last_asked = time.monotonic()
        return super()._brpop_start(*args, **options)  # type: ignore[misc]

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if getattr(self.connection, "client", None) is None:
            raise redis.ConnectionError("the connection to Redis is closed")
        params: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]
        return params


class Channel(_Guarded, kombu_redis.Channel):
    """A channel to one Redis."""


class SentinelChannel(_Guarded, kombu_redis.SentinelChannel):
    """A channel to the master that the sentinels name."""


class SentinelTransport(kombu_redis.SentinelTransport):
    """The transport for sentinel://."""

    Channel = SentinelChannel


class Transport(kombu_redis.Transport):
    """The transport for redis:// and rediss://."""

    Channel = Channel
