"""The cold start of ``farmhaul enqueue``, for which a hook waits."""

from __future__ import annotations

import sys
from statistics import median

from tests.bench.result import TIMES, Result, Target
from tests.bench.stand import Stand
from tests.farm import BIN
from tests.sandbox import seed
from tests.sandbox.process import python_module

ENQUEUE = "farmhaul enqueue"
BARE = "bare Celery send_task"


def run(stand: Stand, quick: bool) -> list[Result]:
    pairs = 5 if quick else 15
    [path] = stand.files(1, 200_000, "cold")
    commands: dict[str, list[str]] = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import celery, redis": [sys.executable, "-c", "import celery, kombu, redis"],
        BARE: python_module("tests.bench.rivals.bare_send"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in (*commands, ENQUEUE)}
    # No worker runs: it would take CPU time from the commands.
    for number in range(pairs):
        for name, command in commands.items():
            seconds[name].append(stand.cold(*command))
        target = ("--version-id", seed.VERSION_ID, "--name", f"cold.{number}")
        seconds[ENQUEUE].append(stand.cold(BIN / "farmhaul", "enqueue", path, *target))
    stand.redis.flush()
    bare = median(seconds[BARE])
    result = Result(
        "cold",
        "The cold start of a hook",
        "Wall-clock time of a whole process, including its start. No worker is running.",
        ("", "ms", "fastest to slowest", "against bare"),
    )
    result.rows = [
        (
            name,
            f"{1000 * median(times):.0f}",
            f"{1000 * min(times):.0f} to {1000 * max(times):.0f}",
            f"{median(times) / bare:.2f}{TIMES}",
        )
        for name, times in seconds.items()
    ]
    # In pairs: each enqueue with the bare command just before it.
    pairwise = median(a / b for a, b in zip(seconds[ENQUEUE], seconds[BARE], strict=True))
    result.targets = [Target("cold enqueue by a bare cold send_task", pairwise, "<= 1.2", TIMES)]
    return [result]
