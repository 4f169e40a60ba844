"""Broken set-ups for ``test_doctor``: real parts are broken, and repaired again."""

from __future__ import annotations

import json
import os
import select
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import pytest

from tasks.config.trust import BUNDLES
from tasks.intake.envelope import make_body, sign
from tests.docker.certificate import make_certificate
from tests.farm import Farm
from tests.helpers.raw_server import raw_server
from tests.sandbox import RedisServer
from tests.sandbox.process import CLOSED_PORT
from workers.health import VERSION

Env: TypeAlias = Mapping[str, str | None]
#: Breaks a farm, with a folder for files; yields the environment in which doctor runs.
Arrange: TypeAlias = Callable[[Farm, Path], AbstractContextManager[Env]]


@dataclass(frozen=True)
class SetUp:
    """How a farm is broken, and the one finding that doctor must yield for it."""

    level: str
    what: str
    says: str
    next: str
    arrange: Arrange
    options: tuple[str, ...] = ()


def unsigned_entry(age_s: float) -> bytes:
    """Return an entry that a hook has pushed so many seconds ago."""
    return sign(make_body([], time.time() - age_s, "node7"), [])


def many_hosts(farm: Farm) -> None:
    """Let node-local uploads wait on 20 hosts that do not exist."""
    for number in range(20):
        farm.redis.sadd("farmhaul:hosts", f"inv{number}")
        farm.redis.zadd(f"farmhaul:pending:inv{number}", {"some upload": time.time() * 1000})


def note_worker(client: Any, name: str = "w1@node7", version: str = VERSION) -> None:
    """Write the notes of a worker that takes tasks."""
    now, _ = client.time()
    client.zadd("farmhaul:workers", {name: now})
    client.zadd("farmhaul:alive", {f"{version} {name}": now})


def given(**env: str | None) -> Arrange:
    """Set environment variables; TMP stands for an empty folder."""

    @contextmanager
    def arrange(_farm: Farm, folder: Path) -> Iterator[Env]:
        yield {name: value and value.replace("TMP", str(folder)) for name, value in env.items()}

    return arrange


@contextmanager
def fifo_in_the_spool(_farm: Farm, folder: Path) -> Iterator[Env]:
    """Make a FIFO where hooks leave manifests."""
    os.mkfifo(folder / "manifests")
    yield {"FARMHAUL_SPOOL": str(folder)}


@contextmanager
def spool_in_a_folder_of_others(_farm: Farm, folder: Path) -> Iterator[Env]:
    """Name a folder with other files, in which others may write."""
    (folder / "notes.txt").touch()
    folder.chmod(0o775)
    yield {"FARMHAUL_SPOOL": str(folder)}


def done(break_it: Callable[[Farm], object]) -> Arrange:
    """Do something to the farm, or to its Redis."""

    @contextmanager
    def arrange(farm: Farm, _folder: Path) -> Iterator[Env]:
        break_it(farm)
        yield {}

    return arrange


@contextmanager
def proxy_that_closes(_farm: Farm, _folder: Path) -> Iterator[Env]:
    """Send calls of ftrack through a proxy that closes each connection without an answer."""
    with raw_server(lambda _connection: None) as server:
        yield {"http_proxy": f"http://u:hunter2@127.0.0.1:{server.port}", "no_proxy": ""}


def redis_with(break_it: Callable[[Any], object]) -> Arrange:
    """Start another Redis, and do something to it."""

    @contextmanager
    def arrange(_farm: Farm, folder: Path) -> Iterator[Env]:
        server = RedisServer(folder / "redis", password="hunter2")
        server.start()
        try:
            with server.client() as client:
                note_worker(client)
                break_it(client)
            yield {"FARMHAUL_REDIS_URL": server.url}
        finally:
            server.stop()

    return arrange


def redis_by(address: str = "127.0.0.1", replace: tuple[bytes, bytes] = (b"", b"")) -> Arrange:
    """Put a proxy before the farm's Redis, at another address, or one that changes responses."""

    @contextmanager
    def arrange(farm: Farm, _folder: Path) -> Iterator[Env]:
        target = urlsplit(farm.env["FARMHAUL_REDIS_URL"])

        class Forward(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", target.port or 0)) as other:
                    ends = {self.request: other, other: self.request}
                    while ready := select.select([*ends], [], [], 10)[0]:
                        for end in ready:
                            if not (said := end.recv(65536)):
                                return
                            ends[end].sendall(said.replace(*replace) if replace[0] else said)

        with socketserver.ThreadingTCPServer((address, 0), Forward) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            port = server.server_address[1]
            yield {"FARMHAUL_REDIS_URL": target._replace(netloc=f"{address}:{port}").geturl()}
            server.shutdown()
            thread.join()

    return arrange


def other_clock(late_s: float) -> Arrange:
    """Let this node's clock be late."""

    @contextmanager
    def arrange(_farm: Farm, _folder: Path) -> Iterator[Env]:
        clock = SimpleNamespace(time=lambda: time.time() - late_s, perf_counter=time.perf_counter)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("workers.doctor.finding.time", clock)
            yield {}

    return arrange


def hanging(call: str) -> Arrange:
    """Let what looks at a folder hang, as if the server of an NFS mount were gone."""

    @contextmanager
    def arrange(_farm: Farm, folder: Path) -> Iterator[Env]:
        answer = threading.Event()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("workers.doctor.node.ANSWERS_WITHIN_S", 0.1)
            patch.setattr(f"workers.doctor.node.{call}", lambda *_: answer.wait())
            yield {"FARMHAUL_SPOOL": str(folder)}
        answer.set()

    return arrange


def media_at(url: str) -> Callable[[Farm], object]:
    """Let ftrack sign a URL of another host than its store."""
    body = json.dumps([{"url": f"{url}/a?X-Amz-Signature=hunter2", "headers": {}}])
    return lambda farm: farm.sandbox.faults.add(
        "ftrack", "junk", action="get_upload_metadata", body=body
    )


@contextmanager
def no_name(farm: Farm, _folder: Path) -> Iterator[Env]:
    """Let no name server know the media host."""
    known = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == "media.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known(host, *arguments, **options)

    media_at("https://media.example")(farm)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", look_up)
        yield {}


@contextmanager
def unknown_authority(farm: Farm, folder: Path) -> Iterator[Env]:
    """Let an authority that this node does not know sign the media host's certificate."""
    make_certificate(["127.0.0.1"], folder / "ca.pem", folder / "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")

    class Answer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                suppress(ssl.SSLError),
                context.wrap_socket(self.request, server_side=True) as secure,
            ):
                secure.recv(65536)
                secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with socketserver.TCPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        media_at(f"https://127.0.0.1:{server.server_address[1]}")(farm)
        yield dict.fromkeys(BUNDLES)
        server.shutdown()
        thread.join()


@contextmanager
def system_authority(farm: Farm, folder: Path) -> Iterator[Env]:
    """Let an authority sign it that only the operating system knows."""
    with pytest.MonkeyPatch.context() as patch, unknown_authority(farm, folder) as env:
        patch.setattr("tasks.config.trust.SYSTEM_BUNDLES", (str(folder / "ca.pem"),))
        yield env


def nowhere() -> str:
    """Return an address at which nothing listens."""
    return f"127.0.0.1:{CLOSED_PORT}"
