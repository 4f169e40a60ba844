"""Poison uploads of each kind, and bad nodes of each kind that join a busy farm and leave it.

Meanwhile the good nodes are killed and started again. ``python -m tests.chaos --sick`` runs it. All
other uploads must be located, none may fail, and each bad node must be named while it is there.
"""

from __future__ import annotations

import random
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet

from tasks.config.sealing import Codec
from tasks.records.status import Status
from tests.chaos.healing import let_time_pass
from tests.docker.certificate import make_certificate
from tests.farm import Farm, Upload, Worker
from tests.helpers.fuse import mounted
from tests.helpers.raw_server import raw_server
from tests.helpers.tls_front import tls_front
from tests.sandbox import Sandbox
from tests.sandbox.process import CLOSED_PORT

HTML = {"body": "<html><body>refused</body></html>"}
#: What is answered for one component, each time: faults as ``sandbox.faults.add`` takes them.
POISONS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "ftrack: 500": (("ftrack", "status", 500), {}),
    "ftrack: 500 when it is located": (("ftrack", "status", 500), {"action": "create"}),
    "ftrack: 500 after it was located": (
        ("ftrack", "status", 500),
        {"action": "create", "done": True},
    ),
    "ftrack: ServerError": (("ftrack", "error", "ServerError"), {}),
    "ftrack: 429": (("ftrack", "status", 429), {"headers": {"Retry-After": "1"}}),
    "ftrack: a page with 403": (("ftrack", "status", 403), HTML),
    "ftrack: junk": (("ftrack", "junk"), {}),
    "ftrack: other JSON": (("ftrack", "junk"), {"body": "[]"}),
    "ftrack: a lost answer": (("ftrack", "lost_answer"), {"action": "get_upload_metadata"}),
    "ftrack: a reset": (("ftrack", "reset"), {}),
    "ftrack: a long wait": (("ftrack", "latency_s", 3), {}),
    "ftrack: expired URLs": (("ftrack", "url_lifetime_s", 0), {}),
    "credentials": (("ftrack", "error", "InvalidCredentialsError"), {}),
    "store: 500": (("store", "status", 500), {}),
    "store: a page with 403": (("store", "status", 403), HTML),
    "store: a page with 404": (("store", "status", 404), HTML),
    "store: a lost answer": (("store", "lost_answer"), {}),
    "store: a reset": (("store", "reset"), {"after_bytes": 5000}),
    "store: a stall": (("store", "stall", 3), {"after_bytes": 5000}),
    "store: a long wait": (("store", "latency_s", 3), {}),
    "store: other bytes": (("store", "bad_digest"), {}),
    "store: another ETag": (("store", "etag", "0" * 32), {}),
}
#: Those that an upload survives, perhaps after several tries.
PASSING = {kind for kind in POISONS if "wait" in kind or "stall" in kind or "after" in kind}

#: What becomes of a bad node that is not named: it does not start and says why, or it works.
REFUSES, WORKS = "exits with 2", "takes uploads"
#: Bad nodes, with what they are named for.
BAD_NODES = {
    "a revoked API key": "ftrack",
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
    "a SOCKS proxy": REFUSES,
    "no DNS": "ftrack",
    "no DNS for the store": "store",
    "an unknown authority": "ftrack",
    "a CA file that is gone": REFUSES,
    "a log on a full disk": WORKS,
    "another version": "version",
}
#: Below the storage root; a bad node may lack one.
ROOTS = ("left", "right")
NAMED_WITHIN_S = 60.0
LOCATED_WITHIN_S = 120.0


def poison(farm: Farm, upload: Upload, kind: str) -> None:
    """Have the sandbox answer so for an upload, each time."""
    arguments, conditions = POISONS[kind]
    farm.sandbox.faults.add(*arguments, component_id=upload.component_id, **conditions)


