"""How much one poison upload delays 1,000 others: ``python -m tests.chaos.poison_delay``.

In turn without a poison and with one, it prints the seconds from the moment at which two workers
begin until all others are located, and the CPU time of the workers. A busy machine makes a run
slower and never faster, so the fastest runs are compared, and of the CPU times the medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from tests.chaos.sick import OPTIONS, POISONS, poison
from tests.farm import Farm
from tests.sandbox import Sandbox


def main() -> None:
    """Measure, and print a line for each run."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.poison_delay", description=__doc__)
    parser.add_argument("--uploads", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3, help="of each kind")
    parser.add_argument("--kind", choices=[*POISONS], default="ftrack: ServerError")
    options = parser.parse_args()
    took: dict[str, list[tuple[float, float]]] = {"": [], options.kind: []}
    with (
        tempfile.TemporaryDirectory() as folder,
        Sandbox.start(Path(folder) / "sandbox") as sandbox,
        Farm(sandbox, Path(folder) / "workers", 2, options=OPTIONS) as farm,
    ):
        for number in range(2 * options.runs + 1):
            kind = options.kind if number % 2 else ""
            seconds, cpu_s = measure(farm, options.uploads, kind)
            if number:  # the first one warms up
                took[kind].append((seconds, cpu_s))
            print(f"{kind or 'no poison':30} {seconds:6.2f} s, CPU {cpu_s:6.2f} s", flush=True)
            sandbox.reset()
    plain, poisoned = ([*zip(*rows, strict=True)] for rows in took.values())
    print(f"fastest   {compared(min(plain[0]), min(poisoned[0]))}")
    print(f"CPU times {compared(statistics.median(plain[1]), statistics.median(poisoned[1]))}")


def compared(plain_s: float, poisoned_s: float) -> str:
    """Return two times, and how much longer the second one is."""
    return f"{plain_s:.2f} s and {poisoned_s:.2f} s: {100 * (poisoned_s / plain_s - 1):+.1f} %"


def cpu_s(farm: Farm) -> float:
    """Return the CPU time that all processes of the workers have used so far."""
    ticks = 0
    for pid in [pid for worker in farm.workers for pid in (worker.pid, *worker.pool_pids())]:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        ticks += int(user) + int(system)
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(farm: Farm, count: int, kind: str) -> tuple[float, float]:
    """Return how long it takes to locate so many uploads, with one more that is poisoned.

    The second number is the CPU time of the workers.
    """
    with farm.frozen():
        uploads = farm.upload_many(count + 1)
        bad = uploads.pop(count // 2)
        if kind:
            poison(farm, bad, kind)
        before_s, began = cpu_s(farm), time.monotonic()
    farm.wait_located([upload.id for upload in uploads], timeout_s=300)
    seconds, used_s = time.monotonic() - began, cpu_s(farm) - before_s
    farm.sandbox.faults.clear()
    farm.cli("cancel", bad.id)
    farm.wait_quiet()
    return seconds, used_s


if __name__ == "__main__":
    main()
