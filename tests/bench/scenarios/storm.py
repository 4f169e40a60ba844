"""Hooks: hundreds of single enqueues at once."""

from __future__ import annotations

from statistics import median

from tests.bench.result import TIMES, Result, Target
from tests.bench.scenarios.side_by_side import (
    FARMHAUL,
    OFFICIAL,
    Contestant,
    alternate,
    ratio,
    table,
)
from tests.bench.stand import Stand


def run(stand: Stand, quick: bool) -> list[Result]:
    count = 100 if quick else 500
    files = stand.files(count, 200_000, "small")
    with stand.farm():
        usages = alternate(
            [
                Contestant(FARMHAUL, lambda: stand.rival("storm", files), 5),
                Contestant(OFFICIAL, lambda: stand.rival("official", files), 3),
            ]
        )
    about = (
        f"{count} files of 200 kB, near. A program that calls farmhaul's library enqueues them one "
        "by one (`tests/bench/rivals/storm.py`); the seconds end when all are located. The "
        "official client is a loop in one process."
    )
    result = table("storm", f"A storm of {count} single enqueues", usages, (count, "files/s"))
    result.about = about
    calls = max(usage.api["calls"] for usage in usages[FARMHAUL])
    cpu_s = median(usage.worker_cpu_s + usage.pool_cpu_s for usage in usages[FARMHAUL])
    result.targets = [
        Target("against the official client", ratio(usages, OFFICIAL), ">= 3", TIMES),
        *([] if quick else [Target("most API calls", calls, "<= 60")]),
        Target("CPU time of the worker for a file", 1000 * cpu_s / count, "<= 5", " ms"),
    ]
    return [result]
