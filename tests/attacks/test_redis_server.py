"""Someone who stops or fills Redis itself: workers live on, and all that was asked for arrives."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pytest
import redis

from tests.farm import wait_until
from tests.functional.conftest import MakeFarm
from tests.functional.guarded import Guarded

pytestmark = pytest.mark.slow

SECONDS_FULL = 8


def test_a_script_that_loops_is_ended_by_the_administrator(guarded: Guarded) -> None:
    farm = guarded.farm
    pid = farm.workers[0].pid

    def loop() -> None:
        with suppress(redis.RedisError), guarded.client("worker") as client:
            client.register_script("while true do end")()

    thread = threading.Thread(target=loop)
    thread.start()

    def is_busy() -> bool:
        try:
            guarded.client("health").ping()
        except redis.ResponseError as error:
            return "BUSY" in str(error)
        except redis.RedisError:
            return False
        return False

    wait_until(is_busy, 40)
    with guarded.client("admin") as admin:
        wait_until(lambda: admin.script_kill() or True)
    thread.join(20)

    farm.wait_located([farm.upload().id])
    assert farm.workers[0].alive
    assert farm.workers[0].pid == pid


def test_a_redis_that_somebody_has_filled_ends_no_worker(make_farm: MakeFarm) -> None:
    """Messages and uploads wait, as when rings of the old work are in the queues."""
    farm = make_farm(workers=1)
    pid = farm.workers[0].pid
    farm.sandbox.faults.add("store", "latency_s", 0.5)
    with farm.frozen():
        uploads = farm.upload_many(40)
    try:
        farm.redis.config_set("maxmemory", "1mb")
        end = time.monotonic() + SECONDS_FULL
        while time.monotonic() < end:
            for command in (("SET", "full", "x" * 1000), ("LPUSH", "farmhaul", "x" * 1000)):
                with pytest.raises(redis.OutOfMemoryError):
                    farm.redis.execute_command(*command)
            assert farm.workers[0].alive, farm.workers[0].log_text()[-3000:]
            time.sleep(0.5)
    finally:
        farm.redis.config_set("maxmemory", "0")
        farm.sandbox.faults.clear()
    farm.wait_located([upload.id for upload in uploads])
    assert farm.workers[0].pid == pid
    assert "Traceback" not in farm.workers[0].log_text()
