"""Broken set-ups for ``test_doctor``: each is arranged with real parts, and undone again."""

from __future__ import annotations

import json
import select
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import pytest

from tests.docker.certificate import make_certificate
from tests.farm import Farm
from tests.sandbox import RedisServer
from tests.sandbox.process import CLOSED_PORT
from workers.health import VERSION

Env: TypeAlias = Mapping[str, str | None]
#: Breaks something of a farm, in a folder; gives the environment in which doctor runs.
Arrange: TypeAlias = Callable[[Farm, Path], AbstractContextManager[Env]]


@dataclass(frozen=True)
class SetUp:
    """How a farm is broken, and what doctor has to say of it, and of nothing else."""

    level: str
    what: str
    says: str
    next: str
    arrange: Arrange
    options: tuple[str, ...] = ()


def note_worker(client: Any, name: str = "w1@node7", version: str = VERSION) -> None:
    """Note what a worker notes that takes tasks."""
    now, _ = client.time()
    client.zadd("farmhaul:workers", {name: now})
    client.zadd("farmhaul:alive", {f"{version} {name}": now})


def given(**env: str | None) -> Arrange:
    """In this environment; TMP stands for a folder that is empty."""

    @contextmanager
    def arrange(_farm: Farm, folder: Path) -> Iterator[Env]:
        yield {name: value and value.replace("TMP", str(folder)) for name, value in env.items()}

    return arrange


def done(break_it: Callable[[Farm], object]) -> Arrange:
    """After something was done to the farm, or written into its Redis."""

    @contextmanager
    def arrange(farm: Farm, _folder: Path) -> Iterator[Env]:
        break_it(farm)
        yield {}

    return arrange


def redis_with(break_it: Callable[[Any], object]) -> Arrange:
    """With a Redis of its own, to which something was done."""

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
    """By a way to the farm's Redis that starts at another address, or changes its answers."""

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
    """On a node whose clock is late."""

    @contextmanager
    def arrange(_farm: Farm, _folder: Path) -> Iterator[Env]:
        clock = SimpleNamespace(time=lambda: time.time() - late_s, perf_counter=time.perf_counter)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("workers.doctor.finding.time", clock)
            yield {}

    return arrange


@contextmanager
def hanging_root(_farm: Farm, _folder: Path) -> Iterator[Env]:
    """A mount does not answer, as when the server of an NFS mount is gone."""
    answer = threading.Event()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.doctor.node.ROOT_TIMEOUT_S", 0.1)
        patch.setattr("workers.doctor.node._list", lambda _root: answer.wait())
        yield {}
    answer.set()


def media_at(url: str) -> Callable[[Farm], object]:
    """Have ftrack sign another URL than its store's."""
    body = json.dumps([{"url": f"{url}/a?X-Amz-Signature=hunter2", "headers": {}}])
    return lambda farm: farm.sandbox.faults.add(
        "ftrack", "junk", action="get_upload_metadata", body=body
    )


@contextmanager
def no_name(farm: Farm, _folder: Path) -> Iterator[Env]:
    """No name server knows the media host."""
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
    """The media host's certificate is signed by somebody whom this node does not know."""
    make_certificate(["127.0.0.1"], folder / "ca.pem", folder / "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")

    class Answer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with pytest.raises(ssl.SSLError):
                context.wrap_socket(self.request, server_side=True)

    with socketserver.TCPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        media_at(f"https://127.0.0.1:{server.server_address[1]}")(farm)
        yield {}
        server.shutdown()
        thread.join()


def nowhere() -> str:
    """A place where nobody listens."""
    return f"127.0.0.1:{CLOSED_PORT}"
