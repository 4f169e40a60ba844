"""``python -m tests.chaos --minutes 30 --seed 7``: a mix of all troubles, then the invariants.

The exit code is 1 if an invariant is violated. The command then prints the folder in which the
logs of all processes stay. The same seed brings the same troubles in the same order.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.mix import Mix, Plan
from tests.chaos.sick import run_sick

#: A long run is a series of mixes, each with its own sandbox: a violation is found soon, and the
#: run of a seed is short enough to be repeated.
MIX_S = 180.0


def main() -> int:
    """Run mixes until the time is up or one has found a violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--seed", default=str(random.SystemRandom().randrange(10**6)))
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--lease", type=float, default=4, help="seconds")
    parser.add_argument("--faults", type=float, default=3, help="percent of requests, of each kind")
    parser.add_argument("--pool", choices=["prefork", "threads"], default="prefork")
    parser.add_argument("--no-large", action="store_true", help="no file above 64 MiB")
    parser.add_argument("--keep-going", action="store_true", help="do not stop after a violation")
    parser.add_argument("--sick", action="store_true", help="poisons and bad nodes instead")
    options = parser.parse_args()
    if options.sick:
        return _run_sick(options.seed, options.minutes * 60)
    end = time.monotonic() + options.minutes * 60
    number, code = 0, 0
    while (left_s := end - time.monotonic()) > 5:
        seed = options.seed if not number else f"{options.seed}.{number}"
        number += 1
        plan = Plan(
            seed,
            min(MIX_S, left_s),
            options.workers,
            options.lease,
            options.faults,
            large=not options.no_large,
            pool=options.pool,
        )
        if not _run(plan):
            code = 1
            if not options.keep_going:
                break
    return code


def _run_sick(seed: str, seconds: float) -> int:
    folder = Path(tempfile.mkdtemp(prefix=f"farmhaul-sick-{seed}-"))
    sick = run_sick(folder, seed, seconds)
    for line in sick.named:
        print(f"named          {line}")
    print(f"uploads        {len(sick.uploads)} and {len(sick.poisons)} poisons")
    print(f"tries          {sick.tries} by bad nodes")
    print(f"kills          {sick.kills}")
    for violation in sick.wrong:
        print(f"VIOLATION {violation}")
    if sick.wrong:
        print(f"All logs: {folder}")
    return int(bool(sick.wrong))


def _run(plan: Plan) -> bool:
    folder = Path(tempfile.mkdtemp(prefix=f"farmhaul-chaos-{plan.seed}-"))
    mix = Mix(plan, folder)
    wrong = mix.run()
    print(mix.table(), flush=True)
    if not wrong:
        shutil.rmtree(folder)
        return True
    for violation in wrong:
        print(f"VIOLATION {violation}", flush=True)
    print(
        f"All logs: {folder}\n"
        f"Again: python -m tests.chaos --seed {plan.seed} --minutes {plan.seconds / 60:g} "
        f"--workers {plan.workers} --lease {plan.lease_s:g} --faults {plan.fault_percent:g} "
        f"--pool {plan.pool}",
        flush=True,
    )
    return False


if __name__ == "__main__":
    sys.exit(main())
