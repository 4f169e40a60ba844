"""Files that change, vanish or are corrupted: the newest file arrives whole, or nothing does."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tasks.records.states import STAGES
from tests.chaos.healing import let_time_pass
from tests.chaos.scenes import (
    errors_of,
    wait_arrived,
    wait_arrived_soon,
    wait_sending,
)
from tests.farm import Farm, wait_until


class Writer:
    """A renderer that appends to a file until it is stopped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        with self.path.open("ab", buffering=0) as file:
            while not self._stopped.wait(0.02):
                file.write(b"pixels")

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


def test_a_file_written_during_its_upload_arrives_as_it_is_at_last(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "bandwidth_bytes_s", 10e6)
    with farm.frozen():
        upload = farm.upload(content=5_000_000)
        writer = Writer(upload.path)
    wait_until(lambda: "still being written?" in errors_of(farm, upload))
    assert farm.sandbox.ftrack.locations(upload.component_id) == []
    writer.stop()
    wait_arrived_soon(farm, [upload])


def test_a_file_that_changes_without_end_fails_as_still_written(
    farm: Farm,
) -> None:
    farm.sandbox.faults.add("store", "latency_s", 0.2)
    with farm.frozen():
        upload = farm.upload(content=5_000_000)
        writer = Writer(upload.path)

    def ended() -> bool:
        let_time_pass(farm.redis)
        return farm.states([upload.id]) == ["failed"]

    wait_until(ended, 40, lambda: str(farm.record(upload.id)))
    writer.stop()
    record = farm.record(upload.id)
    assert "still being written?" in record["error"]
    assert record["tries:FileChangedError"] == "5"
    assert farm.sandbox.ftrack.locations(upload.component_id) == []


@pytest.mark.slow
def test_a_file_that_vanishes_is_waited_for_and_then_fails(farm: Farm) -> None:
    with farm.frozen():
        others = farm.upload_many(3)
        upload = farm.upload()
        upload.path.unlink()
    farm.wait_state([upload.id], "retrying")
    assert "No such file" in errors_of(farm, upload)
    wait_arrived(farm, others)

    def ended() -> bool:
        let_time_pass(farm.redis)
        return farm.states([upload.id]) == ["failed"]

    wait_until(ended, 40)
    assert str(upload.path) in errors_of(farm, upload)


@pytest.mark.slow
def test_a_file_or_frame_cut_off_after_its_enqueue_is_never_located(farm: Farm) -> None:
    with farm.frozen():
        cut = farm.upload(content=1_000_000)
        os.truncate(cut.path, 400_000)
        first = farm.make_file("a.1001.exr", 50_000)
        frame = farm.make_file("a.1002.exr", 50_000, first.parent.name)
        [frames] = farm.enqueue(first.parent, "--version-id", farm.sandbox.ftrack.version_id)
        os.truncate(frame, 20_000)
    ids = [cut.id, frames["upload_id"]]

    def ended() -> bool:
        let_time_pass(farm.redis)
        return farm.states(ids) == ["failed", "failed"]

    wait_until(ended, 60, lambda: str([farm.record(upload_id) for upload_id in ids]))
    for upload_id, sizes in zip(ids, ((1_000_000, 400_000), (50_000, 20_000)), strict=True):
        said = "changed since it was queued: it had {} bytes and has {}".format(*sizes)
        assert said in farm.record(upload_id)["error"]
    assert farm.sandbox.ftrack.entities("ComponentLocation") == []
    assert farm.sandbox.store.puts(cut.component_id) == []


@pytest.mark.slow
def test_a_newer_file_wins_over_one_that_is_being_sent(farm: Farm) -> None:
    # The whole body is sent, and reaches the store only after the lease: the sender sends no
    # further block at which it would notice the newer file.
    farm.sandbox.faults.add("store", "latency_s", 8, times=1)
    old = farm.upload(content=100_000)
    wait_sending(farm, old)
    temporary = old.path.with_suffix(".tmp")
    temporary.write_bytes(b"better pixels")
    temporary.replace(old.path)
    new = farm.upload(path=old.path, component_id=old.component_id)
    wait_arrived(farm, [new])
    farm.wait_quiet()

    assert farm.states([old.id]) == ["superseded"]
    assert new.id in errors_of(farm, old)
    assert farm.sandbox.store.read(new.component_id) == b"better pixels"


@pytest.mark.slow
def test_the_newest_of_many_versions_wins(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "latency_s", 0.7)
    uploads = [farm.upload(content=100_000)]
    for number, stage in enumerate((*STAGES, "put_file")):
        farm.wait_stage(uploads[-1].id, stage)
        uploads[0].path.write_bytes(f"pixels {number}".encode() * 9000)
        uploads.append(farm.upload(path=uploads[0].path, component_id=uploads[0].component_id))
    wait_arrived(farm, uploads[-1:])
    farm.wait_quiet()
    wait_arrived(farm, uploads[-1:])
    assert set(farm.states(upload.id for upload in uploads[:-1])) <= {"superseded", "located"}


def test_bytes_corrupted_on_the_way_are_sent_again(farm: Farm) -> None:
    broken = farm.sandbox.faults.add("store", "bad_digest", times=2, method="PUT")
    upload = farm.upload(content=300_000)
    wait_arrived_soon(farm, [upload])
    assert farm.sandbox.faults.struck(broken) == 2


def test_expired_urls_are_signed_again(farm: Farm) -> None:
    farm.sandbox.faults.add("ftrack", "url_lifetime_s", 0, times=2)
    uploads = farm.upload_many(5)
    wait_arrived_soon(farm, uploads)
    assert farm.sandbox.ftrack.count_calls("get_upload_metadata") >= 2


def test_a_refused_signature_is_made_again(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "status", 403, method="PUT", times=2)
    upload = farm.upload()
    wait_arrived_soon(farm, [upload])
    assert farm.sandbox.ftrack.count_calls("get_upload_metadata") == 3


@pytest.mark.slow
def test_a_transfer_that_stalls_and_resumes_is_sent_once(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "stall", 6, after_bytes=1_000_000, times=1)
    upload = farm.upload(content=20_000_000)
    wait_arrived(farm, [upload])
    assert len(farm.sandbox.store.puts()) == 1
