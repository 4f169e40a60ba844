"""farmhaul check of a shot: what differs is named, and what the disk has is healed."""

from __future__ import annotations

import json
import random
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.farm import BIN, Farm, wait_until
from tests.helpers.checking import TARGET, check, frames_of, render, states, wait_healed
from tests.sandbox.process import CHECKOUT

pytestmark = pytest.mark.slow


def test_twelve_of_500_frames_are_named_and_ten_healed(farm: Farm) -> None:
    folder, sequence_id = render(farm, 500)
    ids = frames_of(farm, sequence_id)
    assert Counter(line["state"] for line in check(farm, folder, *TARGET)) == {"same": 500}
    for number in (1010, 1020, 1030):  # on disk, of the same size
        (folder / f"f.{number}.exr").write_bytes(random.randbytes(3000))
    (folder / "f.1040.exr").write_bytes(random.randbytes(2999))
    for number in (1050, 1060, 1070):  # in the store
        farm.sandbox.store.write(ids[number], random.randbytes(3000))
    for number in (1100, 1200, 1300):
        farm.sandbox.ftrack.delete("FileComponent", ids[number])
    for number in (1400, 1500):
        (folder / f"f.{number}.exr").unlink()
    expected = {
        **{f"f.{number}.exr": "differs" for number in (1010, 1020, 1030, 1050, 1060, 1070)},
        "f.1040.exr": "size differs",
        **{f"f.{number}.exr": "missing in ftrack" for number in (1100, 1200, 1300)},
        **{f"f.{number}.exr": "missing on disk" for number in (1400, 1500)},
    }
    calls, gets = farm.sandbox.ftrack.count_calls(), len(farm.sandbox.store.gets())

    assert states(check(farm, folder / "f.%04d.exr", *TARGET, code=1)) == expected
    assert farm.sandbox.ftrack.count_calls() - calls <= 6
    assert len(farm.sandbox.store.gets()) - gets == 500 - 3 - 2

    lines = check(farm, folder, *TARGET, "--enqueue", code=1)

    assert states(lines) == expected
    wait_healed(farm, lines)
    left = {f"f.{number}.exr": "missing on disk" for number in (1400, 1500)}
    assert states(check(farm, folder, *TARGET, code=1)) == left


def test_bytes_that_the_store_loses_again_are_healed_again(farm: Farm) -> None:
    folder, sequence_id = render(farm, 3)
    frame = frames_of(farm, sequence_id)[1002]
    for _ in range(3):
        farm.sandbox.store.write(frame, random.randbytes(3000))
        lines = check(farm, folder, *TARGET, "--enqueue", code=1)
        assert states(lines) == {"f.1002.exr": "differs"}
        wait_healed(farm, lines)
        assert farm.sandbox.store.read(frame) == (folder / "f.1002.exr").read_bytes()
    farm.sandbox.store.delete(frame)

    assert states(check(farm, folder, *TARGET, code=1)) == {"f.1002.exr": "missing in ftrack"}


def test_a_worker_lost_in_the_middle_loses_no_answer(farm: Farm) -> None:
    folder, _ = render(farm, 60)
    (folder / "f.1007.exr").write_bytes(random.randbytes(3000))
    (folder / "f.1008.exr").unlink()
    slow = farm.sandbox.faults.add("store", "latency_s", 1, method="GET")
    command: list[str | Path] = [BIN / "farmhaul", "check", folder, *TARGET, "--farm"]
    process = subprocess.Popen(
        command, env=farm.environment(), cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    )
    wait_until(lambda: len(farm.sandbox.store.gets()) >= 5)
    farm.workers[0].kill()
    farm.sandbox.faults.remove(slow)

    output, _ = process.communicate(timeout=120)

    lines = [json.loads(line) for line in output.splitlines()]
    assert states(lines) == {"f.1007.exr": "differs", "f.1008.exr": "missing on disk"}
    assert (process.returncode, len(lines)) == (1, 60)
