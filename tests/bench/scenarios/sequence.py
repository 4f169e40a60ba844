"""A sequence of small frames against the official client, and how soon it is visible."""

from __future__ import annotations

from pathlib import Path
from statistics import median

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
from tests.farm import BIN
from tests.sandbox import seed

FRAMES = 240


def run(stand: Stand, quick: bool) -> list[Result]:
    """Upload a sequence of small frames a few times."""
    files = stand.files(FRAMES, 30_000, "sequence")
    pattern = f"{Path(files[0]).parent}/sequence.%05d.exr [0-{FRAMES - 1}]"
    with stand.farm():
        usages = alternate(
            [
                Contestant(FARMHAUL, lambda: haul(stand, pattern), 4 if quick else 10),
                Contestant(
                    OFFICIAL,
                    lambda: stand.rival("official", files, pattern=pattern),
                    1 if quick else 3,
                ),
            ]
        )
    waits = sorted(_wait_s(usage) for usage in usages[FARMHAUL])
    title = f"A sequence of {FRAMES} frames of 30 kB, near"
    result = table("sequence", title, usages, (FRAMES, "frames/s"))
    result.about = (
        "Both upload it as one sequence. farmhaul has one running worker of 2 processes. Its "
        "seconds are those of the process `farmhaul enqueue … --wait`, from start to exit; those "
        "of the official client do not include its imports and login."
    )
    result.targets = [
        Target("against the official client", ratio(usages, OFFICIAL), ">= 1.5", TIMES),
        Target("visible after the last PUT", median(waits), "<= 0.1", " s"),
    ]
    result.notes = [
        f"visible {waits[0]:.3f} to {waits[-1]:.3f} s after the last PUT",
    ]
    return [result]


def haul(stand: Stand, pattern: str) -> Usage:
    """Upload a sequence, cold, until the command returns."""
    return stand.run(command(pattern, f"main {stand.tag()}", "--wait"))


def command(pattern: str, name: str, *options: str) -> list[str]:
    """Return the command that uploads a sequence under this name."""
    target = ("--version-id", seed.VERSION_ID, "--name", name)
    return [str(BIN / "farmhaul"), "enqueue", pattern, *target, *options]


def _wait_s(usage: Usage) -> float:
    return float(usage.api["last_located"] - usage.store["last_put"])
