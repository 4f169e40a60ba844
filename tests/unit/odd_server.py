"""A server on loopback that answers with whatever bytes a test gives it, and keeps what came."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

#: Bytes to send, None to close without a word, or what is to be done with the connection.
Answer = bytes | None | Callable[[socket.socket], None]

LINE_END = b"\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def http(status: str = "200 OK", body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    """Make the bytes of a whole, well-formed answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode("latin-1") + LINE_END * 2 + body


def is_whole(answer: bytes) -> bool:
    """Tell whether a client can know where this answer ends; otherwise it must be closed."""
    head, _, body = answer.partition(LINE_END * 2)
    while head.startswith(b"HTTP/1.1 1"):  # it informs of the answer that follows
        head, _, body = body.partition(LINE_END * 2)
    return f"Content-Length: {len(body)}".encode() in head.split(LINE_END)


@dataclass
class Request:
    """One request, as it was on the wire."""

    head: bytes
    body: bytes = field(repr=False)

    @property
    def line(self) -> bytes:
        return self.head.split(LINE_END)[0]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names and values in the order and spelling in which they came."""
        pairs = (line.partition(b": ") for line in self.head.split(LINE_END)[1:])
        return [(name, value) for name, _, value in pairs]

    def header(self, name: bytes) -> bytes:
        return dict(self.headers)[name]


class OddServer:
    """Answers each request with the next of ``answers``; the last one stands for all later."""

    def __init__(self) -> None:
        self.answers: list[Answer] = [OK]
        self.requests: list[Request] = []
        self.connections = 0
        #: Answer as soon as the head is there, before any of the body is read.
        self.hasty = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while self._exchange(connection):
                    pass
            except OSError:
                return

    def _exchange(self, connection: socket.socket) -> bool:
        received = b""
        while LINE_END * 2 not in received:
            block = connection.recv(65536)
            if not block:
                return False
            received += block
        head, _, body = received.partition(LINE_END * 2)
        request = Request(head, body)
        size = int(dict(request.headers).get(b"Content-Length", b"0"))
        while len(request.body) < size and not self.hasty:
            block = connection.recv(1 << 20)
            if not block:
                break
            request.body += block
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            return False
        if not isinstance(answer, bytes):
            answer(connection)
            return False
        connection.sendall(answer)
        return is_whole(answer) and not self.hasty

    def close(self) -> None:
        with contextlib.suppress(OSError):  # closed before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
