"""Connections that hear an answer while the body of the request is still being sent.

A store or a proxy may answer before it has read the whole body: 413, 503, 403. If it then reads no
further, http.client would wait until the time limit, and never read the answer.
"""

from __future__ import annotations

import functools
import io
import select
import ssl
from http.client import HTTPResponse
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from tasks.transfer.exchange import note_connection

#: The most that is given to TLS at a time: it waits until it has sent all of it.
TLS_BYTES = 64 << 10


class HearingConnection(HTTPConnection):
    """Stops sending a body when the answer comes."""

    _sends_body = False
    _poll: select.poll

    def endheaders(self, *args: Any, **kwargs: Any) -> None:
        """Send the headers; what is sent after them is the body."""
        self._sends_body = False
        self.response_class = HTTPResponse
        super().endheaders(*args, **kwargs)
        note_connection(self.sock)
        self._poll = select.poll()
        self._poll.register(self.sock, select.POLLIN | select.POLLOUT)
        self._sends_body = True

    def send(self, data: Any) -> None:
        """Send a block.

        Raises:
            BrokenPipeError: the other side has answered; urllib3 then reads the answer.
            TimeoutError: the other side takes no byte.
        """
        sock = self.sock
        if sock is None or not self._sends_body:
            super().send(data)
            return
        most_bytes = TLS_BYTES if isinstance(sock, ssl.SSLSocket) else len(data)
        timeout_s, left = sock.gettimeout(), memoryview(data)
        while left:
            ready = self._poll.poll(None if timeout_s is None else timeout_s * 1000)
            if not ready:
                raise TimeoutError("the other side takes no byte")
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
        self.response_class = functools.partial(_EarlyResponse, first)  # type: ignore[assignment]
        return True


class _EarlyResponse(HTTPResponse):
    """A response whose first byte has been read. Its connection is not used again."""

    def __init__(self, first: bytes, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fp = io.BufferedReader(_After(first, self.fp.detach()))

    def begin(self) -> None:
        super().begin()
        self.will_close = True


class _After(io.RawIOBase):
    """Some bytes, and then what another stream has."""

    def __init__(self, first: bytes, rest: io.RawIOBase) -> None:
        self._first, self._rest = first, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if not self._first:
            return self._rest.readinto(buffer)
        count = len(self._first)
        buffer[:count], self._first = self._first, b""
        return count

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
