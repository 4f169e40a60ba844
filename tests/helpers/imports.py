"""Which modules a statement loads: the price of a cold start."""

from __future__ import annotations

import subprocess
import sys

from tests.sandbox.process import CHECKOUT


def loaded_by(statement: str) -> set[str]:
    """Return the names of the modules that a fresh interpreter loads for a statement."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())
