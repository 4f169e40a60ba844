"""Connections to the store: they hear an answer early, and do not wait for one that drips.

A store or a proxy may answer before it has read the whole body: 413, 503, 403. If it then reads no
further, http.client would wait until the time limit, and never read the answer.

The time limits of a socket begin again with each byte, so a store that sends or takes one now and
then could hold a connection for ever. Such waiting is added up.
"""

from __future__ import annotations

import functools
import io
import math
import select
import ssl
import time
from typing import Any

from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from tasks.transfer.addresses import check_peer
from tasks.transfer.exchange import BoundedConnection, FinalResponse, note_connection

#: The most that is given to TLS at a time: it waits until it has sent all of it.
TLS_BYTES = 64 << 10

#: How long all waiting for one answer may take, and for a block to be taken: what drips is noticed
#: within a minute.
PATIENCE_S = 50.0
#: What moves at least as fast may take longer.
SLOWEST_BYTES_S = 1024


class HearingConnection(BoundedConnection):
    """Stops sending a body when the answer comes."""

    _sends_body = False
    _poll: select.poll

    def _new_conn(self) -> Any:
        connected = super()._new_conn()
        if self.proxy is None:  # the address of a proxy is not ftrack's choice
            check_peer(connected)
        return connected

    def endheaders(self, *args: Any, **kwargs: Any) -> None:
        """Send the headers; what is sent after them is the body."""
        self._sends_body = False
        self.response_class = _Response
        super().endheaders(*args, **kwargs)
        note_connection(self.sock)
        self._poll = select.poll()
        self._poll.register(self.sock, select.POLLIN | select.POLLOUT)
        self._sends_body = True

    def send(self, data: Any) -> None:
        """Send a block.

        Raises:
            BrokenPipeError: the other side has answered; urllib3 then reads the answer.
            TimeoutError: the other side takes no byte, or hardly any.
        """
        sock = self.sock
        if sock is None or not self._sends_body:
            super().send(data)
            return
        most_bytes = TLS_BYTES if isinstance(sock, ssl.SSLSocket) else len(data)
        timeout_s, left = sock.gettimeout(), memoryview(data)
        until = time.monotonic() + PATIENCE_S + len(data) / SLOWEST_BYTES_S
        while left:
            left_s = until - time.monotonic()
            ready = self._poll.poll(1000 * max(min(left_s, timeout_s or left_s), 0))
            if not ready or left_s < 0:
                raise TimeoutError("the other side takes hardly any byte")
            if ready[0][1] & select.POLLIN and self._hears(sock):
                raise BrokenPipeError("answered before the end of the body")
            if ready[0][1] & ~select.POLLIN:
                left = left[sock.send(left[:most_bytes]) :]

    def _hears(self, sock: Any) -> bool:
        # TLS also receives what is not for us, such as session tickets. Only reading tells.
        timeout_s = sock.gettimeout()
        sock.settimeout(0)
        try:
            first = sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        finally:
            sock.settimeout(timeout_s)
        # http.client calls it as it calls a class.
        self.response_class = functools.partial(_EarlyResponse, first=first)  # type: ignore[assignment]
        return True


class _Response(FinalResponse):
    """A response that ends if it drips; only the body of a file may take long."""

    _method: str

    def __init__(self, *args: Any, first: bytes = b"", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stream = _Patient(first, self.fp.detach())
        self.fp = io.BufferedReader(self._stream)

    def begin(self) -> None:
        # http.client reads any number of "100 Continue" before an answer, and of trailers after it.
        self._stream.until = time.monotonic() + PATIENCE_S
        super().begin()
        if self._method == "GET" and self.status in {200, 206}:
            self._stream.until = math.inf


class _EarlyResponse(_Response):
    """A response whose first byte has been read. Its connection is not used again."""

    def begin(self) -> None:
        super().begin()
        self.will_close = True


class _Patient(io.RawIOBase):
    """Some bytes, and then what another stream has, as long as that does not drip."""

    def __init__(self, first: bytes, rest: io.RawIOBase) -> None:
        self._first, self._rest = first, rest
        self._left_s = PATIENCE_S
        self.until = math.inf

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what is there.

        Raises:
            TimeoutError: the waiting for it adds up to more than such a stream may take.
        """
        if self._first:
            count = len(self._first)
            buffer[:count], self._first = self._first, b""
            return count
        begun = time.monotonic()
        got = self._rest.readinto(buffer)
        self._left_s += (got or 0) / SLOWEST_BYTES_S - (time.monotonic() - begun)
        if self._left_s < 0 or time.monotonic() > self.until:
            raise TimeoutError("the answer drips")
        return got

    def close(self) -> None:
        self._rest.close()
        super().close()


class HearingHttpsConnection(HearingConnection, HTTPSConnection):
    """The same over TLS."""


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = HearingConnection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = HearingHttpsConnection


#: For ``PoolManager.pool_classes_by_scheme``.
POOLS = {"http": _HttpPool, "https": _HttpsPool}
