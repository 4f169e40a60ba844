"""Somebody on the network who answers in the place of ftrack or of the store, with TLS."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tasks.transfer.errors import UploadError
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.get import get_file
from tasks.transfer.lookup import ComponentFile
from tasks.transfer.models import FileIdentity, SignedPut, Transfer
from tasks.transfer.put import put_file, store_session
from tasks.transfer.targets import Target, derived_id
from tests.docker.certificate import make_certificate

ID = derived_id("component")


@contextmanager
def impostor(folder: Path, name: str) -> Iterator[tuple[str, list[str]]]:
    """Serve with a certificate for this name; yield the URL, and what is asked."""
    heard: list[str] = []

    class Hears(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.requestline)
            self.send_error(403)

        do_POST = do_PUT = do_GET  # noqa: N815 names of http.server

        def log_message(self, *_: object) -> None:
            pass

    make_certificate([name], folder / "ca.pem", folder / "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), Hears) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}", heard
        server.shutdown()
        thread.join()


def ask_everything(url: str, folder: Path) -> None:
    """Call ftrack, send a file, and fetch one; each is refused."""
    client = FtrackClient(url, "farm", "an-api-key")
    with client.session, pytest.raises(UploadError):
        client.call([{"action": "query"}])
    path = folder / "f.exr"
    path.write_bytes(b"pixels")
    status = path.stat()
    identity = FileIdentity(6, status.st_mtime_ns, status.st_ino, status.st_dev)
    signed = SignedPut(f"{url}/key", {})
    transfer = Transfer(
        ID, Target(ID), str(path), identity=identity, checksum="A" * 22 + "==", signed=signed
    )
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with store_session(1) as session:
            with pytest.raises(UploadError):
                put_file(transfer, session, [str(folder)])
            with pytest.raises(UploadError):
                get_file(ComponentFile(ID, "g.exr"), opened, lambda _: f"{url}/key", session)
    finally:
        os.close(opened)


@pytest.mark.parametrize("trusted", [False, True], ids=["unknown authority", "another name"])
def test_a_server_with_another_certificate_is_told_nothing(
    trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path.resolve()
    with impostor(folder, "elsewhere.example" if trusted else "127.0.0.1") as (url, heard):
        if trusted:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(folder / "ca.pem"))
        ask_everything(url, folder)
        assert heard == []


def test_a_server_with_its_certificate_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the test above would show nothing."""
    folder = tmp_path.resolve()
    with impostor(folder, "127.0.0.1") as (url, heard):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(folder / "ca.pem"))
        ask_everything(url, folder)
        assert [line.partition(" ")[0] for line in heard] == ["POST", "PUT", "GET"]
