"""What ``make demo`` counts as left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.demo.checks import processes_of


@pytest.mark.parametrize(("variable", "is_own"), [("TMPDIR", True), ("RENDERS", False)])
def test_a_process_of_another_terminal_is_none_of_the_demo(
    tmp_path: Path, variable: str, is_own: bool
) -> None:
    environment = {**os.environ, variable: str(tmp_path)}
    words = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()

        assert bool(processes_of(tmp_path)) is is_own
        other.communicate(b"\n")
