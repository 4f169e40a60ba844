"""Growth with worker processes, each with a slow and distant connection to the store."""

from __future__ import annotations

from statistics import median

from tests.bench.result import TIMES, Result, Target
from tests.bench.stand import Stand

FAR_S = 0.05
BYTES_S = 10e6
#: So few that eight processes fit on two cores; the default is 16 connections a process.
CONNECTIONS = 4
GOALS = {4: 3.6, 8: 7.0}


def run(stand: Stand, quick: bool) -> list[Result]:
    count, steps = (400, (1, 2, 4)) if quick else (1600, (1, 2, 4, 8))
    files = stand.files(count, 200_000, "small")
    speeds: dict[int, float] = {}
    result = Result(
        "growth",
        "Growth with worker processes",
        f"{count} files of 200 kB, 50 ms away, 10 MB/s per connection, {CONNECTIONS} connections "
        "per process, so the two cores are not the limit and each process stands for a node. The "
        "time is from the first API call to the last location.",
        ("worker processes", "seconds", "files/s", "growth", "efficiency", "CPU of the machine"),
    )
    for workers in steps:
        with stand.farm(workers, processes=1, env={"FARMHAUL_CONNECTIONS": str(CONNECTIONS)}):
            stand.far(FAR_S, BYTES_S)
            runs = [stand.haul(files) for _ in range(2 if workers >= 4 else 1)]
            stand.far(0)
        seconds = median(usage.api["last_located"] - usage.api["first_call"] for usage in runs)
        last = runs[-1]
        busy_s = last.worker_cpu_s + last.pool_cpu_s + last.api["cpu_s"] + last.store["cpu_s"]
        speeds[workers] = count / seconds
        growth = speeds[workers] / speeds[1]
        result.rows.append(
            (
                str(workers),
                f"{seconds:.1f}",
                f"{speeds[workers]:.0f}",
                f"{growth:.2f}{TIMES}",
                f"{100 * growth / workers:.0f} %",
                f"{100 * busy_s / last.seconds / 2:.0f} %",
            )
        )
    growths = {workers: speed / speeds[1] for workers, speed in speeds.items()}
    result.targets = [
        Target(f"{workers} processes by one", growths[workers], f">= {goal}", TIMES)
        for workers, goal in GOALS.items()
        if workers in growths
    ]
    result.curves = {
        "measured": [(float(workers), growth) for workers, growth in growths.items()],
        "ideal": [(float(workers), float(workers)) for workers in growths],
    }
    return [result]
