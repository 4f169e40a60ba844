"""A node that can do nothing right, beside a good one: nothing fails, all arrive, it is named."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.chaos.conftest import MakeFarm
from tests.chaos.scenes import wait_arrived
from tests.farm import Farm, Worker

pytestmark = pytest.mark.chaos


def with_bad_node(make_farm: MakeFarm, env: Mapping[str, str]) -> Farm:
    """Return a farm of a good worker w1, and of w2 with these settings."""
    farm = make_farm(workers=1)
    farm.add(env=env)
    return farm


def most_tries(worker: Worker) -> int:
    """Return how often the worker has handed over the upload that it met most often."""
    found = re.findall(r"upload_handed_over upload_id=(\S+)", worker.log_text())
    return max(Counter(found).values(), default=0)


def test_a_node_without_a_root_fails_nothing(make_farm: MakeFarm, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    farm = with_bad_node(make_farm, {"FARMHAUL_STORAGE_ROOTS": str(other)})

    for _ in range(3):
        wait_arrived(farm, farm.upload_many(20))

    assert most_tries(farm.workers[1]) == 1
