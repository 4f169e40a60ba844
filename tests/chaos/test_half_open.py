"""Connections become half open: the other side is gone, and nothing says so."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tasks.chain import list_key, queue_of
from tasks.records.states import STAGES
from tests.chaos.conftest import MakeFarm
from tests.chaos.scenes import wait_arrived
from tests.farm import Farm, wait_until
from tests.helpers.silent_proxy import SilentProxy, silent_proxy
from tests.sandbox import Sandbox

FIRST = list_key(queue_of(), STAGES[0]).encode()
#: How a wake-up begins on the wire; messages of later stages go to other lists.
WAKE_UP = b"LPUSH\r\n$%d\r\n%b\r\n" % (len(FIRST), FIRST)


def add_behind(proxy: SilentProxy, farm: Farm, workers: int) -> None:
    """Add workers that reach Redis by a proxy; hooks do not.

    No other worker may see its database: that one would go on in spite of the silence.
    """
    url = urlsplit(farm.env["FARMHAUL_REDIS_URL"])._replace(netloc=f"127.0.0.1:{proxy.port}")
    for _ in range(workers):
        farm.add(env={"FARMHAUL_REDIS_URL": url.geturl()}, wait=False)
    for worker in farm.workers:
        worker.wait_ready()


@pytest.mark.slow
def test_uploads_outlive_half_open_connections_to_redis(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=0)
    with silent_proxy(farm.sandbox.redis.port) as proxy:
        add_behind(proxy, farm, 2)
        farm.sandbox.faults.add("store", "latency_s", 0.3)
        uploads = farm.upload_many(100)
        wait_until(lambda: farm.redis.zcard("farmhaul:state:located") >= 20)

        assert proxy.silence() > 20
        wait_arrived(farm, uploads, timeout_s=60)
        assert all(worker.alive for worker in farm.workers)
        # A warm shutdown would wait for answers on connections that are still half open.
        for worker in farm.workers:
            worker.kill()


@pytest.mark.slow
def test_uploads_arrive_if_redis_is_silent_before_their_wake_up(make_farm: MakeFarm) -> None:
    """Their records are written, and what the worker says next gets no answer."""
    farm = make_farm(workers=0)
    with silent_proxy(farm.sandbox.redis.port) as proxy:
        add_behind(proxy, farm, 1)
        proxy.silence_before(WAKE_UP)
        uploads = farm.upload_many(10)
        wait_until(lambda: proxy.is_silent)
        assert farm.states([upload.id for upload in uploads]) == ["pending"] * 10

        proxy.speak()
        wait_arrived(farm, uploads, timeout_s=120)
        farm.workers[0].kill()  # as above


@pytest.mark.slow
def test_commands_end_if_redis_is_silent_before_their_message(farm: Farm, tmp_path: Path) -> None:
    """Their records are written, so workers do what they ask for."""
    farm.sandbox.faults.add("ftrack", "error", "PermissionError", action="create")
    upload = farm.upload()
    farm.wait_state([upload.id], "failed")
    farm.sandbox.faults.clear()
    with silent_proxy(farm.sandbox.redis.port) as proxy:
        env = {"FARMHAUL_REDIS_URL": f"redis://127.0.0.1:{proxy.port}/0"}
        proxy.silence_before(b"LPUSH")
        retried = farm.cli("retry", upload.id, env=env)
        assert proxy.is_silent
        proxy.speak()
        wait_arrived(farm, [upload])

        proxy.silence_before(b"LPUSH")
        folder = farm.make_file("in the folder", b"").parent
        command = ("fetch", upload.component_id, "--to", folder, "--enqueue")
        fetched = farm.cli(*command, env=env)
        assert proxy.is_silent

    assert (retried.returncode, retried.stdout) == (0, f"{upload.id} pending\n")
    assert fetched.returncode == 3
    assert "Traceback" not in retried.stderr + fetched.stderr
    wait_until(lambda: len([*folder.iterdir()]) > 1, 120)


#: Calls and files hang for seconds only.
IMPATIENT = (
    *("--concurrency=2", "--without-gossip", "--without-mingle"),
    *("-I", "tests.chaos.impatient"),
)


@pytest.mark.slow
def test_uploads_outlive_half_open_connections_to_ftrack(
    make_farm: MakeFarm, sandbox: Sandbox
) -> None:
    with silent_proxy(urlsplit(sandbox.env["FTRACK_SERVER"]).port or 0) as proxy:
        server = f"http://127.0.0.1:{proxy.port}"
        farm = make_farm(options=IMPATIENT, env={"FTRACK_SERVER": server})
        farm.start()
        wait_arrived(farm, farm.upload_many(10))
        assert proxy.silence() > 0

        wait_arrived(farm, farm.upload_many(10))


@pytest.mark.slow
def test_uploads_outlive_half_open_connections_to_the_store(make_farm: MakeFarm) -> None:
    """A store that is gone after some bytes, and one that is gone when it has all of them."""
    farm = make_farm(options=IMPATIENT)
    farm.start()
    for after_bytes in (0, 100_000):
        gone = {"method": "PUT", "times": 3, "after_bytes": after_bytes}
        farm.sandbox.faults.add("store", "stall", 600, **gone)

    wait_arrived(farm, [*farm.upload_many(6, 100_000), farm.upload(content=5_000_000)])
