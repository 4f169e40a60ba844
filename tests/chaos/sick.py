"""Poison uploads of each kind, and bad nodes of each kind that join a busy farm and leave it.

Meanwhile the good nodes are killed and started again. ``python -m tests.chaos --sick`` runs it. All
other uploads must be located, none may fail, a bad node may try each but once, and it must be named
while it is there.
"""

from __future__ import annotations

import json
import random
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet

from tasks.config.sealing import Codec
from tasks.records.nodes import NodeFault
from tasks.records.states import STAGES
from tasks.records.status import Status
from tests.chaos.bad_nodes import BAD_NODES, OPTIONS, REFUSES, ROOTS, WORKS, bad_node
from tests.chaos.healing import let_time_pass
from tests.chaos.invariants import sent_to_and_fro
from tests.farm import Farm, Upload, Worker
from tests.helpers.fuse import can_mount
from tests.sandbox import Sandbox

HTML = {"body": "<html><body>refused</body></html>"}
THROTTLED = "<Error><Code>KMS.ThrottlingException</Code></Error>"
#: What is answered for one component, each time: faults as ``sandbox.faults.add`` takes them.
POISONS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "ftrack: 500": (("ftrack", "status", 500), {}),
    "ftrack: 500 when it is located": (("ftrack", "status", 500), {"action": "create"}),
    "ftrack: 500 after it was located": (
        ("ftrack", "status", 500),
        {"action": "create", "done": True},
    ),
    "ftrack: located after a 504": (("ftrack", "late_s", 1), {"action": "create"}),
    "ftrack: ServerError": (("ftrack", "error", "ServerError"), {}),
    "ftrack: 429": (("ftrack", "status", 429), {"headers": {"Retry-After": "1"}}),
    "ftrack: a page with 403": (("ftrack", "status", 403), HTML),
    "ftrack: junk": (("ftrack", "junk"), {}),
    "ftrack: other JSON": (("ftrack", "junk"), {"body": "[]"}),
    "ftrack: a lost answer": (("ftrack", "lost_answer"), {"action": "get_upload_metadata"}),
    "ftrack: a reset": (("ftrack", "reset"), {}),
    "ftrack: a long wait": (("ftrack", "latency_s", 3), {}),
    "ftrack: expired URLs": (("ftrack", "url_lifetime_s", 0), {}),
    "ftrack: URLs that last too long": (("ftrack", "url_lifetime_s", 8 * 86400), {}),
    # They are signed with a key that the store does not know, which their dates do not tell.
    "ftrack: URLs that are refused": (("ftrack", "url_lifetime_s", -3600), {}),
    "credentials": (("ftrack", "error", "InvalidCredentialsError"), {}),
    "store: 500": (("store", "status", 500), {}),
    "store: a page with 403": (("store", "status", 403), HTML),
    "store: a page with 404": (("store", "status", 404), HTML),
    "store: a redirect": (("store", "status", 302), {"headers": {"Location": "/login"}}),
    "store: throttled": (("store", "status", 400), {"body": THROTTLED}),
    "store: a lost answer": (("store", "lost_answer"), {}),
    "store: a reset": (("store", "reset"), {"after_bytes": 5000}),
    "store: a stall": (("store", "stall", 3), {"after_bytes": 5000}),
    "store: a long wait": (("store", "latency_s", 3), {}),
    "store: a slow line": (("store", "bandwidth_bytes_s", 2000), {}),
    "store: other bytes": (("store", "bad_digest"), {}),
    "store: another ETag": (("store", "etag", "0" * 32), {}),
}
#: Those that an upload survives, perhaps after several tries.
PASSING = {
    kind for kind in POISONS if any(word in kind for word in ("wait", "stall", "after", "slow"))
}

