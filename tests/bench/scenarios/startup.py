"""How long commands take to start."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import median

from tests.bench.result import TIMES, Result, Target
from tests.bench.stand import Stand
from tests.farm import BIN

EMPTY = "python -c pass"
#: No upload has failed, so retry has nothing to do.
COMMANDS = ("--help", "status", "retry --failed")


def run(stand: Stand, quick: bool) -> list[Result]:
    """Start each command a few times, in turns."""
    commands: dict[str, Sequence[str]] = {EMPTY: (sys.executable, "-c", "pass")}
    for words in COMMANDS:
        commands[f"farmhaul {words}"] = (str(BIN / "farmhaul"), *words.split())
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(5 if quick else 21):
        for name, command in commands.items():
            seconds[name].append(stand.cold(*command))
    empty = median(seconds[EMPTY])
    result = Result(
        "startup",
        "The start of commands",
        "Wall-clock time of a whole process. Redis is near and has no uploads. The start of a hook "
        "is below.",
        ("", "ms", "fastest to slowest", "against an empty Python"),
    )
    result.rows = [
        (
            name,
            f"{1000 * median(times):.0f}",
            f"{1000 * min(times):.0f} to {1000 * max(times):.0f}",
            f"{median(times) / empty:.1f}{TIMES}",
        )
        for name, times in seconds.items()
    ]
    result.targets = [
        Target(name, 1000 * median(times), "<=", " ms")
        for name, times in seconds.items()
        if name != EMPTY
    ]
    return [result]
