"""Bad nodes of each kind: with what they are started, and what they are named for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.fernet import Fernet

from tests.docker.certificate import make_certificate
from tests.helpers.fuse import mounted
from tests.helpers.raw_server import raw_server
from tests.helpers.tls_front import tls_front
from tests.sandbox import Sandbox
from tests.sandbox.process import CLOSED_PORT
from tests.sandbox.seed import GUEST_KEY, GUEST_USER

#: What becomes of a bad node that is not named: it does not start and says why, or it works.
REFUSES, WORKS = "exits with 2", "takes uploads"
#: Bad nodes, with what they are named for.
BAD_NODES = {
    "a revoked API key": "ftrack",
    "a user without rights": "ftrack",
    "another secret key": "records",
    "another root": "files",
    "an empty mount": "files",
    "a stale mount": "files",
    "a stale path map": "files",
    "a missing root": REFUSES,
    "one of two roots": "files",
    "a wrong clock": "clock",
    "another spelling of ftrack's URL": WORKS,
    "a proxy that is gone": "ftrack",
    "a proxy that refuses": "ftrack",
    "a proxy that answers 503": "ftrack",
    "a proxy that wants a login": "ftrack",
    "a proxy that refuses the store": "store",
    "a network that changes bytes": "store",
    "a SOCKS proxy": REFUSES,
    "no DNS": "ftrack",
    "no DNS for the store": "store",
    "an unknown authority": "ftrack",
    "a CA file that is gone": REFUSES,
    "a log on a full disk": WORKS,
    "a module that is gone": "put_file",
    "processes that are killed": "put_file",
    "older copies": "files",
    "another version": "version",
}
#: Below the storage root; a bad node may lack one.
ROOTS = ("left", "right")
#: What the store answers to bytes that differ from their Content-MD5.
BAD_DIGEST = b"<Error><Code>BadDigest</Code></Error>"
OPTIONS = ("--concurrency=2", "--without-gossip", "--without-mingle")


@contextmanager
def bad_node(
    kind: str, sandbox: Sandbox, folder: Path
) -> Iterator[tuple[Mapping[str, str], Sequence[str]]]:
    """Yield the environment and the options of a bad node, with the proxy that it needs."""
    storage = str(sandbox.storage)
    with ExitStack() as servers:

        def answering(status: bytes, body: bytes = b"") -> str:
            answer = b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
            answer %= status, len(body), body
            server = servers.enter_context(raw_server(lambda client: client.sendall(answer)))
            return f"http://127.0.0.1:{server.port}"

        server = sandbox.env["FTRACK_SERVER"].replace("127.0.0.1", "localhost")
        empty = folder / "empty"
        empty.mkdir(exist_ok=True)
        envs: dict[str, dict[str, str]] = {
            "a revoked API key": {"FTRACK_API_KEY": "revoked"},
            "a user without rights": {"FTRACK_API_USER": GUEST_USER, "FTRACK_API_KEY": GUEST_KEY},
            "another secret key": {"FARMHAUL_SECRET_KEY": Fernet.generate_key().decode()},
            "another root": {"FARMHAUL_STORAGE_ROOTS": str(empty)},
            "an empty mount": {
                "FARMHAUL_STORAGE_ROOTS": str(empty),
                "FARMHAUL_PATH_MAP": f"{storage}={empty}",
            },
            "one of two roots": {"FARMHAUL_STORAGE_ROOTS": f"{storage}/{ROOTS[0]}"},
            "a stale path map": {"FARMHAUL_PATH_MAP": f"{storage}={folder}/old"},
            "a missing root": {"FARMHAUL_STORAGE_ROOTS": f"{folder}/none"},
            "another spelling of ftrack's URL": {"FTRACK_SERVER": f"{server.upper()}/"},
            "no DNS": {"FTRACK_SERVER": "https://ftrack.invalid"},
            "no DNS for the store": {
                "NO_NAME_PORT": str(urlsplit(sandbox.store_url).port),
                "NO_NAME_WHILE": str(empty),
            },
            "a SOCKS proxy": {
                "all_proxy": f"socks5://127.0.0.1:{CLOSED_PORT}",
                "no_proxy": "127.0.0.1",
            },
            "a CA file that is gone": {"REQUESTS_CA_BUNDLE": f"{folder}/gone.pem"},
        }
        proxies = {
            "a proxy that is gone": lambda: f"http://127.0.0.1:{CLOSED_PORT}",
            "a proxy that refuses": lambda: answering(b"403 Forbidden"),
            "a proxy that answers 503": lambda: answering(b"503 Service Unavailable"),
            "a proxy that wants a login": lambda: answering(b"407 Login"),
            "a proxy that refuses the store": lambda: answering(b"403 Forbidden"),
            "a network that changes bytes": lambda: answering(b"400 Bad Request", BAD_DIGEST),
        }
        env = envs.get(kind, {})
        if (
            kind in proxies
        ):  # for one service alone: the farm calls ftrack and the store by two names
            direct = "localhost" if BAD_NODES[kind] == "store" else "127.0.0.1"
            env = {"http_proxy": proxies[kind](), "no_proxy": direct}
        if kind == "a stale mount":
            stale = folder / "root" / "show"  # not the root itself: that cannot be looked at
            stale.mkdir(parents=True, exist_ok=True)
            servers.enter_context(mounted(str(stale), "ESTALE"))
            env = {
                "FARMHAUL_STORAGE_ROOTS": str(stale.parent),
                "FARMHAUL_PATH_MAP": f"{storage}={stale}",
            }
        if kind == "an unknown authority":
            make_certificate(["localhost"], folder / "ca.pem", folder / "server.pem")
            port = urlsplit(sandbox.env["FTRACK_SERVER"]).port or 0
            port = servers.enter_context(tls_front(port, folder / "server.pem"))
            env = {"FTRACK_SERVER": f"https://localhost:{port}"}
        options = {
            "a wrong clock": ("-I", "tests.helpers.wrong_clock"),
            "no DNS for the store": ("-I", "tests.helpers.no_name"),
            "older copies": ("-I", "tests.helpers.older_copies"),
            "a module that is gone": ("-I", "tests.helpers.gone_module"),
            "processes that are killed": ("-I", "tests.helpers.kills_itself"),
            "another version": ("-I", "tests.helpers.other_version"),
            "a log on a full disk": ("--logfile=/dev/full",),
        }
        yield env, options.get(kind, ())
