"""Limits that all workers share: the bandwidth of the line out, and API calls a second."""

from __future__ import annotations

import pytest

from tests.farm import Farm, wait_until
from tests.functional.conftest import MakeFarm

FILES = 60
SIZE = 250_000


def enqueue_many(farm: Farm, files: int = FILES) -> list[str]:
    version_id = farm.sandbox.ftrack.version_id
    paths = [farm.make_file(f"f.{n:04}.exr", SIZE) for n in range(files)]
    entries = [
        {"path": str(path), "version_id": version_id, "name": f"n{n}"}
        for n, path in enumerate(paths)
    ]
    return [upload["upload_id"] for upload in farm.enqueue_manifest(entries)]


def bytes_per_second(farm: Farm) -> float:
    puts = farm.sandbox.store.puts()
    seconds = max(put["ended_at"] for put in puts) - min(put["started_at"] for put in puts)
    sent = sum(put["body_bytes"] for put in puts)
    return float(sent / seconds)


def test_four_workers_together_keep_to_the_bandwidth_of_the_farm(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=4, env={"FARMHAUL_BANDWIDTH": "5M"})
    farm.wait_located(enqueue_many(farm), timeout_s=60)
    assert bytes_per_second(farm) == pytest.approx(5e6, rel=0.1)


def test_a_limit_set_live_holds_at_once_and_is_taken_back(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=1)
    shown = farm.cli("limit", "--bandwidth", "3M")
    assert shown.stdout.splitlines()[0].split() == ["bandwidth", "3M"]
    farm.wait_located(enqueue_many(farm, 30), timeout_s=60)
    assert bytes_per_second(farm) == pytest.approx(3e6, rel=0.15)
    farm.cli("limit", "--clear")
    assert not farm.redis.exists("farmhaul:limits")


def test_the_farm_makes_no_more_api_calls_than_it_may(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=2, env={"FARMHAUL_API_RATE": "4"})
    ids = []
    for n in range(8):
        path = farm.make_file(f"a{n}.exr", 1000)
        [upload] = farm.enqueue(path, "--version-id", farm.sandbox.ftrack.version_id)
        ids.append(upload["upload_id"])
    farm.wait_located(ids, timeout_s=60)
    moments = sorted(call["started_at"] for call in farm.sandbox.ftrack.calls())
    calls, seconds = len(moments) - 1, moments[-1] - moments[0]
    assert calls / seconds < 4.6


def test_without_a_limit_nothing_is_drawn(farm: Farm) -> None:
    farm.wait_located(enqueue_many(farm, 5))
    assert not list(farm.redis.scan_iter("farmhaul:bucket:*"))


@pytest.mark.parametrize("value", ["fast", "0", "08:00=5M"])
def test_a_limit_that_is_no_rate_is_refused_with_an_example(hook: Farm, value: str) -> None:
    done = hook.cli("limit", "--bandwidth", value)
    assert done.returncode == 2
    assert "write 50M" in done.stderr
    wait_until(lambda: not hook.redis.exists("farmhaul:limits"))


def test_taking_back_and_setting_a_limit_at_once_is_bad_input(hook: Farm) -> None:
    done = hook.cli("limit", "--clear", "--bandwidth", "5M")
    assert done.returncode == 2
    assert "--clear" in done.stderr
    assert not hook.redis.exists("farmhaul:limits")
