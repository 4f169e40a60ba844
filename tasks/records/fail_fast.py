"""Connections to Redis for commands: within seconds they have an answer, or an error.

They connect as a hook does (``tasks.intake.reach``): by one deadline, the look-up of names and the
sentinels included. redis-py would give each step, and each sentinel, a time of its own.
"""

from __future__ import annotations

import math
import socket
import time
from typing import Any

import redis
import redis.sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry

from tasks.config.redis_url import RedisUrl, address, parse_redis_url
from tasks.config.settings import Settings
from tasks.intake.deadline import Deadline
from tasks.intake.reach import UnreachableError, reach
from tasks.intake.resp import NOT_REDIS
from tasks.intake.sentinels import NoMasterError, find_master

CONNECT_S = 1.0
ANSWER_S = 1.5
#: An answer that comes at least as fast may take longer.
SLOWEST_BYTES_S = 10_000


class NoMasterFoundError(redis.sentinel.MasterNotFoundError):
    """No sentinel names a master; the text explains why, and what to do."""


def fail_fast_redis(settings: Settings) -> redis.Redis:
    """Return a client that does not wait: after 2.5 seconds, it has an answer or an error."""
    url = parse_redis_url(settings.redis_url)
    pool = redis.ConnectionPool(
        connection_class=FailFastConnection,
        url=url,
        db=url.db,
        username=url.user or None,
        password=url.password or None,
        socket_timeout=ANSWER_S,
        retry=Retry(NoBackoff(), retries=0),
    )
    return redis.Redis.from_pool(pool)


class FailFastConnection(redis.Connection):
    """A connection to what a URL names: a server, a socket, or the master of sentinels."""

    def __init__(self, *, url: RedisUrl, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._url = url

    def _connect(self) -> Any:
        deadline = Deadline(CONNECT_S)
        place = self._url.hosts[0] if self._url.hosts else None
        try:
            if self._url.scheme == "sentinel":
                place = find_master(self._url, deadline)
            if place is not None:  # for the messages of redis-py
                self.host, self.port = place
            connected = reach(self._url, place, deadline)
        except NoMasterError as error:
            raise NoMasterFoundError(str(error)) from None
        except UnreachableError as error:
            raise redis.ConnectionError(str(error)) from None
        if not isinstance(connected, socket.socket):  # it is, with TLS
            connected = socket.socket(fileno=connected.detach())
        connected.settimeout(self.socket_timeout)
        return _Patient(connected)

    def on_connect_check_health(self, *given: Any, **named: Any) -> None:
        """Greet the server, which may be another one than Redis."""
        try:
            super().on_connect_check_health(*given, **named)
        except (redis.InvalidResponse, AttributeError, TypeError, ValueError):
            # redis-py takes the answer for a map: of "+OK", it raises an AttributeError.
            where = address(self.host, self.port) if self._url.hosts else self._url.path
            raise redis.ConnectionError(f"{where}: {NOT_REDIS}") from None


class _Patient:
    """A socket that waits for an answer by one deadline: its own timeout begins with each byte."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._timeout_s = connected.gettimeout()
        self._until = math.inf

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def settimeout(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s
        self._socket.settimeout(timeout_s)

    def sendall(self, data: Any) -> None:
        self._until = time.monotonic() + ANSWER_S
        self._socket.sendall(data)

    def recv(self, size: int) -> bytes:
        if not self._timeout_s:  # it only looks whether there is anything
            return self._socket.recv(size)
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._socket.settimeout(min(left_s, self._timeout_s))
        data = self._socket.recv(size)
        self._until += len(data) / SLOWEST_BYTES_S
        return data
