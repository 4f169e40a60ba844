"""Redis' protocol (RESP2), as far as a hook needs it: few commands, and strictly read replies.

https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

from tasks.intake.deadline import Deadline

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from _socket import socket
    from collections.abc import Iterable

#: What another server than Redis does, such as a web server at the same port.
NOT_REDIS = "it does not answer as Redis does"
#: A reply to a hook is a state, a host or an error. More than this is not from Redis.
MAX_LINE = 1024
MAX_BULK = 1024
MAX_ITEMS = 16
MAX_CODE = 20
MAX_DIGITS = 19
_BLOCK = 65_536


class RefusalError(Exception):
    """Redis answered a command with an error.

    ``text`` is Redis' own. It may repeat what the command said, so it is never shown. ``code`` is
    its first word, such as NOAUTH.
    """

    def __init__(self, command: str, text: str) -> None:
        super().__init__(command)
        self.command = command
        self.text = text
        code = text.partition(" ")[0]
        is_code = code.isascii() and code.isalpha() and code.isupper() and 1 < len(code) <= MAX_CODE
        self.code = code if is_code else ""


class NotRedisError(OSError):
    """What answers is not Redis."""


def command(*words: bytes | str) -> bytes:
    """Return a command as Redis reads it."""
    encoded = [word.encode() if isinstance(word, str) else word for word in words]
    parts = [b"*%d\r\n" % len(encoded)]
    for word in encoded:
        parts += (b"$%d\r\n" % len(word), word, b"\r\n")
    return b"".join(parts)


class Connection:
    """A connected socket, on which all ends by a deadline.

    All methods raise OSError when the other side is gone, and TimeoutError or, before Python
    3.10, socket.timeout at the deadline; both are an OSError too.
    """

    def __init__(self, connected: socket | ssl.SSLSocket, deadline: Deadline) -> None:
        self.socket = connected
        self.deadline = deadline
        self._received = b""

    def send(self, commands: Iterable[bytes]) -> None:
        """Send all commands at once."""
        data = memoryview(b"".join(commands))
        while data:
            self.socket.settimeout(self.deadline.left_s())
            # In blocks, because the deadline of TLS is one of each call.
            data = data[self.socket.send(data[:_BLOCK]) :]

    def status(self, name: str) -> None:
        """Read the reply OK to the command of this name.

        Raises:
            RefusalError: it is an error.
            NotRedisError: it is something else.
        """
        if self._first(name, b"+") != b"OK":
            raise NotRedisError(NOT_REDIS)

    def refusal(self, name: str) -> RefusalError | None:
        """Read the reply OK, or return the refusal; else as ``status``."""
        try:
            self.status(name)
        except RefusalError as refusal:
            return refusal
        return None

    def integer(self, name: str) -> int:
        """Read a number that is not negative; raises as ``status``."""
        return _number(self._first(name, b":"), 1 << 63)

    def text(self, name: str) -> str | None:
        """Read a text, or None where there is none; raises as ``status``."""
        size = self._first(name, b"$")
        if size == b"-1":
            return None
        data = self._take(_number(size, MAX_BULK))
        if self._take(2) != b"\r\n":
            raise NotRedisError(NOT_REDIS)
        return data.decode("utf-8", "replace")

    def texts(self, name: str) -> list[str | None] | None:
        """Read a list of texts, or None where there is none; raises as ``status``."""
        size = self._first(name, b"*")
        if size == b"-1":
            return None
        return [self.text(name) for _ in range(_number(size, MAX_ITEMS))]

    def _first(self, name: str, kind: bytes) -> bytes:
        line = self._line()
        if line[:1] == b"-":
            raise RefusalError(name, line[1:].decode("utf-8", "replace"))
        if line[:1] != kind:
            raise NotRedisError(NOT_REDIS)
        return line[1:]

    def _line(self) -> bytes:
        while b"\r\n" not in self._received[:MAX_LINE]:
            if len(self._received) >= MAX_LINE:
                raise NotRedisError(NOT_REDIS)
            self._receive()
        line, _, self._received = self._received.partition(b"\r\n")
        return line

    def _take(self, size: int) -> bytes:
        while len(self._received) < size:
            self._receive()
        data, self._received = self._received[:size], self._received[size:]
        return data

    def _receive(self) -> None:
        self.socket.settimeout(self.deadline.left_s())
        block = self.socket.recv(4096)
        if not block:
            raise ConnectionResetError("it closed the connection")
        self._received += block


def _number(text: bytes, most: int) -> int:
    # bytes.isdigit knows the digits of ASCII alone.
    if not text.isdigit() or len(text) > MAX_DIGITS or int(text) > most:
        raise NotRedisError(NOT_REDIS)
    return int(text)
