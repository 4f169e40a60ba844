"""All troubles at once for a minute, over a few hundred uploads; ``make chaos`` runs longer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.bad_nodes import BAD_NODES
from tests.chaos.sick import run_sick
from tests.helpers.skipping import warn_loudly
from tests.sandbox.process import CHECKOUT


def check_mix(*options: str) -> None:
    # In a process of its own, as `make chaos` runs it; its output names the seed and the folder.
    seed = os.environ.get("CHAOS_SEED", "2")
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--seed", seed, *options],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_after_a_minute_of_all_troubles_all_uploads_are_right() -> None:
    check_mix("--minutes", "0.75")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_after_a_minute_of_all_troubles_thread_pools_are_right_too() -> None:
    check_mix("--minutes", "1", "--pool", "threads")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_bad_nodes_of_each_kind_try_uploads_once_and_are_named(tmp_path: Path) -> None:
    sick = run_sick(tmp_path / "sick", os.environ.get("CHAOS_SEED", "2"), 0)

    assert sick.wrong == []
    assert len(sick.named) == len(sick.kinds)
    assert sick.tries > 0
    if len(sick.kinds) < len(BAD_NODES):
        warn_loudly("A STALE MOUNT WAS NOT TESTED: only root can mount FUSE")
