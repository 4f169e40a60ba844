"""``python -m tests.chaos.killed SCRIPT NUMBER ARGUMENT…``: run farmhaul, and kill it midway.

With the argument ``take-in`` alone, it takes in what hooks have pushed, as a worker does.

It dies when it is about to run a script of ``tasks/records/lua`` for the NUMBERth time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

from tasks.records.scripts import Scripts
from tests.farm import Farm
from tests.helpers.take_in import take_in
from tests.sandbox.process import CHECKOUT
from workers.cli import main

TAKE_IN = "take-in"


def cli_killed(farm: Farm, script: str, number: int, *arguments: str) -> None:
    """Run farmhaul on a farm, and kill it as described above."""
    command = [sys.executable, "-m", "tests.chaos.killed", script, str(number), *arguments]
    done = subprocess.run(command, cwd=CHECKOUT, env=farm.environment(), timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, "it was not killed: does it still run this script?"


def _run() -> None:
    script, number = sys.argv[1], int(sys.argv[2])
    run = Scripts.run

    def deadly(self: Scripts, name: str, *values: bytes, **arguments: Any) -> Any:
        nonlocal number
        number -= name == script
        if not number:
            os.kill(os.getpid(), signal.SIGKILL)
        return run(self, name, *values, **arguments)

    Scripts.run = deadly  # type: ignore[method-assign]
    sys.argv[1:] = sys.argv[3:]
    if sys.argv[1:] == [TAKE_IN]:
        take_in(os.environ)
    else:
        main()


if __name__ == "__main__":
    _run()
