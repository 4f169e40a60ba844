"""Publishes while workers and Redis are killed: each visible as a whole, once."""

from __future__ import annotations

import json
import random
import time
from collections import Counter

import pytest

from tests.chaos.conftest import MakeFarm
from tests.chaos.invariants import wrong_indexes
from tests.farm import Farm
from tests.sandbox import seed

FRAMES = 40


def publish(farm: Farm, number: int) -> str:
    """Enqueue a sequence and its movie as one; gives the upload id."""
    name = f"sh{number:03d}"
    folder = farm.make_file("a.1001.exr", 20_000).parent
    for frame in range(1002, 1001 + FRAMES):
        farm.make_file(f"a.{frame}.exr", 20_000, folder.name)
    movie = farm.make_file("a.mov", 200_000, folder.name)
    common = {"version_id": seed.VERSION_ID, "publish": name}
    lines = [
        common | {"path": str(folder / "a.%04d.exr"), "name": f"{name} exr"},
        common | {"path": str(movie), "name": f"{name} movie", "encode": True},
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    # A hook that was refused, or told of nothing, is fired again.
    for _ in range(20):
        done = farm.cli("enqueue", "--manifest", "-", stdin=text)
        if done.returncode == 0:
            return str(json.loads(done.stdout)["upload_id"])
        time.sleep(0.5)
    raise AssertionError(done.stderr)


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_publishes_are_whole_and_encoded_once_through_kills_of_workers_and_redis(
    make_farm: MakeFarm,
) -> None:
    farm = make_farm(workers=3)
    farm.sandbox.faults.add("store", "latency_s", 0.2, method="PUT")
    farm.sandbox.faults.add("ftrack", "lost_answer", action="encode_media", times=2)
    farm.sandbox.faults.add("store", "reset", probability=0.05, after_bytes=1000)
    dice = random.Random(7)
    uploads = []
    for number in range(6):
        uploads.append(publish(farm, number))
        if number in {2, 4}:
            farm.sandbox.redis.kill()
            farm.sandbox.redis.start()
        dice.choice(farm.workers).kill("group")
        farm.start()
    farm.wait_located(uploads, 180)
    assert len(farm.sandbox.ftrack.entities("SequenceComponent")) == 6
    files = farm.sandbox.ftrack.entities("FileComponent")
    assert Counter(one["name"] for one in files if one["container_id"]) == Counter(
        {str(frame): 6 for frame in range(1001, 1001 + FRAMES)}
    )
    assert len(farm.sandbox.ftrack.entities("ComponentLocation")) == 6 * (FRAMES + 2)
    assert len(farm.sandbox.ftrack.entities("Job")) == 6
    assert list(wrong_indexes(farm.redis)) == []
