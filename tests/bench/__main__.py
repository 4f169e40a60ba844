"""``python -m tests.bench``: measure, and print the results.

python -m tests.bench                     all scenarios except the last five, about 12 minutes
python -m tests.bench --write             the same; write docs/benchmarks.md and benchmarks.json
python -m tests.bench --quick             the short form: the rows of the page that take seconds
python -m tests.bench model               the model of docs/scaling.md against a run
python -m tests.bench records             people's pages with 100,000 records, about 4 minutes
python -m tests.bench nodes               Redis with 5,000 idle workers, about 10 minutes
python -m tests.bench burst night         up to 20,000 requests in 10 s, and the end of a busy night
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tests.bench import compare, document
from tests.bench.result import Result
from tests.bench.scenarios import (
    burst,
    costs,
    fetch,
    files,
    growth,
    hooks,
    idle,
    large,
    memory,
    model,
    nodes,
    records,
    sequence,
    sink,
    startup,
    storm,
)
from tests.bench.stand import Stand

Scenario = Callable[[Stand, bool], list[Result]]

SCENARIOS: dict[str, Scenario] = {
    "sink": sink.run,
    "small": files.run_small,
    "far": files.run_far,
    "storm": storm.run,
    "frames": files.run_frames,
    "sequence": sequence.run,
    "large": large.run,
    "fetch": fetch.run,
    "growth": growth.run,
    "costs": costs.run,
    "startup": startup.run,
    "hooks": hooks.run,
    "idle": idle.run,
    "memory": memory.run,
    "model": model.run,
    "records": records.run,
    "nodes": nodes.run,
    "burst": burst.run,
    "night": burst.run_night,
}
#: Those of docs/scaling.md stand alone.
ALONE = {"model", "records", "nodes", "burst", "night"}
BY_DEFAULT = [name for name in SCENARIOS if name not in ALONE]
#: These take minutes, or have no target of their own.
LONG = {"sink", "storm", "growth", "memory"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help=", ".join(SCENARIOS))
    parser.add_argument("--quick", action="store_true", help="fewer runs, under 3 minutes")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the results as JSON")
    options = parser.parse_args()
    names = options.scenarios or [
        name for name in BY_DEFAULT if not (options.quick and name in LONG)
    ]
    if unknown := set(names) - set(SCENARIOS):
        parser.error(f"no scenario {min(unknown)}; there are: {', '.join(SCENARIOS)}")
    # However it is stopped, its processes and its folder go with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Installed commands have bytecode; without it, each start would compile all modules again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    load = os.getloadavg()[0]
    print(f"{document.machine()}; load before the run {load:.1f}")
    results: list[Result] = []
    with (
        tempfile.TemporaryDirectory(prefix="farmhaul-bench-") as folder,
        Stand(Path(folder)) as stand,
    ):
        for name in names:
            began = time.monotonic()
            for result in SCENARIOS[name](stand, options.quick):
                results.append(result)
                print(result.text(), flush=True)
            took = f"({name} took {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f})"
            print(f"  {took}", file=sys.stderr, flush=True)
    _print_targets(results)
    page = compare.Page.read(document.FIGURES)
    print(f"\n{compare.report(results, page, document.machine())}")
    if options.json:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=1))
    if options.write:
        command = " ".join(["python -m tests.bench", *sys.argv[1:]])
        print(f"written: {document.write(results, command, load)}")


def _print_targets(results: list[Result]) -> None:
    targets = [
        (result, target) for result in results for target in result.targets if target.has_goal
    ]
    missed = [
        f"  {result.title}: {target.line()}" for result, target in targets if not target.reached
    ]
    print(f"\n{len(targets) - len(missed)} of {len(targets)} targets reached", *missed, sep="\n")


if __name__ == "__main__":
    main()
