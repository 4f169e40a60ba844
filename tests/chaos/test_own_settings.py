"""A proxy that is not there, on one node: it fails nothing, closes no gate, and is named."""

from __future__ import annotations

import re

import pytest

from tests.chaos.conftest import MakeFarm
from tests.chaos.scenes import wait_arrived
from tests.sandbox import Sandbox
from tests.sandbox.process import CLOSED_PORT

pytestmark = pytest.mark.slow

NOWHERE = f"127.0.0.1:{CLOSED_PORT}"


def ftrack_by_name(sandbox: Sandbox) -> str:
    return sandbox.env["FTRACK_SERVER"].replace("127.0.0.1", "localhost")


@pytest.mark.parametrize("service", ["ftrack", "store"])
def test_a_node_whose_proxy_is_gone_holds_nothing_up(
    sandbox: Sandbox, make_farm: MakeFarm, service: str
) -> None:
    # Under another name than the store, so that a proxy may be meant for one of them.
    farm = make_farm(workers=1, env={"FTRACK_SERVER": ftrack_by_name(sandbox)})
    direct = "localhost" if service == "store" else ""
    farm.add(env={"http_proxy": f"http://me:hunter2@{NOWHERE}", "no_proxy": direct})

    # With a single batch at a time, two idle nodes would take the stages in turn: the same node
    # would always send the files.
    for _ in range(20):
        wait_arrived(farm, farm.upload_many(60))
        if farm.redis.hlen("farmhaul:paused"):
            break

    assert farm.redis.keys("farmhaul:gate:*") == []
    [(name, _)] = farm.redis.hgetall("farmhaul:paused").items()
    assert name.startswith("w2@")
    named = rf"w2@\S+ .*cannot reach {service} .*http_proxy=http://\*\*\*@{NOWHERE}"
    for command in ("status", "doctor"):
        done = farm.cli(command)
        assert re.search(named, done.stdout + done.stderr), done
    assert "hunter2" not in "".join(worker.log_text() for worker in farm.workers)
