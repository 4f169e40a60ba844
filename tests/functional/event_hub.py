"""A stand-in for ftrack's event hub: Socket.IO 0.9 on one port, with the standard library alone.

It forwards all other requests to the stand-in for ftrack's API, since both are one server.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


class EventHub:
    """Record what is published; ``away``, ``refuse`` and ``silent`` are faults."""

    def __init__(self, api_url: str = "") -> None:
        self.api_url = api_url
        self.away = False
        self.refuse = False
        self.silent = False
        self.heartbeats = 0
        self.handshakes: list[dict[str, str]] = []
        self.events: list[dict[str, Any]] = []
        self.sockets: list[Any] = []
        hub = self

        class Handler(_Handler):
            owner = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.hang_up()

    def hang_up(self) -> None:
        """End all connections, as a restart does."""
        while self.sockets:
            self.sockets.pop().close()

    @property
    def component_ids(self) -> list[str]:
        return [event["data"]["component_id"] for event in self.events]


class _Handler(BaseHTTPRequestHandler):
    owner: EventHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if not self.path.startswith("/socket.io/1/"):
            self._forward()
        elif self.owner.away:
            self._answer(503, b"")
        elif self.headers.get("Upgrade", "").lower() == "websocket":
            self._talk()
        else:
            self.owner.handshakes.append(dict(self.headers))
            self._answer(200, b"a-session:60:60:websocket,xhr-polling")

    def do_POST(self) -> None:
        self._forward()

    def _answer(self, status: int, body: bytes, content_type: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        api = http.client.HTTPConnection(urlsplit(self.owner.api_url).netloc)
        try:
            api.request(self.command, self.path, body, dict(self.headers))
            answer = api.getresponse()
            kind = answer.getheader("Content-Type", "")
            self._answer(answer.status, answer.read(), kind)
        finally:
            api.close()

    def _talk(self) -> None:
        self.close_connection = True
        key = self.headers["Sec-WebSocket-Key"].encode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest())
        self.send_header("Sec-WebSocket-Accept", accept.decode())
        self.end_headers()
        self.owner.sockets.append(_Closer(self.connection))
        self._send("1::")
        self._send("2::")
        try:
            while (packet := self._receive()) is not None:
                self._packet(packet)
        except OSError:
            pass

    def _packet(self, packet: str) -> None:
        kind, number, _, data = (*packet.split(":", 3), "", "")[:4]
        if kind == "2":
            self.owner.heartbeats += 1
        elif kind == "5" and not self.owner.silent:
            message = json.loads(data)
            assert message["name"] == "ftrack.event"
            success = not self.owner.refuse
            if success:
                self.owner.events += message["args"]
            self._send(f"6:::{number}{json.dumps([{'success': success}])}")

    def _send(self, text: str) -> None:
        payload = text.encode()
        assert len(payload) < 126, "one short frame"
        self.wfile.write(bytes([0x81, len(payload)]) + payload)

    def _receive(self) -> str | None:
        """Return the next text frame (RFC 6455, section 5.2); None at the end."""
        head = self.rfile.read(2)
        if len(head) < 2 or head[0] & 0x0F == 8:
            return None
        length = head[1] & 0x7F
        if length == 126:
            [length] = struct.unpack(">H", self.rfile.read(2))
        mask = self.rfile.read(4)
        masked = self.rfile.read(length)
        return bytes(byte ^ mask[n % 4] for n, byte in enumerate(masked)).decode()


class _Closer:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(2)
