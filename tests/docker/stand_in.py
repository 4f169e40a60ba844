"""The sandbox's ftrack and store for other machines: ``python -m tests.docker.stand_in serve``.

The sandbox itself serves 127.0.0.1 on free ports and without TLS. Containers reach it as
another host, where farmhaul insists on TLS; so a door that speaks TLS stands before each
of the two, on a port that stays the same. Redis is not started: a container of its own is.
"""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.docker.certificate import make_certificate
from tests.sandbox import seed
from tests.sandbox.clients import Control, FaultsClient, StoreClient
from tests.sandbox.config import FrontConfig, FtrackConfig
from tests.sandbox.process import Child, accepts, free_ports, python_module
from tests.sandbox.seaweed import SeaweedServer

HOST = "sandbox"
FTRACK_PORT = 8443
STORE_PORT = 8444
DATA = Path("/var/lib/sandbox")
AUTHORITY = Path("/etc/farmhaul/ca/sandbox.pem")
#: The file that tells the commands of the sandbox where the servers are.
ADDRESSES = DATA / "addresses.json"
BLOCK_BYTES = 256 * 1024
USAGE = "python -m tests.docker.stand_in serve|check|stored|version|slow SECONDS|quick"


@dataclass(frozen=True)
class Addresses:
    """The servers behind the doors; each on 127.0.0.1."""

    front_port: int
    ftrack_port: int
    store_port: int
    seaweed_port: int

    @classmethod
    def load(cls) -> Addresses:
        return cls(**json.loads(ADDRESSES.read_text()))


async def serve() -> None:
    """Run until SIGTERM."""
    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder) / "server.pem"
        # First, because workers that start meanwhile look for it.
        make_certificate([HOST, "localhost", "127.0.0.1"], AUTHORITY, key)
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(key)
    ADDRESSES.unlink(missing_ok=True)
    addresses, children = _launch(DATA)
    try:
        doors = [
            await _open_door(FTRACK_PORT, addresses.front_port, tls),
            await _open_door(STORE_PORT, addresses.store_port, tls),
        ]
        # `check` looks for this file: the sandbox is ready now.
        ADDRESSES.write_text(json.dumps(addresses.__dict__))
        print(f"ftrack is at https://{HOST}:{FTRACK_PORT}", flush=True)
        await asyncio.gather(*(door.serve_forever() for door in doors))
    finally:
        for child in children:
            child.stop()


def _launch(folder: Path) -> tuple[Addresses, list[Child]]:
    seaweed = SeaweedServer(folder / "store")
    front_port, ftrack_port, store_port = free_ports(3)
    ftrack = FtrackConfig(
        port=ftrack_port,
        store_endpoint=seaweed.endpoint,
        # S3 signs the Host header, so URLs are signed for the address that clients use.
        signed_endpoint=f"https://{HOST}:{STORE_PORT}",
        url_lifetime_s=3600,
        encode_s=0.2,
        schemas=None,
        threads=8,
    )
    ftrack.save(folder / "ftrack.json")
    FrontConfig(front_port, ftrack_port, store_port, seaweed.port).save(folder / "front.json")
    children = [
        Child(
            name,
            python_module(f"tests.sandbox.{name}", str(folder / f"{name}.json")),
            folder / f"{name}.log",
        )
        for name in ("ftrack", "front")
    ]
    children[0].wait_ready(lambda: accepts(ftrack_port))
    children[1].wait_ready(lambda: accepts(front_port) and accepts(store_port))
    seaweed.wait_ready()
    return Addresses(front_port, ftrack_port, store_port, seaweed.port), children


async def _open_door(port: int, upstream_port: int, tls: ssl.SSLContext) -> asyncio.Server:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", upstream_port)
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

    return await asyncio.start_server(converse, "0.0.0.0", port, ssl=tls)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # If one side breaks off, the connection of the other side is closed.
    with suppress(OSError):
        while block := await reader.read(BLOCK_BYTES):
            writer.write(block)
            await writer.drain()
    writer.close()


def check() -> None:
    """Fail unless both doors are open and lead somewhere; for the health check."""
    Addresses.load()
    requests.get(
        f"https://localhost:{FTRACK_PORT}/sandbox/requests", verify=str(AUTHORITY), timeout=3
    ).raise_for_status()
    accepts(STORE_PORT)


def stored() -> dict[str, Any]:
    """Return the components in ftrack.server by id: name, and MD5 of the stored bytes."""
    addresses = Addresses.load()
    control = _control(addresses)
    store = StoreClient(control, f"http://127.0.0.1:{addresses.seaweed_port}")
    names = {
        component["id"]: f"{component['name']}{component['file_type'] or ''}"
        for component in control.call("GET", "entities/FileComponent")
    }
    located = control.call("GET", "entities/ComponentLocation")
    return {
        "locations": len(located),
        "files": {
            names[location["component_id"]]: store.md5(location["component_id"])
            for location in located
            if location["component_id"] in names
        },
    }


def _control(addresses: Addresses) -> Control:
    return Control(
        f"http://127.0.0.1:{addresses.front_port}", f"http://127.0.0.1:{addresses.ftrack_port}"
    )


def _faults() -> FaultsClient:
    return FaultsClient(_control(Addresses.load()))


def main() -> None:
    match sys.argv[1:]:
        case ["serve"]:
            # Docker sends SIGTERM; asyncio stops cleanly on KeyboardInterrupt.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            with suppress(KeyboardInterrupt):
                asyncio.run(serve())
        case ["check"]:
            check()
        case ["stored"]:
            print(json.dumps(stored()))
        case ["version"]:
            print(json.dumps(seed.VERSION_ID))
        case ["slow", latency_s]:
            print(json.dumps(_faults().add("store", "latency_s", float(latency_s))))
        case ["quick"]:
            _faults().clear()
            print(json.dumps(None))
        case _:
            raise SystemExit(f"usage: {USAGE}")


if __name__ == "__main__":
    main()
