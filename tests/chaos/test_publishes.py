"""Publishes become visible whole and once, whoever is killed meanwhile, and however large."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from tests.chaos.conftest import MakeFarm
from tests.chaos.invariants import wrong_indexes
from tests.chaos.killed import TAKE_IN, cli_killed
from tests.farm import Farm, wait_until
from tests.sandbox import seed

FRAMES = 40


def publish(farm: Farm, number: int) -> str:
    """Enqueue a sequence and its movie as one publish; return the upload id."""
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
    printed: list[str] = []

    def enqueued() -> bool:
        done = farm.cli("enqueue", "--manifest", "-", stdin=text)
        printed.append(done.stdout or done.stderr)
        return done.returncode == 0

    wait_until(enqueued, 60, lambda: printed[-1])  # a hook that fails is run again
    return str(json.loads(printed[-1])["upload_id"])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_publishes_are_whole_and_encoded_once_despite_kills(
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
    assert Counter(file["name"] for file in files if file["container_id"]) == Counter(
        {str(frame): 6 for frame in range(1001, 1001 + FRAMES)}
    )
    assert len(farm.sandbox.ftrack.entities("ComponentLocation")) == 6 * (FRAMES + 2)
    assert len(farm.sandbox.ftrack.entities("Job")) == 6
    assert list(wrong_indexes(farm.redis)) == []


def sequence(farm: Farm, frames: int = 12) -> str:
    """Render a sequence; return its folder."""
    folder = farm.make_file("a.1001.exr", 1000).parent
    for frame in range(1002, 1001 + frames):
        farm.make_file(f"a.{frame}.exr", 1000, folder.name)
    return str(folder)


def wait_located_whole(farm: Farm, upload_id: str, frames: int = 12) -> None:
    """Wait for a publish, and check that ftrack has all of it."""
    farm.wait_located([upload_id], 60)
    assert len(farm.sandbox.ftrack.entities("ComponentLocation")) == frames + 1
    [shown] = farm.sandbox.ftrack.entities("SequenceComponent")
    assert shown["size"] == frames * 1000
    assert list(wrong_indexes(farm.redis)) == []


@pytest.mark.slow
@pytest.mark.parametrize("script", ["enqueue", "complete_publish", "taken"])
def test_a_publish_whose_worker_dies_as_it_takes_it_in_is_whole(hook: Farm, script: str) -> None:
    done = hook.cli("enqueue", sequence(hook), "--version-id", seed.VERSION_ID)
    upload_id = json.loads(done.stdout)["upload_id"]
    cli_killed(hook, script, 1, TAKE_IN)
    assert hook.redis.llen("farmhaul:taking") == 1
    hook.add()
    wait_located_whole(hook, upload_id)
    assert len(hook.sandbox.store.puts()) == 12


@pytest.mark.slow
@pytest.mark.parametrize("script", ["enqueue", "complete_publish"])
def test_a_retry_killed_midway_and_repeated_locates_the_publish(farm: Farm, script: str) -> None:
    with farm.frozen():
        [upload] = farm.enqueue(sequence(farm), "--version-id", seed.VERSION_ID)
        assert farm.cli("cancel", upload["upload_id"]).returncode == 0
    cli_killed(farm, script, 1, "retry", upload["upload_id"])
    again = farm.cli("retry", upload["upload_id"])
    assert again.stdout.split()[1] in {"storing", "pending", "active", "located"}
    wait_located_whole(farm, upload["upload_id"])


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2, 7])
def test_a_cancel_killed_midway_and_repeated_stops_the_publish(hook: Farm, number: int) -> None:
    [upload] = hook.enqueue(sequence(hook), "--version-id", seed.VERSION_ID)
    cli_killed(hook, "cancel", number, "cancel", upload["upload_id"])
    assert hook.cli("cancel", upload["upload_id"]).stdout.split()[1] == "cancelled"
    assert hook.redis.zcard("farmhaul:pending") == 0
    assert hook.redis.zcard("farmhaul:file:cancelled") == 12
    assert list(wrong_indexes(hook.redis)) == []


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_ten_thousand_frames_are_one_sequence_in_at_most_500_calls(make_farm: MakeFarm) -> None:
    # With the usual lease: on a busy machine the last stage outlasts the short lease of tests.
    farm = make_farm(workers=2, lease_s=60)
    count = 10_000
    folder = farm.make_file("a.00000.exr", 200).parent
    for frame in range(1, count):
        (folder / f"a.{frame:05d}.exr").write_bytes(b"%05d" % frame * 40)
    done = farm.cli("enqueue", str(folder), "--version-id", seed.VERSION_ID, timeout_s=120)
    assert done.returncode == 0, done.stderr
    upload = json.loads(done.stdout)
    assert len(done.stdout) < 1000, "the printed line stays readable"
    farm.wait_located([upload["upload_id"]], 300)
    assert farm.sandbox.ftrack.count_calls() <= 500
    [shown] = farm.sandbox.ftrack.entities("SequenceComponent")
    assert shown["size"] == count * 200
    assert shown["version_id"] == seed.VERSION_ID
    files = farm.sandbox.ftrack.entities("FileComponent")
    assert {file["name"] for file in files} == {f"{frame:05d}" for frame in range(count)}
    located = {row["component_id"] for row in farm.sandbox.ftrack.entities("ComponentLocation")}
    assert located == {shown["id"], *(file["id"] for file in files)}
    status = json.loads(farm.cli("status", upload["upload_id"]).stdout)
    assert (status["files"], status["stored"]) == (count, count)
    assert len(farm.cli("status", "--all").stdout.splitlines()) == 1
