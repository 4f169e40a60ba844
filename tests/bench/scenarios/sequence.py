"""How soon a sequence is visible after its last PUT."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from tests.bench.measure import Usage
from tests.bench.result import Result, Target
from tests.bench.stand import Stand
from tests.farm import BIN
from tests.sandbox import seed

FRAMES = 240


def run(stand: Stand, quick: bool) -> list[Result]:
    """Upload a sequence of small frames a few times."""
    runs = 4 if quick else 10
    files = stand.files(FRAMES, 30_000, "sequence")
    with stand.farm():
        waits = sorted(_wait_s(_sequence(stand, files[0], f"main {n}")) for n in range(runs))
    result = Result(
        "sequence",
        f"A sequence of {FRAMES} frames of 30 kB",
        "The seconds from the last PUT to the call that makes the sequence visible. A worker of 2 "
        "processes, near.",
        ("", "median", "shortest", "longest"),
        [("visible after the last PUT, s", *_shown(median(waits), waits[0], waits[-1]))],
    )
    result.targets = [Target("visible after the last PUT", median(waits), "<= 0.1", " s")]
    return [result]


def _sequence(stand: Stand, first: str, name: str) -> Usage:
    pattern = f"{Path(first).parent}/sequence.%05d.exr [0-{FRAMES - 1}]"
    target = ("--version-id", seed.VERSION_ID, "--name", name)
    return stand.run([str(BIN / "farmhaul"), "enqueue", pattern, *target, "--wait"])


def _wait_s(usage: Usage) -> float:
    return float(usage.api["last_located"] - usage.store["last_put"])


def _shown(*seconds: float) -> tuple[str, ...]:
    return tuple(f"{value:.3f}" for value in seconds)
