"""Hooks: hundreds of single enqueues at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from tests.bench.measure import Usage
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
from tests.farm import BIN, wait_until
from tests.sandbox import seed

COLD = "farmhaul, cold commands, 2 at a time"
COLD_OFFICIAL = "official client, cold scripts, 2 at a time"


def run(stand: Stand, quick: bool) -> list[Result]:
    count, cold_count = (100, 8) if quick else (500, 40)
    files = stand.files(count, 200_000, "small")
    few = files[:cold_count]
    with stand.farm():
        usages = alternate(
            [
                Contestant(FARMHAUL, lambda: stand.rival("storm", files), 5),
                Contestant(OFFICIAL, lambda: stand.rival("official", files), 3),
            ]
        )
        cold = alternate(
            [
                Contestant(COLD, lambda: _cold(stand, few), 1),
                Contestant(COLD_OFFICIAL, lambda: _cold_official(stand, few), 1),
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
    result.targets = [
        Target("against the official client", ratio(usages, OFFICIAL), ">= 3", TIMES),
        *([] if quick else [Target("most API calls", calls, "<= 60")]),
    ]
    ours, theirs = cold[COLD][0].seconds, cold[COLD_OFFICIAL][0].seconds
    result.notes = [
        (
            f"as hooks do it, a cold process for each of {cold_count} files, 2 at a time: "
            f"`farmhaul enqueue` {ours:.1f} s until all are located, scripts with the official "
            f"client {theirs:.1f} s ({theirs / ours:.1f}{TIMES}); a hook exits after "
            f"{2 * cold[COLD][0].start_s / cold_count:.2f} s"
        ),
    ]
    return [result]


def _cold(stand: Stand, files: list[str]) -> Usage:
    stand.sink.reset()
    tag = f"cold{time.monotonic_ns()}"
    began = time.perf_counter()

    def enqueue(pair: tuple[int, str]) -> None:
        number, path = pair
        target = ("--version-id", seed.VERSION_ID, "--name", f"{tag}.{number}")
        stand.cold(BIN / "farmhaul", "enqueue", path, *target)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(enqueue, enumerate(files)))
    enqueued_s = time.perf_counter() - began
    wait_until(lambda: stand.sink.api_stats()["located"] == len(files), 60)
    return Usage(time.perf_counter() - began, start_s=enqueued_s)


def _cold_official(stand: Stand, files: list[str]) -> Usage:
    began = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda path: stand.rival("official", [path]), files))
    return Usage(time.perf_counter() - began)
