"""A worker may be killed at any line while it takes in: nothing is lost, and nothing done twice."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.sandbox import RedisServer
from tests.sandbox.process import CHECKOUT


def check_kills(redis_server: RedisServer, way: str, kills: int) -> None:
    # In a process of its own, because it forks the workers that are killed.
    seed = os.environ.get("CHAOS_SEED", "2")
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.intake_kills", way, str(kills), seed],
        cwd=CHECKOUT,
        env={**os.environ, "FARMHAUL_REDIS_URL": redis_server.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout


def test_workers_killed_while_they_take_in_lose_nothing(redis_server: RedisServer) -> None:
    check_kills(redis_server, "lines", 25)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", ["lines", "storm"])
def test_sixty_workers_killed_while_they_take_in_lose_nothing(
    redis_server: RedisServer, way: str
) -> None:
    check_kills(redis_server, way, 60)
