"""The troubles of a mix: what happens to workers, Redis and messages, as a seed decides."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import redis

from tests.farm import Farm, Worker

#: How many of 100 troubles are of each kind.
WEIGHTS = {
    "kill_group": 12,
    "kill_parent": 8,
    "kill_child": 14,
    "kill_taking": 10,
    "freeze": 12,
    "stop_warmly": 6,
    "redis_kill": 8,
    "redis_restart": 6,
    "redis_pause": 8,
    "client_kill": 10,
    "lose_queue": 8,
    "lose_unacked": 8,
}

QUEUES = ("farmhaul", "farmhaul\x06\x161", "farmhaul\x06\x162", "farmhaul\x06\x163")


class Troubles:
    """Makes trouble, and counts it."""

    def __init__(self, farm: Farm, seed: str, lease_s: float) -> None:
        self.farm = farm
        self.dice = random.Random(seed)
        self.lease_s = lease_s
        self.made: Counter[str] = Counter()
        #: The process groups of all workers so far: none may be left at the end.
        self.groups: set[int] = {worker.pid for worker in farm.workers}
        self.died_alone: list[str] = []
        self._may_be_dead: set[str] = set()
        self._thaws: list[threading.Timer] = []

    def make(self) -> str:
        """Make one trouble; return its name."""
        name = self.dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        act: Callable[[], None] = getattr(self, f"_{name}")
        with suppress(redis.RedisError, ProcessLookupError):
            act()
            self.made[name] += 1
        return name

    def supervise(self, *, wait: bool = False) -> None:
        """Start dead workers again, as systemd or a farm manager would."""
        dead = [worker for worker in self.farm.workers if not worker.alive]
        for worker in dead:
            if worker.name not in self._may_be_dead:
                self.died_alone.append(f"{worker.name} exited by itself:\n{_tail(worker)}")
            self._may_be_dead.discard(worker.name)
            worker.launch()
            self.groups.add(worker.pid)
        for worker in self.farm.workers if wait else ():
            worker.wait_ready()

    def end(self) -> None:
        """Thaw and start everything, so that all of it runs."""
        for thaw in self._thaws:
            thaw.cancel()
        for worker in self.farm.workers:
            _thaw(worker.pid)
        self.farm.sandbox.redis.start()
        # A worker that was asked to stop may still do so.
        for worker in self.farm.workers:
            if worker.name in self._may_be_dead and worker.alive:
                worker.stop()
        self.supervise(wait=True)

    def _worker(self) -> Worker:
        return self.dice.choice(self.farm.workers)

    def _kill_group(self) -> None:
        self._kill(self._worker(), "group")

    def _kill_parent(self) -> None:
        self._kill(self._worker(), "parent")

    def _kill_taking(self) -> None:
        """Kill a worker while one takes in requests."""
        end = time.monotonic() + 1
        while not self.farm.redis.exists("farmhaul:taking"):
            if time.monotonic() > end:
                raise ProcessLookupError("none takes in anything")
        self._kill(self._worker(), "group")

    def _kill(self, worker: Worker, victim: str) -> None:
        self._may_be_dead.add(worker.name)
        worker.kill("group" if victim == "group" else "parent")

    def _kill_child(self) -> None:
        worker = self._worker()
        if worker.alive and " ready." in worker.log_text():
            # Celery exits if a process dies before its loop begins, a moment after it says so.
            time.sleep(0.2)
            if worker.pool_pids():
                worker.kill("child")

    def _freeze(self) -> None:
        worker = self._worker()
        seconds = self.dice.uniform(0.3, 2) * self.lease_s
        if not worker.alive:
            return
        worker.freeze()
        thaw = threading.Timer(seconds, _thaw, (worker.pid,))
        thaw.daemon = True
        thaw.start()
        self._thaws.append(thaw)

    def _stop_warmly(self) -> None:
        worker = self._worker()
        if worker.alive and " ready." in worker.log_text():
            self._may_be_dead.add(worker.name)
            worker.terminate()

    def _redis_kill(self) -> None:
        self.farm.sandbox.redis.kill()
        time.sleep(self.dice.uniform(0.1, 2))
        self.farm.sandbox.redis.start()

    def _redis_restart(self) -> None:
        self.farm.sandbox.redis.restart()

    def _redis_pause(self) -> None:
        seconds = self.dice.uniform(0.3, 3)
        self.farm.sandbox.redis.pause(seconds)
        time.sleep(seconds)

    def _client_kill(self) -> None:
        kind = self.dice.choice(["normal", "pubsub"])
        self.farm.redis.execute_command("CLIENT", "KILL", "TYPE", kind)

    def _lose_queue(self) -> None:
        self.farm.redis.delete(self.dice.choice(QUEUES))

    def _lose_unacked(self) -> None:
        tags = self.farm.redis.hkeys("unacked")
        if tags:
            tag = self.dice.choice(sorted(tags))
            self.farm.redis.hdel("unacked", tag)
            self.farm.redis.zrem("unacked_index", tag)


def _thaw(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGCONT)


def _tail(worker: Worker) -> str:
    return worker.log_text()[-3000:]


def add_faults(farm: Farm, seed: str, percent: float) -> int:
    """Have each kind of fault strike so many of 100 requests; return the number of kinds."""
    dice = random.Random(seed)
    add = farm.sandbox.faults.add
    page = "<html><body>502 Bad Gateway</body></html>"
    kinds: list[tuple[str, str, object, dict[str, object]]] = [
        ("ftrack", "status", 502, {"body": page}),
        ("ftrack", "status", 429, {"headers": {"Retry-After": "1"}}),
        ("ftrack", "error", "ServerError", {}),
        ("ftrack", "junk", None, {}),
        ("ftrack", "lost_answer", None, {}),
        ("ftrack", "reset", None, {}),
        ("ftrack", "latency_s", 1.0, {}),
        ("ftrack", "url_lifetime_s", 0, {}),
        ("store", "status", 503, {"method": "PUT"}),
        ("store", "status", 500, {"method": "PUT", "done": True}),
        ("store", "status", 403, {"method": "PUT"}),
        ("store", "lost_answer", None, {"method": "PUT"}),
        ("store", "reset", None, {"after_bytes": 50_000}),
        ("store", "stall", 1.5, {"after_bytes": 20_000}),
        ("store", "bandwidth_bytes_s", 1.5e6, {}),
        ("store", "bad_digest", None, {"method": "PUT"}),
        ("store", "etag", "0" * 32, {"method": "PUT"}),
    ]
    for service, kind, value, details in kinds:
        add(
            "ftrack" if service == "ftrack" else "store",
            kind,  # type: ignore[arg-type]  # the list above holds kinds
            value,
            probability=percent / 100,
            seed=dice.getrandbits(32),
            **details,
        )
    # A refusal by ftrack, which is final until an operator retries.
    add("ftrack", "error", "PermissionError", action="create", content="not your show",
        probability=percent / 400, seed=dice.getrandbits(32))  # fmt: skip
    return len(kinds) + 1
