"""One deadline for a whole exchange by HTTP, from the look-up of the name to the last byte.

The timeouts of urllib3 begin again with each byte. A proxy that sends one now and then, such as the
beginning of an answer that never comes, could hold a call for ever.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPResponse
from types import TracebackType
from typing import Any, Self

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.util.connection import allowed_gai_family

from tasks.transfer.keepalive import KEEPALIVE

#: A socket that sends nothing is probed, so that no call is made on one whose other side is gone.
SOCKET_OPTIONS = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), *KEEPALIVE]

_current = threading.local()


#: A call of ftrack takes at most this long, from the look-up of its name to the last byte.
EXCHANGE_S = 50.0


class Exchange:
    """Inside a ``with``, cuts this thread's connection at the deadline.

    Whoever waits for it then meets the end of the connection: ``is_over`` tells why. Only
    connections that call ``note_connection`` are cut: those of an ``ExchangeAdapter`` and others.
    """

    def __init__(self, within_s: float) -> None:
        self.is_over = False
        self._timer = threading.Timer(within_s, self._cut)
        self._timer.daemon = True
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        _current.exchange = self
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        _current.exchange = None

    def use(self, connected: socket.socket) -> None:
        """Note the connection that the exchange goes over."""
        self._socket = connected
        if self.is_over:
            self._cut()

    def _cut(self) -> None:
        self.is_over = True
        if self._socket is not None:
            with suppress(OSError):
                # Not the shutdown of TLS, which another thread may be using.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def note_connection(connected: socket.socket) -> None:
    """Let this thread's exchange, if there is one, cut a connection."""
    exchange: Exchange | None = getattr(_current, "exchange", None)
    if exchange is not None:
        exchange.use(connected)


class BoundedConnection(HTTPConnection):
    """Connects within its timeout, however many addresses the host has.

    urllib3 gives each of them the whole timeout. Here the next one has its share of what is left.
    """

    def _new_conn(self) -> socket.socket:
        host, timeout_s = self._dns_host, self.timeout
        if not isinstance(timeout_s, (int, float)):
            return super()._new_conn()
        until = time.monotonic() + timeout_s
        addresses = _addresses(host, self.port)
        try:
            for tried, address in enumerate(addresses, start=1):
                left_s = max(until - time.monotonic(), 0.1)
                self._dns_host, self.timeout = address, left_s / (len(addresses) - tried + 1)
                with suppress(*([OSError, HTTPError] if tried < len(addresses) else [])):
                    return super()._new_conn()
        finally:
            self._dns_host, self.timeout = host, timeout_s
        raise AssertionError("a host has at least one address")


def _addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a host in their order; the host itself if they cannot be found."""
    try:
        found = socket.getaddrinfo(host, port, allowed_gai_family(), socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return [host]  # connecting says what is wrong
    return list(dict.fromkeys(str(row[4][0]) for row in found)) or [host]


class FinalResponse(HTTPResponse):
    """The answer after those that only announce it.

    http.client skips "100 Continue", and takes "103 Early Hints" for the answer. The real one would
    then be read as that of the next request.
    """

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]
        is_hint = HTTPStatus.SWITCHING_PROTOCOLS < status < HTTPStatus.OK
        return version, HTTPStatus.CONTINUE if is_hint else status, reason


class _Connection(BoundedConnection):
    response_class = FinalResponse

    def endheaders(self, *args: Any, **options: Any) -> None:
        super().endheaders(*args, **options)
        note_connection(self.sock)


class _HttpsConnection(_Connection, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


_POOLS = {"http": _HttpPool, "https": _HttpsPool}


class ExchangeAdapter(HTTPAdapter):
    """Makes connections that an ``Exchange`` can cut."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Pass the options of the socket to urllib3."""
        super().init_poolmanager(*args, **options, socket_options=SOCKET_OPTIONS)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        """Return what makes the connections by way of a proxy."""
        options |= {"socket_options": SOCKET_OPTIONS}
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager
