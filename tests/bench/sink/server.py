"""A minimal HTTP/1.1 server: a thread for each connection, and few system calls."""

from __future__ import annotations

import json
import mmap
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

#: A body is dropped in steps of this size: one system call for all but large files. Nothing
#: is ever written into the buffer, so it takes no memory.
STEP = 64 << 20
SCRAP = memoryview(mmap.mmap(-1, STEP))
DROP = socket.MSG_TRUNC | socket.MSG_WAITALL
HEAD_BYTES = 1 << 16
CONTROL = "/-/"


@dataclass
class Conduct:
    """The latency and bandwidth that the server pretends to have."""

    latency_s: float = 0.0
    connect_s: float = 0.0
    bytes_s: float | None = None


@dataclass
class Request:
    """A request; its body is not read yet."""

    method: str
    target: str
    headers: dict[str, str]

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", 0))


class Connection:
    """One connection of a client."""

    def __init__(self, sock: socket.socket, conduct: Conduct) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.conduct = conduct
        self._ahead = b""

    def read_request(self) -> Request | None:
        """Return the next request; None if the client has closed the connection."""
        while (end := self._ahead.find(b"\r\n\r\n")) < 0:
            # Read little more than a head: the rest of a body stays in the kernel, to be dropped.
            block = self.sock.recv(HEAD_BYTES if len(self._ahead) else 4096)
            if not block:
                return None
            self._ahead += block
        lines = self._ahead[:end].decode("latin-1").split("\r\n")
        self._ahead = self._ahead[end + 4 :]
        method, target, _ = lines[0].split(" ", 2)
        pairs = (line.partition(":") for line in lines[1:])
        request = Request(method, target, {name.lower(): value.strip() for name, _, value in pairs})
        if request.headers.get("expect"):
            time.sleep(self.conduct.latency_s)
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return request

    def read(self, length: int) -> bytes:
        """Return a whole body."""
        body = bytearray(self._ahead[:length])
        self._ahead = self._ahead[length:]
        while len(body) < length:
            block = self.sock.recv(length - len(body))
            if not block:
                raise ConnectionError("the client closed the connection within a body")
            body += block
        return bytes(body)

    def drop(self, length: int) -> None:
        """Read a body and drop it, at the configured rate."""
        rate = self.conduct.bytes_s
        step = STEP if rate is None else max(int(rate / 20), 1)
        due = time.monotonic()
        count = min(len(self._ahead), length)
        self._ahead = self._ahead[count:]
        while True:
            length -= count
            if rate is not None:
                due = max(due, time.monotonic() - 0.05) + count / rate
                time.sleep(max(due - time.monotonic(), 0))
            if not length:
                return
            count = self.sock.recv_into(SCRAP, min(length, step), DROP)
            if not count:
                raise ConnectionError("the client closed the connection within a body")

    def answer(
        self, body: bytes = b"", headers: str = "Content-Type: application/json\r\n"
    ) -> None:
        """Respond with 200, after the latency."""
        time.sleep(self.conduct.latency_s)
        self.answer_now(body, headers)

    def give(self, size_bytes: int, headers: str) -> None:
        """Respond with so many zeros, after the latency."""
        time.sleep(self.conduct.latency_s)
        self.sock.sendall(
            f"HTTP/1.1 200 OK\r\n{headers}Content-Length: {size_bytes}\r\n\r\n".encode()
        )
        while size_bytes > 0:
            size_bytes -= self.sock.send(SCRAP[: min(size_bytes, STEP)])

    def redirect(self, url: str) -> None:
        """Respond with another URL, after the latency."""
        time.sleep(self.conduct.latency_s)
        head = f"HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n"
        self.sock.sendall(head.encode())

    def answer_now(self, body: bytes, headers: str = "") -> None:
        head = f"HTTP/1.1 200 OK\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        self.sock.sendall(head.encode("latin-1") + body)


Handle = Callable[[Request, Connection], None]


class Server:
    """Listens, and serves the requests of the benchmark itself: conduct, stats, reset."""

    def __init__(self, handle: Handle, stats: Callable[[], Any], reset: Callable[[], None]) -> None:
        self.conduct = Conduct()
        self._handle = handle
        self._stats = stats
        self._reset = reset
        self._cpu_s = time.process_time()

    def serve(self, port: int) -> None:
        threading.stack_size(512 << 10)
        listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=self._converse, args=(sock,), daemon=True).start()

    def _converse(self, sock: socket.socket) -> None:
        connection = Connection(sock, self.conduct)
        with sock, suppress(OSError):
            first = True
            while (request := connection.read_request()) is not None:
                if request.target.startswith(CONTROL):
                    self._control(request, connection)
                    continue
                if first:
                    time.sleep(self.conduct.connect_s)
                    first = False
                self._handle(request, connection)

    def _control(self, request: Request, connection: Connection) -> None:
        what = request.target.removeprefix(CONTROL)
        body = connection.read(request.length)
        answer: Any = {}
        if what == "conduct":
            for name, value in json.loads(body).items():
                setattr(self.conduct, name, value)
            answer = asdict(self.conduct)
        elif what == "reset":
            self._reset()
            self._cpu_s = time.process_time()
        else:
            answer = {**self._stats(), "cpu_s": time.process_time() - self._cpu_s}
        connection.answer_now(json.dumps(answer).encode())
