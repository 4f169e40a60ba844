"""The store joins parts for minutes: its worker ends meanwhile, and no part is sent again."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from tests.chaos.conftest import MakeFarm
from tests.chaos.scenes import wait_arrived
from tests.farm import wait_until

MIB = 1 << 20
JOIN = {"action": "complete_multipart_upload"}
#: It outlasts the worker.
JOIN_S = 31


@pytest.mark.slow
def test_a_worker_ends_in_time_during_a_join(make_farm: MakeFarm) -> None:
    farm = make_farm()
    farm.start()
    slow = farm.sandbox.faults.add("ftrack", "latency_s", JOIN_S, times=1, **JOIN)
    # While the store joins the parts, and after that, it does not know them.
    farm.sandbox.faults.add("ftrack", "error", "NoSuchUpload", skip=1, **JOIN)
    path = farm.make_file("long.mov", bytes(72 * MIB))
    upload = farm.upload("--version-id", farm.sandbox.ftrack.version_id, path=path)
    wait_until(lambda: farm.sandbox.faults.struck(slow), 60)
    [worker] = farm.workers
    begun = time.monotonic()
    worker.terminate()
    wait_until(lambda: not worker.alive, 60)
    assert time.monotonic() - begun < JOIN_S
    assert farm.states([upload.id]) == ["active"]

    farm.start()
    wait_arrived(farm, [upload], timeout_s=60)
    sent = Counter(put["part_number"] for put in farm.sandbox.store.puts(upload.component_id))
    assert sent == Counter(range(1, 10))
    path.unlink()
