"""Thousands of idle nodes on one Redis: real workers, and clients that do what an idle one does."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import redis

from tests.bench.measure import RedisUse
from tests.bench.recording import START_S, record
from tests.bench.result import Result, Target
from tests.bench.scenarios.idle import pss_mib
from tests.bench.stand import Stand
from tests.farm import Worker
from tests.sandbox.process import Child, python_module

#: deploy/redis/redis.conf says so.
REDIS_TIMEOUT_S = 60
#: So many workers start together; the next ones when these are ready.
AT_ONCE = 8
PLAYERS = 2
#: Redis keeps 32 files for itself, and the bench has a few connections.
SPARE = 50


class Size(NamedTuple):
    """How large a run is."""

    real: tuple[int, ...]
    played: tuple[int, ...]
    settle_s: float
    recorded_s: float
    watched_s: float


FULL = Size((1, 50, 100), (99, 500, 1000, 2000, 5000), 10, 60, 30)
QUICK = Size((1, 3), (2, 10), 5, 20, 10)


class Look(NamedTuple):
    """What Redis does while so many workers are idle."""

    connections: int
    seconds: float
    use: RedisUse
    client_bytes: int
    pings_s: list[float]

    def row(self, name: str) -> tuple[str, ...]:
        return (
            name,
            f"{self.connections:,}",
            f"{1000 * self.use.cpu_s / self.seconds:.1f}",
            f"{self.use.total_calls / self.seconds:,.0f}",
            f"{self.use.reads / self.seconds:,.0f}",
            f"{self.client_bytes / 2**20:.1f}",
            f"{1000 * median(self.pings_s):.2f}",
            f"{1000 * self.pings_s[len(self.pings_s) * 99 // 100]:.1f}",
        )


def run(stand: Stand, quick: bool) -> list[Result]:
    size = QUICK if quick else FULL
    stand.redis.flush()
    stand.client.config_set("timeout", REDIS_TIMEOUT_S)
    try:
        return [_measured(stand, size)]
    finally:
        stand.client.config_set("timeout", 0)


def _measured(stand: Stand, size: Size) -> Result:
    recording = record(stand, size.settle_s, size.recorded_s)
    path = stand.folder / "idle.json"
    recording.write(path)
    looks: dict[str, Look] = {}
    memory = []

    def note(name: str) -> None:
        looks[name] = _look(stand, size)
        print(f"  {'  '.join(looks[name].row(name))}", file=sys.stderr, flush=True)

    with _workers(stand) as start:
        for count in size.real:
            start(count)
            note(f"{count:,} real")
            memory.append(sum(map(pss_mib, (*stand.pids, *stand.pool_pids))))
    with _workers(stand) as start, _raised_limits(stand) as most:
        start(1)  # it reconciles
        players = Players(stand, path)
        for wanted in size.played:
            players.play(min(wanted, (most - SPARE) // len(recording.lines)))
            note(f"1 real, {players.played:,} played")
            players.check()
        late_s = players.end()
        played = players.played
    result = Result(
        "nodes",
        "Idle nodes on one Redis",
        "Each row is of all workers together, which have one process each. A played worker has the "
        "connections of a real one and sends what that one has sent within "
        f"{size.recorded_s:.0f} s of MONITOR, under a name and host of its own. Redis has the "
        "settings of deploy/redis/redis.conf.",
        (
            "workers",
            "connections",
            "Redis CPU, ms a second",
            "commands a second",
            "reads a second",
            "memory of clients, MiB",
            "PING, ms",
            "the slowest in a hundred",
        ),
        [look.row(name) for name, look in looks.items()],
    )
    last = list(looks.values())[-1]
    first = looks[f"{size.real[0]:,} real"]
    more = (last.use.cpu_s / last.seconds - first.use.cpu_s / first.seconds) / played
    result.notes = [
        f"one more worker: {1000 * more:.3f} ms of Redis' CPU a second",
        f"memory of {size.real[-1]} real workers: {memory[-1]:,.0f} MiB (PSS)",
        f"the players were late by {1000 * late_s:.0f} ms at most, but for one command in 100",
    ]
    result.targets = [
        Target(
            f"Redis' core for {played + 1:,} idle workers",
            100 * last.use.cpu_s / last.seconds,
            "<= 25",
            " %",
        ),
        Target("connections of an idle worker", len(recording.lines), "<= 4"),
    ]
    return result


def _look(stand: Stand, size: Size) -> Look:
    time.sleep(size.settle_s)
    before, began = RedisUse.look(stand.client), time.monotonic()
    time.sleep(size.watched_s)
    use = RedisUse.look(stand.client).since(before)
    seconds = time.monotonic() - began
    memory: Any = stand.client.info("memory")
    clients: Any = stand.client.info("clients")
    return Look(
        int(clients["connected_clients"]) - 1,
        seconds,
        use,
        int(memory["mem_clients_normal"]),
        sorted(_ping_s(stand.client) for _ in range(200)),
    )


def _ping_s(client: redis.Redis) -> float:
    time.sleep(0.01)
    began = time.perf_counter()
    client.ping()
    return time.perf_counter() - began


@contextmanager
def _workers(stand: Stand) -> Iterator[Any]:
    """Yields what starts workers until there are so many; a few at once, as that takes CPU time."""

    def start(count: int) -> None:
        while len(stand.workers) < count:
            some = [
                Worker(
                    f"n{number}",
                    stand.folder,
                    stand.env,
                    options=("--concurrency=1",),
                    command="farmhaul",
                )
                for number in range(len(stand.workers), min(len(stand.workers) + AT_ONCE, count))
            ]
            stand.workers += some
            for worker in some:
                worker.launch()
            for worker in some:
                worker.wait_ready(START_S)

    try:
        yield start
    finally:
        stand.stop_workers()


@contextmanager
def _raised_limits(stand: Stand) -> Iterator[int]:
    """Let Redis accept as many clients as its open files allow; yields how many."""
    client: Any = stand.client
    before = client.config_get("maxclients")["maxclients"]
    most = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 32, 30_000)
    client.config_set("maxclients", most)
    try:
        yield most
    finally:
        with suppress(redis.RedisError):
            client.config_set("maxclients", before)


class Players:
    """Processes that play idle workers; they end with this process."""

    def __init__(self, stand: Stand, recording: Path) -> None:
        self.stand = stand
        self.recording = recording
        self.children: list[Child] = []
        self.played = 0

    def play(self, count: int) -> None:
        """Add workers until there are so many, and wait until they run."""
        if count <= self.played:
            return
        share = -(-(count - self.played) // PLAYERS)
        started = []
        for first in range(self.played, count, share):
            number = min(share, count - first)
            words = (self.recording, self.stand.redis.port, first, number)
            command = python_module("tests.bench.players.idle_workers", *map(str, words))
            started.append(Child("player", command, self.stand.folder / f"player{first}.log"))
        self.children += started
        for child in started:
            child.wait_ready(lambda child=child: "ready" in child.log.read_text(), START_S)  # type: ignore[misc]
        self.played = count

    def check(self) -> None:
        """Raise an error if one of them has ended: then there were fewer workers than it says."""
        for child in self.children:
            if not child.alive:
                raise RuntimeError(child.log.read_text()[-2000:])

    def end(self) -> float:
        """Stop them, and return by how much they were late, but for one command in a hundred."""
        for child in self.children:
            child.terminate()
        for child in self.children:
            child.stop(60)
        said = [child.log.read_text().splitlines()[-1] for child in self.children]
        return max(float(json.loads(line)["late_s"]) for line in said)
