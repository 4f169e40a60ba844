"""What processes and Redis use: CPU time, memory, commands and bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(pids: Iterable[int]) -> float:
    """Return the user and system time of running processes, in seconds (proc(5))."""
    total = 0
    for pid in pids:
        # The name, in parentheses, may hold any character.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total * _TICK_S


def peak_mib(pid: int) -> float:
    """Return the peak memory of a process in MiB, with shared pages."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} has no memory")


@dataclass(frozen=True)
class RedisUse:
    """What Redis has done since its start, or between two looks.

    ``calls`` includes the commands inside scripts. ``reads`` is how often Redis read from a
    socket, so a pipeline of many commands counts as one read, or a few.
    """

    calls: Mapping[str, int]
    reads: int
    bytes_in: int
    bytes_out: int
    cpu_s: float
    memory: int

    @classmethod
    def look(cls, client: redis.Redis) -> RedisUse:
        info: dict[str, Any] = client.info("everything")
        calls = {
            name.removeprefix("cmdstat_"): int(stat["calls"])
            for name, stat in info.items()
            if name.startswith("cmdstat_") and name != "cmdstat_info"
        }
        used_s = float(info["used_cpu_user"]) + float(info["used_cpu_sys"])
        return cls(
            calls,
            int(info["total_reads_processed"]),
            int(info["total_net_input_bytes"]),
            int(info["total_net_output_bytes"]),
            used_s,
            int(info["used_memory"]),
        )

    def since(self, before: RedisUse) -> RedisUse:
        """Return what Redis has done between an earlier look and this one."""
        calls = {name: count - before.calls.get(name, 0) for name, count in self.calls.items()}
        return RedisUse(
            {name: count for name, count in calls.items() if count},
            self.reads - before.reads,
            self.bytes_in - before.bytes_in,
            self.bytes_out - before.bytes_out,
            self.cpu_s - before.cpu_s,
            self.memory - before.memory,
        )

    @property
    def total_calls(self) -> int:
        """All commands, including those inside scripts."""
        return sum(self.calls.values())


@dataclass
class Usage:
    """What one run took, on all sides; times are in seconds."""

    seconds: float
    #: When it began: ``time.monotonic``, like the times of the sink.
    began: float = 0.0
    worker_cpu_s: float = 0.0
    pool_cpu_s: float = 0.0
    start_s: float = 0.0
    cpu_s: float = 0.0
    api: dict[str, Any] = field(default_factory=dict)
    store: dict[str, Any] = field(default_factory=dict)
    redis: RedisUse | None = None
