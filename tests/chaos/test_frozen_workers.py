"""A frozen worker wakes after its lease: its fencing token is old, so it can do no harm."""

from __future__ import annotations

import os
import signal

import pytest

from tests.chaos.conftest import MakeFarm
from tests.chaos.scenes import (
    busy_worker,
    wait_arrived,
    wait_sending,
)
from tests.farm import Farm, Upload, Worker, wait_until


def freeze_in_mid_upload(farm: Farm) -> tuple[Upload, Worker]:
    """Upload a file of 40 MB, and freeze its worker when part of it is sent."""
    farm.sandbox.faults.add("store", "bandwidth_bytes_s", 4e6)
    upload = farm.upload(content=40_000_000)
    wait_sending(farm, upload)
    wait_until(lambda: int(farm.record(upload.id).get("sent", 0)) > 0, 20)
    worker = busy_worker(farm, upload)
    worker.freeze()
    return upload, worker


def wait_given_up(farm: Farm, worker: Worker, upload: Upload) -> None:
    """Wait until the worker that woke logs that another one has the upload."""
    wait_until(lambda: f"upload_taken_over upload_id={upload.id}" in worker.log_text(), 20)


@pytest.mark.slow
def test_a_worker_that_wakes_after_its_lease_writes_nothing(farm: Farm) -> None:
    upload, worker = freeze_in_mid_upload(farm)
    begun = len(farm.sandbox.store.puts())  # on a slow machine, a lease has ended before
    wait_until(lambda: len(farm.sandbox.store.puts()) > begun, 30)  # the other worker took over
    farm.sandbox.faults.clear()
    worker.thaw()
    wait_given_up(farm, worker, upload)

    wait_arrived(farm, [upload])
    farm.wait_quiet()
    assert [put["status"] for put in farm.sandbox.store.puts()].count(200) == 1
    assert farm.sandbox.ftrack.count_calls("create") == 1
    assert farm.states([upload.id]) == ["located"]


@pytest.mark.slow
def test_a_worker_that_wakes_after_a_new_render_sends_no_old_bytes(
    farm: Farm,
) -> None:
    old, worker = freeze_in_mid_upload(farm)
    farm.sandbox.faults.clear()
    old.path.write_bytes(b"better pixels")
    new = farm.upload(path=old.path, component_id=old.component_id)
    wait_arrived(farm, [new])
    worker.thaw()
    wait_given_up(farm, worker, old)

    farm.wait_quiet()
    # The other worker may have sent the new bytes for the old upload before it took the new one in.
    assert farm.states([old.id]) in (["superseded"], ["located"])
    wait_arrived(farm, [new])
    assert len(farm.sandbox.ftrack.locations(new.component_id)) == 1


def test_a_worker_frozen_in_a_call_to_ftrack_registers_nothing_twice(
    farm: Farm,
) -> None:
    slow = farm.sandbox.faults.add("ftrack", "latency_s", 2, action="create")
    upload = farm.upload()
    wait_until(lambda: farm.sandbox.faults.struck(slow), 20)
    worker = busy_worker(farm, upload)
    worker.freeze()
    farm.wait_located([upload.id])
    worker.thaw()

    farm.wait_quiet()
    wait_arrived(farm, [upload])
    assert farm.states([upload.id]) == ["located"]


@pytest.mark.slow
def test_a_worker_whose_parent_alone_froze_does_no_harm(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=2)
    farm.sandbox.faults.add("store", "bandwidth_bytes_s", 2e6)
    upload = farm.upload(content=16_000_000)
    wait_sending(farm, upload)
    worker = busy_worker(farm, upload)
    os.kill(worker.pid, signal.SIGSTOP)
    wait_arrived(farm, [upload])
    os.kill(worker.pid, signal.SIGCONT)
    farm.wait_quiet()
    wait_arrived(farm, [upload])
