"""How much one poison upload delays 1,000 others: ``python -m tests.chaos.poison_delay``.

It prints seconds from the moment at which two workers begin until all others are located, in turn
without a poison and with one, and the ratio of the medians.
"""

from __future__ import annotations

import argparse
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
    took: dict[str, list[float]] = {"": [], options.kind: []}
    with (
        tempfile.TemporaryDirectory() as folder,
        Sandbox.start(Path(folder) / "sandbox") as sandbox,
        Farm(sandbox, Path(folder) / "workers", 2, options=OPTIONS) as farm,
    ):
        for number in range(2 * options.runs + 1):
            kind = options.kind if number % 2 else ""
            seconds = measure(farm, options.uploads, kind)
            if number:  # the first one warms up
                took[kind].append(seconds)
            print(f"{kind or 'no poison':30} {seconds:6.2f} s", flush=True)
            sandbox.reset()
    plain, poisoned = (statistics.median(found) for found in took.values())
    print(f"medians {plain:.2f} s and {poisoned:.2f} s: {100 * (poisoned / plain - 1):+.1f} %")


def measure(farm: Farm, count: int, kind: str) -> float:
    """Return how long it takes to locate so many uploads, with one more that is poisoned."""
    with farm.frozen():
        uploads = farm.upload_many(count + 1)
        bad = uploads.pop(count // 2)
        if kind:
            poison(farm, bad, kind)
        began = time.monotonic()
    farm.wait_located([upload.id for upload in uploads], timeout_s=300)
    seconds = time.monotonic() - began
    farm.sandbox.faults.clear()
    farm.cli("cancel", bad.id)
    farm.wait_quiet()
    return seconds


if __name__ == "__main__":
    main()
