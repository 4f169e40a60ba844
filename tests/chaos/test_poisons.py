"""One upload that always fails, among many: it holds up no other, and fails by itself."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.chaos.conftest import MakeFarm
from tests.chaos.healing import let_time_pass
from tests.chaos.scenes import errors_of, wait_arrived
from tests.farm import Farm, Upload, wait_until

pytestmark = pytest.mark.chaos

HTML = {"body": "<html><body>refused</body></html>"}
#: What is answered for one component, each time: faults as ``sandbox.faults.add`` takes them.
POISONS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "ftrack: 500": (("ftrack", "status", 500), {}),
    "ftrack: 500 when it is located": (("ftrack", "status", 500), {"action": "create"}),
    "ftrack: 500 after it was located": (
        ("ftrack", "status", 500),
        {"action": "create", "done": True},
    ),
    "ftrack: ServerError": (("ftrack", "error", "ServerError"), {}),
    "ftrack: 429": (("ftrack", "status", 429), {"headers": {"Retry-After": "1"}}),
    "ftrack: a page with 403": (("ftrack", "status", 403), HTML),
    "ftrack: junk": (("ftrack", "junk"), {}),
    "ftrack: other JSON": (("ftrack", "junk"), {"body": "[]"}),
    "ftrack: a lost answer": (("ftrack", "lost_answer"), {"action": "get_upload_metadata"}),
    "ftrack: a reset": (("ftrack", "reset"), {}),
    "ftrack: a long wait": (("ftrack", "latency_s", 3), {}),
    "ftrack: expired URLs": (("ftrack", "url_lifetime_s", 0), {}),
    "credentials": (("ftrack", "error", "InvalidCredentialsError"), {}),
    "store: 500": (("store", "status", 500), {}),
    "store: a lost answer": (("store", "lost_answer"), {}),
    "store: a reset": (("store", "reset"), {"after_bytes": 5000}),
    "store: a stall": (("store", "stall", 3), {"after_bytes": 5000}),
    "store: a long wait": (("store", "latency_s", 3), {}),
    "store: other bytes": (("store", "bad_digest"), {}),
    "store: another ETag": (("store", "etag", "0" * 32), {}),
}


def poison(farm: Farm, upload: Upload, kind: str) -> None:
    arguments, conditions = POISONS[kind]
    farm.sandbox.faults.add(*arguments, component_id=upload.component_id, **conditions)


def test_poisons_of_all_kinds_delay_no_other_upload(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=2)
    with farm.frozen():
        uploads = farm.upload_many(120)
        bad = dict(zip(POISONS, uploads[::5], strict=False))
        for kind, upload in bad.items():
            poison(farm, upload, kind)
    others = [upload for upload in uploads if upload not in bad.values()]

    wait_arrived(farm, others, timeout_s=90)

    assert len(bad) == len(POISONS)
    assert farm.redis.zcard("farmhaul:state:pending") <= len(bad)
    errors = {kind: errors_of(farm, upload) for kind, upload in bad.items()}
    lasting = {kind for kind in bad if "wait" not in kind and "after" not in kind}
    assert {kind for kind, error in errors.items() if error} >= lasting - {"store: a stall"}


@pytest.mark.parametrize("kind", ["ftrack: ServerError", "store: 500"])
def test_a_poison_fails_by_itself_while_others_pass(farm: Farm, kind: str) -> None:
    with farm.frozen():
        bad, *others = farm.upload_many(60)
        poison(farm, bad, kind)
    wait_arrived(farm, others)
    until = time.monotonic() + 60
    while farm.states([bad.id]) != ["failed"] and time.monotonic() < until:
        others = farm.upload_many(4)
        wait_arrived(farm, others)
        let_time_pass(farm.redis)

    assert farm.states([bad.id]) == ["failed"]
    assert "times for this upload alone" in errors_of(farm, bad)
    assert farm.cli("status", bad.id).returncode == 0
    assert not farm.redis.hget("farmhaul:totals", "outages:ftrack")

    farm.sandbox.faults.clear()
    farm.cli("retry", bad.id)
    wait_until(lambda: farm.states([bad.id]) == ["located"])


def test_a_large_file_that_the_store_never_takes_stops_no_other(farm: Farm) -> None:
    large = farm.upload(content=70_000_000)
    farm.sandbox.faults.add("store", "status", 500, component_id=large.component_id, part_number=1)
    for _ in range(3):
        wait_arrived(farm, farm.upload_many(20))
        let_time_pass(farm.redis)

    assert farm.states([large.id])[0] in {"active", "pending", "retrying"}
    assert not farm.redis.hget("farmhaul:gate:store", "until")
