"""Bytes that are torn, late, gone or wrong: what arrives is the newest file, or nothing."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.chaos.healing import let_time_pass
from tests.chaos.scenes import (
    errors_of,
    wait_arrived,
    wait_arrived_soon,
    wait_sending,
)
from tests.farm import Farm, wait_until


class Writer:
    """A renderer that goes on and on writing to a file, until it is told to stop."""

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


def test_a_file_that_is_written_while_it_is_sent_arrives_as_it_is_in_the_end(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "bandwidth_bytes_s", 10e6)
    with farm.frozen():
        asked = farm.upload(content=5_000_000)
        writer = Writer(asked.path)
    wait_until(lambda: "still being written?" in errors_of(farm, asked))
    assert farm.sandbox.ftrack.locations(asked.component_id) == []
    writer.stop()
    wait_arrived_soon(farm, [asked])


def test_a_file_that_never_comes_to_rest_fails_and_asks_whether_it_is_being_written(
    farm: Farm,
) -> None:
    farm.sandbox.faults.add("store", "latency_s", 0.2)
    with farm.frozen():
        asked = farm.upload(content=5_000_000)
        writer = Writer(asked.path)

    def ended() -> bool:
        let_time_pass(farm.redis)
        return farm.states([asked.id]) == ["failed"]

    wait_until(ended, 40, lambda: str(farm.record(asked.id)))
    writer.stop()
    record = farm.record(asked.id)
    assert "still being written?" in record["error"]
    assert record["tries:FileChangedError"] == "5"
    assert farm.sandbox.ftrack.locations(asked.component_id) == []


@pytest.mark.chaos
def test_a_file_that_vanishes_is_waited_for_and_then_fails(farm: Farm) -> None:
    with farm.frozen():
        others = farm.upload_many(3)
        asked = farm.upload()
        asked.path.unlink()
    farm.wait_state([asked.id], "retrying")
    assert "No such file" in errors_of(farm, asked)
    wait_arrived(farm, others)

    def ended() -> bool:
        let_time_pass(farm.redis)
        return farm.states([asked.id]) == ["failed"]

    wait_until(ended, 40)
    assert str(asked.path) in errors_of(farm, asked)


def test_a_newer_file_wins_over_one_that_is_being_sent(farm: Farm) -> None:
    # All of it is under way, and gets to the store only after the lease: no block is sent
    # meanwhile at which the sender would notice.
    farm.sandbox.faults.add("store", "latency_s", 8, times=1)
    old = farm.upload(content=100_000)
    wait_sending(farm, old)
    beside = old.path.with_suffix(".tmp")
    beside.write_bytes(b"better pixels")
    beside.replace(old.path)
    new = farm.upload(path=old.path, component_id=old.component_id)
    wait_arrived(farm, [new])
    farm.wait_quiet()

    assert farm.states([old.id]) == ["superseded"]
    assert new.id in errors_of(farm, old)
    assert farm.sandbox.store.read(new.component_id) == b"better pixels"


@pytest.mark.chaos
def test_the_newest_of_many_versions_wins(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "latency_s", 0.7)
    asked = [farm.upload(content=100_000)]
    for number in range(5):
        asked[0].path.write_bytes(f"pixels {number}".encode() * 9000)
        asked.append(farm.upload(path=asked[0].path, component_id=asked[0].component_id))
        time.sleep(0.3)  # the one before may be in any stage
    wait_arrived(farm, asked[-1:])
    farm.wait_quiet()
    wait_arrived(farm, asked[-1:])
    assert set(farm.states(one.id for one in asked[:-1])) <= {"superseded", "located"}


def test_bytes_that_break_on_the_way_are_sent_again(farm: Farm) -> None:
    broken = farm.sandbox.faults.add("store", "bad_digest", times=2, method="PUT")
    asked = farm.upload(content=300_000)
    wait_arrived_soon(farm, [asked])
    assert farm.sandbox.faults.struck(broken) == 2


def test_urls_that_have_run_out_are_signed_again(farm: Farm) -> None:
    farm.sandbox.faults.add("ftrack", "url_lifetime_s", 0, times=2)
    asked = farm.upload_many(5)
    wait_arrived_soon(farm, asked)


def test_a_signature_that_is_refused_is_made_anew(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "status", 403, method="PUT", times=2)
    asked = farm.upload()
    wait_arrived_soon(farm, [asked])
    assert farm.sandbox.ftrack.count_calls("get_upload_metadata") == 3


@pytest.mark.chaos
def test_a_transfer_that_stalls_and_goes_on_is_no_fault(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "stall", 6, after_bytes=1_000_000, times=1)
    asked = farm.upload(content=20_000_000)
    wait_arrived(farm, [asked])
    assert len(farm.sandbox.store.puts()) == 1
