"""Redis closes connections that are idle (``timeout`` of its configuration)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.conftest import MakeFarm
from tests.chaos.scenes import wait_arrived, wait_sending
from tests.sandbox import Sandbox

IDLE_S = 2


@pytest.fixture
def impatient_redis(sandbox: Sandbox) -> Iterator[None]:
    with sandbox.redis.client() as client:
        client.config_set("timeout", IDLE_S)
        yield
        client.config_set("timeout", 0)


@pytest.mark.slow
@pytest.mark.usefixtures("impatient_redis")
def test_a_worker_goes_on_when_redis_closes_idle_connections(make_farm: MakeFarm) -> None:
    farm = make_farm(options=("--concurrency=1", "--without-gossip", "--without-mingle"))
    farm.start()
    # While its only process is busy, a worker asks for no tasks.
    farm.sandbox.faults.add("store", "latency_s", 4 * IDLE_S, times=1)
    busy = farm.upload()
    wait_sending(farm, busy)
    wait_arrived(farm, [busy, *farm.upload_many(3)], timeout_s=60)

    [worker] = farm.workers
    assert "Connection to broker lost" not in worker.log_text(all_starts=True)
    assert "redis_away" not in worker.log_text(all_starts=True)
