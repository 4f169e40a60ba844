"""How much one poison upload delays 1,000 others: ``python -m tests.chaos.poison_delay``.

In turn without a poison and with one, it prints the seconds from the moment at which two workers
begin until all others are located, and the CPU time of the workers. ``--kind all`` takes each kind
of poison in turn. Each run with a poison is compared with the run before it, because the machine
is not equally fast all the time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.chaos.sick import OPTIONS, POISONS, poison
from tests.farm import Farm
from tests.sandbox import Sandbox


class Run(NamedTuple):
    """Until all uploads but the poisoned one were located."""

    seconds: float
    cpu_s: float


def main() -> None:
    """Measure, and print a line for each run."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.poison_delay", description=__doc__)
    parser.add_argument("--uploads", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3, help="with each kind")
    parser.add_argument("--kind", choices=[*POISONS, "all"], action="append")
    options = parser.parse_args()
    asked = options.kind or ["ftrack: ServerError"]
    kinds = [*POISONS] if "all" in asked else asked
    pairs: dict[str, list[tuple[Run, Run]]] = {kind: [] for kind in kinds}
    with (
        tempfile.TemporaryDirectory() as folder,
        Sandbox.start(Path(folder) / "sandbox") as sandbox,
        Farm(sandbox, Path(folder) / "workers", 2, options=OPTIONS) as farm,
    ):
        measure(farm, options.uploads, "")  # warms up
        for kind in kinds * options.runs:
            plain = measure(farm, options.uploads, "")
            pairs[kind].append((plain, measure(farm, options.uploads, kind)))
    for kind, found in pairs.items():
        print(f"{kind}: {compared(found)}")
    if len(pairs) > 1:
        print(f"all: {compared([pair for found in pairs.values() for pair in found])}")


def compared(pairs: list[tuple[Run, Run]]) -> str:
    """Return by how much one poison made the others slower: the median of all pairs."""
    seconds = statistics.median(poisoned.seconds / plain.seconds for plain, poisoned in pairs)
    cpu = statistics.median(poisoned.cpu_s / plain.cpu_s for plain, poisoned in pairs)
    return f"{seconds - 1:+.1%} of the time, {cpu - 1:+.1%} of the CPU time"


def cpu_s(farm: Farm) -> float:
    """Return the CPU time that all processes of the workers have used so far."""
    ticks = 0
    for pid in [pid for worker in farm.workers for pid in (worker.pid, *worker.pool_pids())]:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        ticks += int(user) + int(system)
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(farm: Farm, count: int, kind: str) -> Run:
    """Locate so many uploads, with one more that is poisoned if a kind is given, and print it."""
    with farm.frozen():
        uploads = farm.upload_many(count + 1)
        bad = uploads.pop(count // 2)
        if kind:
            poison(farm, bad, kind)
        before_s, began = cpu_s(farm), time.monotonic()
    farm.wait_located([upload.id for upload in uploads], timeout_s=300)
    run = Run(time.monotonic() - began, cpu_s(farm) - before_s)
    print(f"{kind or 'no poison':40} {run.seconds:6.2f} s, CPU {run.cpu_s:6.2f} s", flush=True)
    farm.sandbox.faults.clear()
    farm.cli("cancel", bad.id)
    farm.wait_quiet()
    farm.sandbox.reset()
    return run


if __name__ == "__main__":
    main()