GOOD_NODES = 2
#: So many bad nodes are there at once.
WAVE = 9
#: From their start, which takes longer the more start at once.
NAMED_WITHIN_S = 120.0
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
        self.kinds = [one for one in BAD_NODES if one != "a stale mount" or can_mount()]
        self.named: list[str] = []
        self.wrong: list[str] = []
        self.bad: set[str] = set()
        self.tries = 0
        self.kills = 0
        self._ends = threading.Event()

    def run(self, seconds: float) -> list[str]:
        """Let a bad node of each kind join and leave, several at once, for so many seconds."""
        end = time.monotonic() + seconds
        for upload, kind in zip(self._load(len(POISONS)), POISONS, strict=True):
            self.poisons[kind] = upload
        order = random.Random(self.dice.random())  # the threads share the dice
        loading = threading.Thread(target=self._keep_loading, name="load")
        killing = threading.Thread(target=self._keep_killing, name="kills")
        loading.start()
        killing.start()
        try:
            while True:
                kinds = order.sample(self.kinds, len(self.kinds))
                for first in range(0, len(kinds), WAVE):
                    self._join_and_leave(kinds[first : first + WAVE])
                if time.monotonic() > end:
                    break
        finally:
            self._ends.set()
            loading.join()
            killing.join()
        self._wait_located()
        self._count_tries()
        self.wrong += sent_to_and_fro(self.farm.folder)
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
            worker = self.dice.choice(self.farm.workers[:GOOD_NODES])
            worker.kill("child" if self.dice.random() < 0.5 and worker.pool_pids() else "group")
            self.kills += 1
            if not worker.alive:
                worker.launch()
                worker.wait_ready()

    def _join_and_leave(self, kinds: Sequence[str]) -> None:
        """Let nodes of these kinds join at once, and leave when each is named."""
        with ExitStack() as troubles:
            nodes: dict[str, Worker] = {}
            for kind in kinds:
                bad = bad_node(kind, self.farm.sandbox, self.folder)
                env, options = troubles.enter_context(bad)
                nodes[kind] = self.farm.add(env=env, options=[*OPTIONS, *options], wait=False)
                self.bad.add(full_name(nodes[kind]))
            unnamed, until = {*kinds}, time.monotonic() + NAMED_WITHIN_S
            while unnamed and time.monotonic() < until:
                time.sleep(0.2)
                faults = self._faults()
                self._check_good(faults)
                for kind in sorted(unnamed):
                    if said := self._said(nodes[kind], BAD_NODES[kind], faults):
                        self.named.append(f"{kind}: {said}")
                        unnamed.remove(kind)
            self.wrong += [f"a node with {one} was not named: {faults}" for one in sorted(unnamed)]
            for node in nodes.values():
                node.terminate()
            for node in nodes.values():
                node.stop()
                self.farm.workers.remove(node)

    def _faults(self) -> list[NodeFault]:
        """Return what is wrong with each node that is named."""
        secret = self.farm.env["FARMHAUL_SECRET_KEY"]
        return Status(self.farm.redis, Codec([secret])).node_faults()

    def _said(self, node: Worker, what: str, faults: Sequence[NodeFault]) -> str:
        """Return what a bad node is named for, or that it works; empty until then."""
        if what == REFUSES:
            return node.log_text().strip() if node.returncode == 2 else ""
        if what == WORKS:
            return what if self.farm.redis.exists(f"farmhaul:answers:{full_name(node)}") else ""
        found = (one.why for one in faults if (one.name, one.what) == (full_name(node), what))
        return next(found, "")

    def _check_good(self, faults: Sequence[NodeFault]) -> None:
        good = {full_name(node) for node in self.farm.workers[:GOOD_NODES]}
        # After three poisons in a row, a good node waits for a moment too: it is held.
        # And one whose processes are killed all the time, as its are here, is named for that.
        named = [
            one
            for one in faults
            if one.name in good
            and one.extent != "held"
            and (one.extent != "some" or one.what not in STAGES)
        ]
        self.wrong += [f"the good node {one.name} was named: {one.why}" for one in named]

    def _wait_located(self) -> None:
        ids = [upload.id for upload in self.uploads]
        end = time.monotonic() + LOCATED_WITHIN_S
        while set(states := self.farm.states(ids)) != {"located"} and time.monotonic() < end:
            let_time_pass(self.farm.redis)
            time.sleep(3)  # poisons that are tried all the time would keep the gates closed
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

    def _count_tries(self) -> None:
        """Find what a bad node has tried twice: others could do it."""
        for upload in self.uploads:
            log = json.loads(self.farm.record(upload.id).get("log", "[]"))
            tries = Counter(node for _, _, node, *_ in log if node in self.bad)
            self.tries += tries.total()
            self.wrong += [
                f"{node} has tried {upload.id} {count} times: {log}"
                for node, count in tries.items()
                if count > 1
            ]

    def _record(self, kind: str) -> dict[str, str]:
        return self.farm.record(self.poisons[kind].id)


def full_name(worker: Worker) -> str:
    return f"{worker.name}@{socket.gethostname()}"


def run_sick(folder: Path, seed: str, seconds: float) -> Sick:
    """Run it on a sandbox of its own, in a folder; what is wrong is in ``wrong`` afterwards."""
    with Sandbox.start(folder / "sandbox") as sandbox:
        env = {
            "FARMHAUL_SECRET_KEY": Fernet.generate_key().decode(),
            "FARMHAUL_LEASE_SECONDS": "4",
            "FTRACK_SERVER": sandbox.env["FTRACK_SERVER"].replace("127.0.0.1", "localhost"),
        }
        with Farm(sandbox, folder / "workers", GOOD_NODES, options=OPTIONS, env=env) as farm:
            sick = Sick(farm, folder, random.Random(seed))
            sick.run(seconds)
    if not sick.wrong:
        shutil.rmtree(folder)
    return sick
