"""Slow lines: transfers follow each other, so none idles and a kill loses little."""

from __future__ import annotations

import json
import re
import time
from functools import partial

import pytest

from tasks.config.sealing import Codec
from tasks.records.status import Status
from tests.chaos.bad_nodes import OPTIONS
from tests.chaos.conftest import MakeFarm
from tests.chaos.scenes import wait_arrived
from tests.farm import Farm, Upload, wait_until
from tests.helpers.screen import Screen

MIB = 1 << 20
#: In a row of ``watch``.
RATE_AND_ETA = re.compile(r"% +(\S+) MB/s +(\d+)s")


def came_bytes(farm: Farm, upload: Upload) -> int:
    """Return how many bytes of an upload came to the store, also in PUTs that were broken off."""
    return sum(put["came_bytes"] for put in farm.sandbox.store.puts(upload.component_id))


def has_come(farm: Farm, upload: Upload, count: float) -> bool:
    return came_bytes(farm, upload) >= count


def make_sixteen(make_farm: MakeFarm, limit: str, *more: str) -> Farm:
    """Start two workers with eight processes each, at a limit, and with more options."""
    env = {"FARMHAUL_BANDWIDTH": limit, "FARMHAUL_CONNECTIONS": "16"}
    options = ("--concurrency=8", "--without-gossip", "--without-mingle", *more)
    return make_farm(workers=2, options=options, env=env)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "cut_s", "count", "size"), [("1M", 5, 30, 500_000), ("100k", 5, 12, 100_000)]
)
def test_at_a_low_limit_the_store_cuts_no_idle_connection(
    make_farm: MakeFarm, limit: str, cut_s: float, count: int, size: int
) -> None:
    farm = make_sixteen(make_farm, limit)
    farm.sandbox.faults.add("store", "idle_cut_s", cut_s, method="PUT")
    with farm.frozen():
        uploads = farm.upload_many(count, size=size)
    wait_arrived(farm, uploads, timeout_s=120)
    puts = farm.sandbox.store.puts()
    assert [put["status"] for put in puts] == [200] * len(uploads)


@pytest.mark.slow
def test_at_a_low_limit_the_store_cuts_no_idle_part(make_farm: MakeFarm) -> None:
    """Each process has a run of parts, and a part takes 84 s."""
    farm = make_sixteen(make_farm, "100k", "-I", "tests.chaos.short_runs")
    farm.sandbox.faults.add("store", "idle_cut_s", 5, method="PUT")
    path = farm.make_file("long.mov", bytes(256 * MIB))
    upload = farm.upload("--version-id", farm.sandbox.ftrack.version_id, path=path)
    wait_until(partial(has_come, farm, upload, 1e6), 60)

    farm.cli("limit", "--bandwidth", "off")
    farm.wait_located([upload.id], 90)
    puts = farm.sandbox.store.puts(upload.component_id)
    assert [put["status"] for put in puts] == [200] * 32
    path.unlink()


@pytest.mark.slow
def test_at_a_low_limit_files_are_located_long_before_their_batch(make_farm: MakeFarm) -> None:
    """Also while all processes send: a batch gives back what has not begun after a while."""
    options = ("--concurrency=1", *OPTIONS[1:], "-I", "tests.chaos.going_on")
    farm = make_farm(options=options, env={"FARMHAUL_BANDWIDTH": "500k"})
    with farm.frozen():
        uploads = farm.upload_many(50, size=1_000_000)
    ids = [upload.id for upload in uploads]
    wait_until(lambda: "located" in farm.states(ids), 90)
    assert "pending" in farm.states(ids) or "active" in farm.states(ids)

    farm.cli("limit", "--bandwidth", "off")
    wait_arrived(farm, uploads, timeout_s=60)
    assert [put["status"] for put in farm.sandbox.store.puts()] == [200] * len(uploads)


