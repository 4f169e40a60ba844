"""Just enough HTTP/1.1 on blocking sockets to pass requests on unchanged.

The heads go through byte for byte, since signatures cover them; bodies go through in a
reused buffer.
"""

from __future__ import annotations

import contextlib
import functools
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

#: Measured on loopback: larger blocks are not faster.
BLOCK = 256 * 1024
_MAX_HEAD = 64 * 1024


class Closed(ConnectionError):
    """The other side closed the connection in the middle of a message."""


@dataclass
class Head:
    """The start line and headers of a request or response; *raw* includes the empty line."""

    raw: bytes
    start: list[str]
    headers: dict[str, str]

    @classmethod
    def parse(cls, raw: bytes) -> Head:
        start, *lines = raw[:-4].split(b"\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(b":")
            # surrogateescape: a client may send headers that are not UTF-8.
            text = value.strip().decode("utf-8", "surrogateescape")
            headers[name.decode("latin-1").lower()] = text
        return cls(raw, start.decode("latin-1").split(" ", 2), headers)

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", 0))

    @property
    def chunked(self) -> bool:
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def closes(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"

    def without(self, *names: str) -> Head:
        """Return the same head without these headers."""
        lines = self.raw[:-4].split(b"\r\n")
        kept = [
            line
            for line in lines
            if line.partition(b":")[0].decode("latin-1").strip().lower() not in names
        ]
        return Head.parse(b"\r\n".join(kept) + b"\r\n\r\n")

    def plus(self, name: str, value: str) -> Head:
        return Head.parse(self.raw[:-2] + f"{name}: {value}\r\n\r\n".encode())


class Connection:
    """A socket, and the bytes that were read ahead."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._ahead = bytearray()
        self._buffer = memoryview(bytearray(BLOCK))
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def read_head(self) -> Head | None:
        """Return the next head; None if the other side closed between messages."""
        while (end := self._ahead.find(b"\r\n\r\n")) < 0:
            if len(self._ahead) > _MAX_HEAD:
                raise ValueError("the head of a message is larger than 64 KiB")
            count = self.sock.recv_into(self._buffer)
            if count == 0:
                if self._ahead:
                    raise Closed("closed within a head")
                return None
            self._ahead += self._buffer[:count]
        raw = bytes(self._ahead[: end + 4])
        del self._ahead[: end + 4]
        return Head.parse(raw)

    def blocks(self, length: int, block: int = BLOCK) -> Iterator[memoryview]:
        """Yield *length* bytes of body in blocks; each is valid until the next one is read."""
        while length:
            if self._ahead:
                count = min(len(self._ahead), length, block)
                self._buffer[:count] = self._ahead[:count]
                del self._ahead[:count]
            else:
                count = self.sock.recv_into(self._buffer[: min(length, block)])
                if count == 0:
                    raise Closed("closed within a body")
            length -= count
            yield self._buffer[:count]

    def read(self, length: int) -> bytes:
        return b"".join(bytes(block) for block in self.blocks(length))

    def read_chunked(self) -> bytes:
        """Return a chunked body, joined; only small responses are chunked here."""
        body = b""
        while True:
            size = int(self._line().partition(b";")[0], 16)
            if size == 0:
                while self._line():
                    pass
                return body
            body += self.read(size)
            self._line()

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\r\n"):
            line += self.read(1)
        return line[:-2]

    def send(self, data: bytes | memoryview) -> None:
        self.sock.sendall(data)

    @property
    def readable(self) -> bool:
        """Return whether a read returns at once: with data, or at the end."""
        return bool(self._ahead) or bool(self._poll.poll(0))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.close()

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close_gently(self) -> None:
        """Close after a response that came before the end of the request.

        With unread data in the socket a close is a reset, and the client may lose the
        answer; so read on for a moment, as Go's server behind us does too.
        """
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
            self.sock.settimeout(0.5)
            end = time.monotonic() + 0.5
            while time.monotonic() < end and self.sock.recv_into(self._buffer):
                pass
        self.close()


class Pace:
    """Limits a stream of bytes to a rate; several connections may share it."""

    def __init__(self, bytes_s: float | None) -> None:
        self._bytes_s = bytes_s
        self._due = time.monotonic()
        self._lock = threading.Lock()
        #: Small enough for about twenty steps a second.
        self.block = BLOCK if bytes_s is None else int(max(1024, min(BLOCK, bytes_s / 20)))

    def passed(self, count: int) -> None:
        if self._bytes_s is None:
            return
        with self._lock:
            self._due = max(self._due, time.monotonic() - 0.05) + count / self._bytes_s
            wait_s = self._due - time.monotonic()
        time.sleep(max(0.0, wait_s))


@functools.cache
def shared_pace(bytes_s: float) -> Pace:
    """Return the rate limit that all connections with this rate share."""
    return Pace(bytes_s)


def answer(status: int, reason: str, headers: dict[str, str], body: bytes) -> bytes:
    """Return a whole response."""
    all_headers = {**headers, "Content-Length": str(len(body))}
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{k}: {v}" for k, v in all_headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
