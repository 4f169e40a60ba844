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


def run(stand: Stand, quick: bool) -> list[Result]:
    """Compare one idle worker with five: the first one also ticks for all."""
    watched_s = 20 if quick else 60
    looks = []
    for workers in (1, 1 + MORE):
        with stand.farm(workers, 1):
            time.sleep(3)
            before = RedisUse.look(stand.client)
            time.sleep(watched_s)
            use = RedisUse.look(stand.client).since(before)
            clients: Any = stand.client.client_list()
            memory = [pss_mib(pid) for pid in (*stand.pids[:1], *stand.pool_pids[:1])]
            looks.append((use, len(clients), memory))
    (one, one_clients, memory), (several, several_clients, _) = looks
    commands = {
        name: (several.calls.get(name, 0) - one.calls.get(name, 0)) / MORE / watched_s
        for name in Counter(one.calls) | Counter(several.calls)
    }
    connections = (several_clients - one_clients) / MORE
    cpu_ms = 1000 * (several.cpu_s - one.cpu_s) / MORE / watched_s
    reads = (several.reads - one.reads) / MORE / watched_s
    result = Result(
        "idle",
        "One more idle worker",
        f"A worker of one process, idle; the difference of {1 + MORE} workers and one, in "
        f"{watched_s} s. Commands include those inside scripts. Memory is PSS: pages that the two "
        "processes share count once.",
        ("", "figure"),
    )
    result.rows = [
        ("connections to Redis", f"{connections:.1f}"),
        ("Redis CPU, ms a second", f"{cpu_ms:.3f}"),
        ("reads of a socket a second", f"{reads:.2f}"),
        ("Redis commands a second", f"{sum(commands.values()):.2f}"),
        ("memory of the main process, MiB", f"{memory[0]:.0f}"),
        ("memory of its pool process, MiB", f"{memory[1]:.0f}"),
    ]
    most = sorted(commands.items(), key=lambda pair: -pair[1])
    result.notes = [", ".join(f"{name} {rate:.2f}" for name, rate in most if rate >= 0.01)]
    result.targets = [
        Target("connections of one more idle worker", connections, "<= 4"),
        Target("Redis CPU of one more idle worker", cpu_ms, "<= 0.05", " ms a second"),
        Target("memory of main process and one pool process", sum(memory), "<= 100", " MiB"),
    ]
    return [result]


def pss_mib(pid: int) -> float:
    """Return the memory of a process in MiB; shared pages count by their share (proc(5))."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} has no memory")
