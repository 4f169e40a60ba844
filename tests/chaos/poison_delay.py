"""How much one poison upload delays 1,000 others: ``python -m tests.chaos.poison_delay``.

In turn without a poison and with one, it prints the seconds from the moment at which two workers
begin until all others are located, those until one of the others is on average, and the CPU time of
the workers. ``--kind all`` takes each kind of poison in turn. Each run with a poison is compared
with the mean of the runs before and after it, because the machine is not equally fast all the time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tasks.records.keys import state_key
from tests.chaos.bad_nodes import OPTIONS
from tests.chaos.sick import POISONS, poison
from tests.farm import Farm, wait_until
from tests.sandbox import Sandbox


class Run(NamedTuple):
    """Until the last upload but the poisoned one was located, and until each was on average."""

    last_s: float
    mean_s: float
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
        before = measure(farm, options.uploads, "")
        for kind in kinds * options.runs:
            poisoned = measure(farm, options.uploads, kind)
            after = measure(farm, options.uploads, "")
            pairs[kind].append((between(before, after), poisoned))
            before = after
    for kind, found in pairs.items():
        print(f"{kind}: {compared(found)}")
    if len(pairs) > 1:
        print(f"all: {compared([pair for found in pairs.values() for pair in found])}")


def between(one: Run, other: Run) -> Run:
    """Return the mean of two runs."""
    return Run(*(statistics.mean(pair) for pair in zip(one, other, strict=True)))


def compared(pairs: list[tuple[Run, Run]]) -> str:
    """Return how much later the others were with a poison: means, with their standard errors."""
    texts = []
    for name, field in zip(("the last", "the mean", "CPU time"), Run._fields, strict=True):
        more = [getattr(bad, field) / getattr(plain, field) - 1 for plain, bad in pairs]
        error = statistics.stdev(more) / len(more) ** 0.5 if len(more) > 1 else float("nan")
        texts.append(f"{name} {statistics.mean(more):+.1%} (± {error:.1%})")
    return ", ".join(texts)


def cpu_s(farm: Farm) -> float:
    """Return the CPU time that all processes of the workers have used so far."""
    ticks = 0
    for pid in [pid for worker in farm.workers for pid in (worker.pid, *worker.pool_pids())]:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        ticks += int(user) + int(system)
    return ticks / os.sysconf("SC_CLK_TCK")


def located_at(farm: Farm, upload_ids: list[str]) -> list[float]:
    """Wait until all are located, and return when each was: seconds since 1970."""
    found: list[float | None] = []

    def are_located() -> bool:
        time.sleep(0.2)  # to poll more often would take time from the workers
        found[:] = farm.redis.zmscore(state_key("located"), upload_ids)
        return None not in found

    wait_until(are_located, timeout_s=300)
    return [score for score in found if score is not None]


def measure(farm: Farm, count: int, kind: str) -> Run:
    """Locate so many uploads, with one more that is poisoned if a kind is given, and print it."""
    with farm.frozen():
        uploads = farm.upload_many(count + 1)
        bad = uploads.pop(count // 2)
        if kind:
            poison(farm, bad, kind)
        before_s, began = cpu_s(farm), time.time()
    times = located_at(farm, [upload.id for upload in uploads])
    run = Run(max(times) - began, statistics.mean(times) - began, cpu_s(farm) - before_s)
    print(
        f"{kind or 'no poison':40} last {run.last_s:6.2f} s, mean {run.mean_s:6.2f} s, "
        f"CPU {run.cpu_s:6.2f} s",
        flush=True,
    )
    farm.sandbox.faults.clear()
    farm.cli("cancel", bad.id)
    farm.wait_quiet()
    farm.sandbox.reset()
    return run


if __name__ == "__main__":
    main()
