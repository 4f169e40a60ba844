"""Two nodes of different names: a limit that is lifted, and what each of them refuses."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tasks.chain import list_key, queue_of
from tasks.intake.envelope import make_body, sign
from tasks.intake.inbox import INBOX
from tasks.records import refusals
from tasks.records.states import STAGES
from tests.farm import Farm, wait_until
from tests.functional.conftest import MakeFarm
from tests.sandbox import seed

pytestmark = pytest.mark.slow

NODES = ("node7", "node8")
SIZE = 400_000
PUT_FILE = str(STAGES.index("put_file") + 1)


@pytest.fixture
def nodes(make_farm: MakeFarm) -> Farm:
    return make_nodes(make_farm)


def make_nodes(make_farm: MakeFarm, more: Sequence[str] = ()) -> Farm:
    """Start a worker with one process on each node, with more options."""
    farm = make_farm(workers=0, app="tests.helpers.other_node")
    for name in NODES:
        options = ("--concurrency=1", f"--hostname=w1@{name}", "--without-gossip", *more)
        farm.add(env={"NODE_NAME": name}, options=options, wait=False)
    for worker in farm.workers:
        worker.wait_ready()
    return farm


def enqueue_on_each(farm: Farm) -> list[str]:
    """Enqueue a file that only the first node sees, and one that only the second does."""
    components = [farm.sandbox.ftrack.add_component("f.exr") for _ in NODES]
    requests = [
        {"path": str(farm.make_file("f.exr", SIZE)), "component_id": component_id, "host": name}
        for name, component_id in zip(NODES, components, strict=True)
    ]
    farm.redis.lpush(INBOX, sign(make_body(requests, time.time(), "node6"), ()))
    return components


def test_a_node_wakes_the_one_that_it_leaves_an_upload_to(nodes: Farm) -> None:
    """Of many nodes, perhaps one sees the file: it is not found by chance."""
    node7, _ = nodes.workers
    with nodes.frozen():
        upload = nodes.upload()
        nodes.redis.hset(f"farmhaul:upload:{upload.id}", "tried", '{"w1@node7": "files"}')
        node7.thaw()
        queue = list_key(queue_of("node8"), STAGES[0])
        wait_until(lambda: nodes.redis.llen(queue), describe=node7.log_text)
        time.sleep(2)  # the reconciler wakes somebody each second
        assert nodes.redis.llen(queue) == 1, "one suffices, however long node8 is busy"
        assert nodes.states([upload.id]) == ["pending"]

    nodes.wait_located([upload.id])


def test_a_limit_that_is_lifted_holds_up_no_node(nodes: Farm) -> None:
    """Whatever was drawn before: at 1,000 bytes a second, each of the files takes minutes."""
    nodes.cli("limit", "--bandwidth", "1k")
    components = enqueue_on_each(nodes)

    def is_sending() -> bool:
        keys = nodes.redis.scan_iter("farmhaul:upload:*")
        found = [nodes.redis.hmget(key, "stage", "worker") for key in keys]
        return {*map(tuple, found)} == {(PUT_FILE, f"w1@{name}") for name in NODES}

    wait_until(is_sending, 60)
    assert [nodes.sandbox.ftrack.locations(one) for one in components] == [[], []]
    nodes.cli("limit", "--clear")

    wait_until(lambda: all(map(nodes.sandbox.ftrack.locations, components)), 60)


def test_a_download_is_left_to_a_node_that_sees_its_folder(
    make_farm: MakeFarm, tmp_path: Path
) -> None:
    farm = make_farm(workers=0, app="tests.helpers.other_node")
    component_id = farm.sandbox.ftrack.add_component("plate.exr")
    farm.sandbox.store.write(component_id, b"pixels")
    ready = {"component_id": component_id, "location_id": seed.SERVER_LOCATION_ID}
    farm.sandbox.ftrack.create("ComponentLocation", resource_identifier=component_id, **ready)
    folder = farm.make_file("marker", 1).parent
    for name, roots in zip(NODES, (tmp_path, farm.sandbox.storage), strict=True):
        env = {"NODE_NAME": name, "FARMHAUL_STORAGE_ROOTS": str(roots)}
        farm.add(env=env, options=("--concurrency=1", f"--hostname=w1@{name}", "--without-gossip"))
    farm.workers[1].freeze()
    task_id = json.loads(farm.cli("fetch", component_id, "--to", folder, "--enqueue").stdout)[
        "task_id"
    ]

    def state() -> str | None:
        return str(farm.redis.hget(f"farmhaul:fetch:{task_id}", "state"))

    wait_until(lambda: state() == "retrying")
    farm.workers[1].thaw()
    wait_until(lambda: state() == "fetched", 60)
    assert len(list(folder.iterdir())) == 2


def test_what_is_refused_is_counted_by_reason_and_node(nodes: Farm) -> None:
    counts = {"node7": 3, "node8": 2}
    for name, count in counts.items():
        nodes.redis.lpush(f"farmhaul.{name}", *(["reboot, please"] * count), "[]")

    expected = {
        *(("message", name, "it is not JSON", count) for name, count in counts.items()),
        *(("message", name, "it is malformed", 1) for name in counts),
    }
    wait_until(
        lambda: {one[:4] for one in refusals.read(nodes.redis)} == expected,
        describe=lambda: str(refusals.read(nodes.redis)),
    )


def test_nodes_that_see_other_inodes_send_one_large_file(make_farm: MakeFarm) -> None:
    farm = make_nodes(make_farm, ("-I", "tests.helpers.other_inodes"))
    path = farm.make_file("long.mov", b"\x07\x08" * (64 << 20))  # two runs of eight parts
    farm.sandbox.faults.add("store", "bandwidth_bytes_s", 8e6)
    upload = farm.upload("--version-id", farm.sandbox.ftrack.version_id, path=path)
    farm.wait_located([upload.id], 60)

    assert farm.sandbox.store.read(upload.component_id) == path.read_bytes()
    sent = Counter(put["part_number"] for put in farm.sandbox.store.puts(upload.component_id))
    assert sent == Counter(range(1, 17))
    taken = [re.findall(r"put_parts\[(.+?)\] rec", worker.log_text()) for worker in farm.workers]
    assert [len(runs) for runs in taken] == [1, 1]
    path.unlink()
