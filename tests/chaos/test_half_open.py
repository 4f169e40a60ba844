"""Connections become half open: the other side is gone, and nothing says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.conftest import LEASE_S
from tests.chaos.scenes import wait_arrived
from tests.farm import Farm, wait_until
from tests.helpers.silent_proxy import silent_proxy
from tests.sandbox import Sandbox


@pytest.mark.chaos
def test_uploads_outlive_half_open_connections_to_redis(sandbox: Sandbox, tmp_path: Path) -> None:
    with silent_proxy(sandbox.redis.port) as proxy:
        farm = Farm(sandbox, tmp_path / "farm", 2, env={"FARMHAUL_LEASE_SECONDS": str(LEASE_S)})
        for worker in farm.workers:
            worker.env["FARMHAUL_REDIS_URL"] = f"redis://127.0.0.1:{proxy.port}/0"
        farm.sandbox.faults.add("store", "latency_s", 0.3)
        with farm:
            uploads = farm.upload_many(100)
            wait_until(lambda: farm.redis.zcard("farmhaul:state:located") >= 20)

            assert proxy.silence() > 20
            wait_arrived(farm, uploads, timeout_s=60)
            assert all(worker.alive for worker in farm.workers)
            # A warm shutdown would wait for answers on connections that are still half open.
            for worker in farm.workers:
                worker.kill()
