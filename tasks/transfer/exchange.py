"""One deadline for a whole exchange by HTTP, from the look-up of the name to the last byte.

The timeouts of urllib3 begin again with each byte. A proxy that sends one now and then, such as the
beginning of an answer that never comes, could hold a call for ever.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

#: A socket that sends nothing is probed, so that no call is made on one whose other side is gone.
SOCKET_OPTIONS = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
]

_current = threading.local()


#: A call of ftrack takes at most this long, from the look-up of its name to the last byte.
EXCHANGE_S = 60.0


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


class _Connection(HTTPConnection):
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
