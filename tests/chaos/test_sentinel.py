"""Redis fails over (Sentinel): workers and hooks follow the new master, and lose nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from tests.chaos import sentinels
from tests.chaos.conftest import LEASE_S
from tests.chaos.scenes import wait_arrived
from tests.farm import Farm, wait_until
from tests.sandbox import Sandbox


@pytest.mark.slow
def test_workers_and_hooks_follow_a_failover_and_nothing_is_lost(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    with sentinels.running(tmp_path) as group:
        env = {"FARMHAUL_LEASE_SECONDS": str(LEASE_S), "FARMHAUL_SPOOL": str(tmp_path / "spool")}
        farm = Farm(sandbox, tmp_path / "farm", 2, env=env)
        farm.env["FARMHAUL_REDIS_URL"] = group.url
        for worker in farm.workers:
            worker.env["FARMHAUL_REDIS_URL"] = group.url
        farm.redis = group.master.client()
        farm.sandbox.faults.add("store", "latency_s", 0.5)
        with farm:
            uploads = farm.upload_many(60)
            wait_until(lambda: farm.redis.hlen("unacked"))
            group.fail_over()
            farm.redis = group.master.client()
            assert isinstance(farm.redis, redis.Redis)
            uploads += farm.upload_many(20)
            wait_arrived(farm, uploads, timeout_s=60)
            assert all(worker.alive for worker in farm.workers)


@pytest.mark.slow
def test_a_farm_uploads_through_sentinels_by_tls(sandbox: Sandbox, tmp_path: Path) -> None:
    with sentinels.running_with_tls(tmp_path / "group") as (url, master):
        farm = Farm(sandbox, tmp_path / "farm", 1)
        for env in (farm.env, *(worker.env for worker in farm.workers)):
            env["FARMHAUL_REDIS_URL"] = url
        farm.redis = master.client()
        farm.redis.select(1)
        with farm:
            uploads = farm.upload_many(3)
            wait_arrived(farm, uploads)
            answers = [
                farm.cli("status"),
                farm.cli("retry", uploads[0].id),
                farm.cli("fetch", uploads[0].component_id, "--to", sandbox.storage, "--enqueue"),
            ]
            log = farm.workers[0].log_text()
    assert [done.returncode for done in answers] == [0, 0, 0], answers
    assert "insecure" not in log