@dataclass
class Sick:
    """A farm under load, with poisons and bad nodes; ``run`` returns the violations."""

    farm: Farm
    folder: Path
    dice: random.Random

    def __post_init__(self) -> None:
        self.uploads: list[Upload] = []
        self.poisons: dict[str, Upload] = {}
        self.named: list[str] = []
        self.wrong: list[str] = []
        self.kills = 0
        self._ends = threading.Event()

    def run(self, seconds: float, kinds: Sequence[str]) -> list[str]:
        """Let bad nodes of these kinds join and leave; go on for at least so many seconds."""
        end = time.monotonic() + seconds
        for upload, kind in zip(self._load(len(POISONS)), POISONS, strict=True):
            self.poisons[kind] = upload
        loading = threading.Thread(target=self._keep_loading, name="load")
        killing = threading.Thread(target=self._keep_killing, name="kills")
        loading.start()
        killing.start()
        try:
            while True:
                for kind in kinds:
                    self._join_and_leave(kind)
                if time.monotonic() > end:
                    break
        finally:
            self._ends.set()
            loading.join()
            killing.join()
        self._wait_located()
        return self.wrong

    def _load(self, count: int) -> list[Upload]:
        """Enqueue files in both roots; the first ones are poisoned if there are no poisons yet."""
        rows = []
        for number in range(count):
            folder = f"{ROOTS[number % 2]}/{self.dice.getrandbits(48):x}"
            path = self.farm.make_file(f"main.{number:04}.exr", 20_000, folder)
            rows.append((path, self.farm.sandbox.ftrack.add_component()))
        if not self.poisons:
            for kind, (path, component_id) in zip(POISONS, rows, strict=True):
                poison(self.farm, Upload("", component_id, path), kind)
        entries = [{"path": str(path), "component_id": one} for path, one in rows]
        made = self.farm.enqueue_manifest(entries)
        return [
            Upload(str(one["upload_id"]), component_id, path)
            for one, (path, component_id) in zip(made, rows, strict=True)
        ]

    def _keep_loading(self) -> None:
        while not self._ends.wait(0.3):
            self.uploads += self._load(30)

    def _keep_killing(self) -> None:
        """Kill a good node, or one of its processes, now and then, and start it again."""
        while not self._ends.wait(self.dice.uniform(4, 9)):
            worker = self.dice.choice(self.farm.workers[:2])
            worker.kill("child" if self.dice.random() < 0.5 and worker.pool_pids() else "group")
            self.kills += 1
            if not worker.alive:
                worker.launch()
                worker.wait_ready()

    def _join_and_leave(self, kind: str) -> None:
        with bad_node(kind, self.farm.sandbox, self.folder) as (env, options):
            worker = self.farm.add(env=env, options=[*OPTIONS, *options], wait=False)
            look = {REFUSES: self._refuses, WORKS: self._works}.get(BAD_NODES[kind], self._is_named)
            until = time.monotonic() + NAMED_WITHIN_S
            while not (said := look(worker, BAD_NODES[kind])) and time.monotonic() < until:
                time.sleep(0.2)
            if said:
                self.named.append(f"{kind}: {said}")
            else:
                self.wrong.append(f"a node with {kind} was not named: {self._faults()}")
            good = [worker.name for worker in self.farm.workers[:2]]
            for name, _ in self._faults():
                if name in good:
                    self.wrong.append(f"the good node {name} was named next to one with {kind}")
            worker.stop()
            self.farm.workers.remove(worker)

    def _faults(self) -> dict[tuple[str, str], str]:
        """Return why each node that is named is, by its name and what is wrong with it."""
        status = Status(self.farm.redis, Codec([self.farm.env["FARMHAUL_SECRET_KEY"]]))
        return {(f.name.partition("@")[0], f.what): f.why for f in status.node_faults()}

    def _is_named(self, worker: Worker, what: str) -> str:
        return self._faults().get((worker.name, what), "")

    def _refuses(self, worker: Worker, _: str) -> str:
        return worker.log_text().strip() if worker.returncode == 2 else ""

    def _works(self, worker: Worker, what: str) -> str:
        key = f"farmhaul:answers:{worker.name}@{socket.gethostname()}"
        return what if self.farm.redis.exists(key) else ""

    def _wait_located(self) -> None:
        ids = [upload.id for upload in self.uploads]
        end = time.monotonic() + LOCATED_WITHIN_S
        while set(states := self.farm.states(ids)) != {"located"} and time.monotonic() < end:
            let_time_pass(self.farm.redis)
            time.sleep(0.5)
        for upload, state in zip(self.uploads, states, strict=True):
            if state != "located":
                self.wrong.append(f"{upload.id} is {state}: {self.farm.record(upload.id)}")
        # Their errors are cleared while they are tried again.
        unnamed = self.poisons.keys() - PASSING
        while unnamed and time.monotonic() < end:
            let_time_pass(self.farm.redis)
            unnamed -= {kind for kind in unnamed if self._record(kind).get("error")}
            time.sleep(0.2)
        self.wrong += [
            f'the poison "{kind}" was not named: {self._record(kind)}' for kind in unnamed
        ]

    def _record(self, kind: str) -> dict[str, str]:
        return self.farm.record(self.poisons[kind].id)


OPTIONS = ("--concurrency=2", "--without-gossip", "--without-mingle")


@contextmanager
def bad_node(
    kind: str, sandbox: Sandbox, folder: Path
) -> Iterator[tuple[Mapping[str, str], Sequence[str]]]:
    """Yield the environment and the options of a bad node, with the proxy that it needs."""
    storage = str(sandbox.storage)
    with ExitStack() as servers:

        def answering(status: bytes) -> str:
            answer = b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status
            server = servers.enter_context(raw_server(lambda client: client.sendall(answer)))
            return f"http://127.0.0.1:{server.port}"

        server = sandbox.env["FTRACK_SERVER"].replace("127.0.0.1", "localhost")
        empty = folder / "empty"
        empty.mkdir(exist_ok=True)
        envs: dict[str, dict[str, str]] = {
            "a revoked API key": {"FTRACK_API_KEY": "revoked"},
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
            # PySocks, which requests needs for it, is not installed.
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
            "another version": ("-I", "tests.helpers.other_version"),
            "a log on a full disk": ("--logfile=/dev/full",),
        }
        yield env, options.get(kind, ())


def run_sick(folder: Path, seed: str, seconds: float, kinds: Sequence[str] = ()) -> Sick:
    """Run it on a sandbox of its own, in a folder; what is wrong is in ``wrong`` afterwards."""
    with Sandbox.start(folder / "sandbox") as sandbox:
        env = {
            "FARMHAUL_SECRET_KEY": Fernet.generate_key().decode(),
            "FARMHAUL_LEASE_SECONDS": "4",
            "FTRACK_SERVER": sandbox.env["FTRACK_SERVER"].replace("127.0.0.1", "localhost"),
        }
        with Farm(sandbox, folder / "workers", 2, options=OPTIONS, env=env) as farm:
            sick = Sick(farm, folder, random.Random(seed))
            sick.run(seconds, kinds or list(BAD_NODES))
    if not sick.wrong:
        shutil.rmtree(folder)
    return sick
