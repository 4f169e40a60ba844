"""Somebody with an operator's secret key and Redis user seals presigned URLs of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks.config.sealing import url_codec
from tasks.config.settings import Settings
from tasks.transfer.multipart import plan_runs
from tests.farm import wait_until
from tests.functional.guarded import Guarded
from tests.unit.odd_server import OddServer

pytestmark = pytest.mark.slow

SIZE = 70 << 20
#: The stand-in for ftrack is on loopback, so that files may be sent there, too.
BARRED = ("http://10.255.255.1:6379/", "https://169.254.169.254/latest", "https://a:b@10.0.0.7/")


@pytest.fixture
def odd() -> Iterator[OddServer]:
    with OddServer() as server:
        yield server


def test_an_operator_can_have_asked_for_bytes_alone_sent_elsewhere(
    guarded: Guarded, odd: OddServer
) -> None:
    """To a server of their own, which the component does not depend on, and to no barred one."""
    farm, operator = guarded.farm, guarded.client("operator")
    number = farm.sandbox.faults.add("store", "status", 503, method="PUT")
    upload = farm.upload(content=SIZE, name="main.mov")
    key = f"farmhaul:parts:{upload.id}"
    wait_until(lambda: operator.hget(key, "urls:0"), 60)
    farm.wait_state([upload.id], "retrying")
    secret = farm.env["FARMHAUL_SECRET_KEY"]
    codec = url_codec(Settings("redis://unused", secret_keys=(secret,)))
    urls = iter([f"{odd.url}/part", *BARRED])
    with farm.frozen():
        version = [upload.id, *operator.hmget(key, ["multipart", "identity"])]
        for run, parts in enumerate(plan_runs(SIZE)):
            lies = [next(urls, f"{odd.url}/part") for _ in parts]
            operator.hset(key, f"urls:{run}", codec.encode({"for": [*version, run], "urls": lies}))
        operator.delete("farmhaul:gate:store")
    farm.sandbox.faults.remove(number)

    farm.wait_located([upload.id], 150)

    content = upload.path.read_bytes()
    assert odd.requests, "the cell of SECURITY.md says too much"
    assert all(request.body in content for request in odd.requests)
    assert farm.sandbox.store.read(upload.component_id) == content
