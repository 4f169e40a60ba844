"""A server on loopback that does with each connection what a test says."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

#: How much later than its deadline a call may end on a loaded machine.
SLACK_S = 3.0
#: For a server that answers at once: more than a loaded machine needs.
ANSWER_S = 10.0


class RawServer:
    """``answer`` gets each connection after its first bytes; what came is in ``received``."""

    def __init__(self, answer: Callable[[socket.socket], object]) -> None:
        self.answer = answer
        self.received: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            self.received.append(connection.recv(65_536))
            self.answer(connection)


@contextlib.contextmanager
def raw_server(answer: bytes | Callable[[socket.socket], object]) -> Iterator[RawServer]:
    """Run it during the block; bytes are sent, and then nothing more happens until it ends."""
    ended = threading.Event()

    def send(connection: socket.socket) -> None:
        if isinstance(answer, bytes):
            connection.sendall(answer)
            ended.wait(10)
        else:
            answer(connection)

    server = RawServer(send)
    try:
        yield server
    finally:
        ended.set()
        server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """Yield a port of loopback that answers no connection, as behind a firewall."""
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])