@pytest.mark.slow
def test_small_files_follow_each_other_on_a_line_that_nobody_limits(make_farm: MakeFarm) -> None:
    farm = make_farm(options=("--concurrency=1", "--without-gossip", "--without-mingle"))
    farm.start()
    farm.sandbox.faults.add("store", "line_bytes_s", 1_000_000, method="PUT")
    with farm.frozen():
        uploads = farm.upload_many(20, size=200_000)
    wait_arrived(farm, uploads, timeout_s=60)
    puts = farm.sandbox.store.puts()
    assert len(puts) == len(uploads)
    # Otherwise all of them share the line, and the first ends as late as the last.
    assert min(put["ended_at"] for put in puts) < max(put["started_at"] for put in puts)


@pytest.mark.slow
def test_a_kill_at_a_low_limit_loses_the_part_that_was_under_way(make_farm: MakeFarm) -> None:
    """1 GiB at 5 MB/s with a kill every 20 s sends at most 1.1 times the file.

    A kill then costs a tenth of these 100 MB: the part under way and, if it ends within 0.25 s, the
    begin of the next one. All processes are killed, so the one that sends is among them.
    """
    farm = make_farm(env={"FARMHAUL_BANDWIDTH": "5M"})
    [worker] = farm.workers
    path = farm.make_file("long.mov", b"\x07\x08" * (40 * MIB))
    upload = farm.upload("--version-id", farm.sandbox.ftrack.version_id, path=path)
    kills_at = (16e6, 48e6)
    for came in kills_at:
        wait_until(partial(has_come, farm, upload, came), 60)
        worker.kill("group")
        farm.start()
    wait_arrived(farm, [upload], timeout_s=60)
    assert came_bytes(farm, upload) <= path.stat().st_size + len(kills_at) * 10e6
    path.unlink()


@pytest.mark.slow
def test_the_progress_of_a_large_file_moves_each_second(make_farm: MakeFarm) -> None:
    """After 10 s, ``watch`` and ``status`` also know how long the rest takes."""
    farm = make_farm(env={"FARMHAUL_BANDWIDTH": "1M"})
    path = farm.make_file("slow.mov", bytes(72 * MIB))
    upload = farm.upload("--version-id", farm.sandbox.ftrack.version_id, path=path)
    wait_until(partial(has_come, farm, upload, 1), 60)
    status, sent = Status(farm.redis, Codec([])), set()
    with Screen(farm, upload.id) as screen:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            sent |= {state.sent_bytes for state in status.find([upload.id]) if state}
            time.sleep(0.05)
        assert len(sent) >= 8, "it moved each second, give or take a busy machine"

        left_s = (path.stat().st_size - came_bytes(farm, upload)) / 1e6
        wait_until(lambda: RATE_AND_ETA.search(screen.text))
        speed, watch_says_s = RATE_AND_ETA.findall(screen.text)[-1]
    state = json.loads(farm.cli("status", "--json", upload.id).stdout)
    assert 0.5 < float(speed) < 2
    assert left_s / 2 < float(watch_says_s) < left_s * 2
    assert left_s / 2 < state["left_s"] < left_s * 2
    assert farm.cli("cancel", upload.id).returncode == 0
    path.unlink()


@pytest.mark.slow
def test_at_a_low_limit_a_worker_exits_soon_after_sigterm(make_farm: MakeFarm) -> None:
    """What was under way goes on when a worker runs again."""
    farm = make_farm(env={"FARMHAUL_BANDWIDTH": "2M"})
    farm.start()
    path = farm.make_file("slow.mov", bytes(72 * MIB))
    large = farm.upload("--version-id", farm.sandbox.ftrack.version_id, path=path)
    small = farm.upload(content=60_000_000)
    wait_until(partial(has_come, farm, large, 1), 60)
    wait_until(partial(has_come, farm, small, 1), 60)
    [worker] = farm.workers
    worker.terminate()
    wait_until(lambda: not worker.alive, 30)

    farm.cli("limit", "--bandwidth", "off")
    farm.start()
    wait_arrived(farm, [large, small], timeout_s=60)
    path.unlink()
