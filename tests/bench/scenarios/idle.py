"""What an idle worker costs: connections and commands of Redis, its CPU time, and memory."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.bench.measure import RedisUse
from tests.bench.result import Result, Target
from tests.bench.stand import Stand

MORE = 4
#: After so many seconds without a command, Redis closes a connection. deploy/redis/redis.conf says
#: a minute; then a run would take longer.
REDIS_TIMEOUT_S = 10


def run(stand: Stand, quick: bool) -> list[Result]:
    """Compare one idle worker with five: the first one also ticks for all."""
    watched_s = 10 if quick else 60
    looks = []
    stand.client.config_set("timeout", REDIS_TIMEOUT_S)
    for workers in (1, 1 + MORE):
        with stand.farm(workers, 1):
            time.sleep(3)
            before = RedisUse.look(stand.client)
            time.sleep(watched_s)
            use = RedisUse.look(stand.client).since(before)
            clients: Any = stand.client.client_list()
            memory = [pss_mib(pid) for pid in (*stand.pids[:1], *stand.pool_pids[:1])]
            looks.append((use, Counter(_purpose(client) for client in clients), memory))
    stand.client.config_set("timeout", 0)
    (one, one_clients, memory), (several, several_clients, _) = looks
    commands = {
        name: (several.calls.get(name, 0) - one.calls.get(name, 0)) / MORE / watched_s
        for name in Counter(one.calls) | Counter(several.calls)
    }
    connections = (several_clients.total() - one_clients.total()) / MORE
    cpu_ms = 1000 * (several.cpu_s - one.cpu_s) / MORE / watched_s
    reads, kb_in, kb_out = (
        (getattr(several, name) - getattr(one, name)) / MORE / watched_s / unit
        for name, unit in (("reads", 1), ("bytes_in", 1000), ("bytes_out", 1000))
    )
    result = Result(
        "idle",
        "One more idle worker",
        f"A worker of one process, idle; the difference of {1 + MORE} workers and one, in "
        f"{watched_s} s. Commands include those inside scripts. Redis closes idle connections, as "
        "deploy/redis/redis.conf has it. Memory is PSS: pages that the two processes share count "
        "once.",
        ("", "figure"),
    )
    result.rows = [
        ("connections to Redis", f"{connections:.1f}"),
        ("Redis CPU, ms a second", f"{cpu_ms:.3f}"),
        ("reads of a socket a second", f"{reads:.2f}"),
        ("Redis commands a second", f"{sum(commands.values()):.2f}"),
        ("kB to Redis a second", f"{kb_in:.2f}"),
        ("kB from Redis a second", f"{kb_out:.2f}"),
        ("memory of the main process, MiB", f"{memory[0]:.0f}"),
        ("memory of its pool process, MiB", f"{memory[1]:.0f}"),
    ]
    most = sorted(commands.items(), key=lambda pair: -pair[1])
    more = {name: (several_clients[name] - one_clients[name]) / MORE for name in several_clients}
    result.notes = [
        ", ".join(f"{name} {rate:.2f}" for name, rate in most if rate >= 0.01),
        "connections: " + ", ".join(f"{name} {count:.1f}" for name, count in more.items()),
    ]
    result.targets = [
        Target("connections of one more idle worker", connections, "<= 4"),
        Target("Redis CPU of one more idle worker", cpu_ms, "<= 0.05", " ms a second"),
        Target("memory of main process and one pool process", sum(memory), "<= 100", " MiB"),
    ]
    return [result]


def _purpose(client: dict[str, str]) -> str:
    """Return what a connection waits for, by its line in CLIENT LIST."""
    if client["psub"] != "0":
        return "subscribed"
    return client["cmd"] if client["cmd"] in {"brpop", "blmove"} else "for commands"


def pss_mib(pid: int) -> float:
    """Return the memory of a process in MiB; shared pages count by their share (proc(5))."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} has no memory")
