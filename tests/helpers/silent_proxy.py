"""A TCP proxy whose connections become half open: it stops passing bytes on, and closes nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class SilentProxy:
    """Passes connections on to a port on loopback."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._speaks = threading.Event()
        self._is_deaf = False
        self._last_words = b""
        self._sockets: list[socket.socket] = []
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def silence(self, *, new_ones_too: bool = False) -> int:
        """Let all connections be half open from now on, and return how many there are.

        New ones work, unless they are to be silent, too.
        """
        silenced, self._speaks = self._speaks, threading.Event()
        self._is_deaf = new_ones_too
        silenced.set()
        return len(self._sockets) // 2

    def silence_before(self, command: bytes) -> None:
        """Let all be silent as soon as a client sends this command, which is not passed on."""
        self._last_words = command

    @property
    def is_silent(self) -> bool:
        """Whether new connections are half open, too."""
        return self._is_deaf

    def speak(self) -> None:
        """Let new connections work again."""
        self._is_deaf = False

    def close(self) -> None:
        """Close everything."""
        self._listener.close()
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_deaf:
                self._sockets += [client, client]
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(
                    target=self._pass_on, args=(source, sink, self._speaks), daemon=True
                ).start()

    def _pass_on(
        self, source: socket.socket, sink: socket.socket, is_over: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self._last_words and self._last_words in data:
                    self._last_words = b""
                    self.silence(new_ones_too=True)
                if is_over.is_set():
                    return
                sink.sendall(data)
            if not is_over.is_set():
                # One that closes does so for both ways.
                sink.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def silent_proxy(port: int) -> Iterator[SilentProxy]:
    """Run a proxy in front of a port on loopback."""
    proxy = SilentProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
