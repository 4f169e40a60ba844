"""The main job: what is enqueued is in ftrack's media store, byte for byte, once."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.farm import BIN, Farm
from tests.functional.conftest import MakeFarm
from tests.sandbox import Sandbox, seed
from tests.sandbox.official import official_client

MIB = 1 << 20

#: 20 files: names that break clients, sizes that break blocks.
FILES = {
    "plain.exr": 200_000,
    "with space.exr": 1,
    'double"quote.exr': 2,
    "single'quote.exr": 777,
    "ünïcödé ß.exr": 4095,
    "日本語.exr": 65_537,
    "100%41.exr": 1_000_003,
    "%2F%00.exr": 262_144,
    "🎬 take 1.mov": 65 * MIB + 1,
    "semi;colon,comma.exr": 262_145,
    "back\\slash.exr": 3,
    "plus+and&equals=.exr": 5,
    "hash#question?.exr": 7,
    "-leading dash.exr": 11,
    "no suffix": 13,
    ".hidden": 17,
    "trailing dot.": 19,
    "<angle>|{curly}~`.exr": 23,
    f"{'x' * 196}.exr": 29,
    f"{'🎬' * 60}.exr": 31,
}


def components_of(call: dict[str, Any]) -> list[str]:
    return [one["component_id"] for one in call["operations"] if "component_id" in one]


def test_20_files_of_odd_names_and_sizes_arrive_whole_and_once(
    farm: Farm,
) -> None:
    sandbox = farm.sandbox
    folder = uuid.uuid4().hex
    paths = [farm.make_file(name, size, folder) for name, size in FILES.items()]
    entries = [
        {"path": str(path), "component_id": sandbox.ftrack.add_component(path.name)}
        for path in paths
    ]

    uploads = farm.enqueue_manifest(entries)
    farm.wait_located([upload["upload_id"] for upload in uploads])

    assert [upload["path"] for upload in uploads] == [str(path) for path in paths]
    assert [upload["size"] for upload in uploads] == list(FILES.values())
    for path, entry in zip(paths, entries, strict=True):
        component_id = entry["component_id"]
        assert sandbox.store.read(component_id) == path.read_bytes(), path.name
        [location] = sandbox.ftrack.locations(component_id)
        assert location["location_id"] == seed.SERVER_LOCATION_ID
        assert location["resource_identifier"] == component_id
    sent = Counter((put["key"], put["part_number"]) for put in sandbox.store.puts())
    assert set(sent.values()) == {1}
    assert {key for key, _ in sent} == {entry["component_id"] for entry in entries}


def test_the_media_host_sees_the_signed_headers_and_no_credentials(farm: Farm) -> None:
    farm.wait_located([farm.upload(content=1000).id])

    [put] = farm.sandbox.store.puts()
    headers = {name.lower(): value for name, value in put["headers"].items()}
    assert set(headers) == {
        "host",
        "content-length",
        "content-md5",
        "content-type",
        "content-disposition",
    }
    assert headers["content-length"] == "1000"


def test_a_batch_takes_one_call_to_sign_and_one_to_locate(farm: Farm) -> None:
    folder = uuid.uuid4().hex
    ftrack = farm.sandbox.ftrack
    entries = [
        {
            "path": str(farm.make_file(f"main.{n:04d}.exr", 100, folder)),
            "component_id": ftrack.add_component(f"main.{n:04d}.exr"),
        }
        for n in range(40)
    ]
    with farm.frozen():
        uploads = farm.enqueue_manifest(entries)
    farm.wait_located([upload["upload_id"] for upload in uploads])

    calls = ftrack.calls()
    assert [sorted(set(call["actions"])) for call in calls] == [
        ["get_upload_metadata", "query"],
        ["create", "query", "update"],
    ]
    assert [len(call["actions"]) for call in calls] == [41, 81]
    assert {row["size"] for row in ftrack.entities("FileComponent")} == {100}


def test_single_enqueues_that_pile_up_are_signed_together(farm: Farm) -> None:
    paths = [farm.make_file("main.exr", 100) for _ in range(6)]
    with farm.frozen(), ThreadPoolExecutor(3) as pool:
        uploads = list(pool.map(lambda path: farm.upload(path=path), paths))
    farm.wait_located([upload.id for upload in uploads])
    assert farm.sandbox.ftrack.count_calls("get_upload_metadata") == 1


def test_under_a_version_component_and_location_are_made_in_one_call(farm: Farm) -> None:
    ftrack = farm.sandbox.ftrack
    name = f"beauty {uuid.uuid4()}"
    path = farm.make_file("sh010_v001.png", 5000)
    [upload] = farm.enqueue(
        path, "--version-id", ftrack.version_id, "--name", name, "--thumbnail", "--encode"
    )
    farm.wait_located([upload["upload_id"]])

    component_id = upload["component_id"]
    component = ftrack.get("FileComponent", component_id)
    assert component is not None
    assert (component["name"], component["file_type"]) == (name, ".png")
    assert (component["size"], component["version_id"]) == (5000, ftrack.version_id)
    assert len(ftrack.locations(component_id)) == 1
    assert farm.sandbox.store.read(component_id) == path.read_bytes()
    version = ftrack.get("AssetVersion", ftrack.version_id)
    assert version is not None
    assert version["thumbnail_id"] == component_id
    [call] = ftrack.calls("create")
    assert call["actions"] == ["create", "create", "create", "encode_media"]


def test_nothing_of_a_version_is_visible_before_the_bytes_are_stored(farm: Farm) -> None:
    ftrack = farm.sandbox.ftrack
    latency_s = 0.5
    farm.sandbox.faults.add("store", "latency_s", latency_s)
    name = f"main {uuid.uuid4()}"
    upload = farm.upload("--version-id", ftrack.version_id, "--name", name)
    farm.wait_located([upload.id])

    [put] = farm.sandbox.store.puts()
    [create] = ftrack.calls("create")
    assert create["started_at"] >= put["started_at"] + latency_s
    assert [component["name"] for component in ftrack.entities("FileComponent")] == [name]


def test_a_component_of_a_version_is_named_after_its_file(farm: Farm) -> None:
    ftrack = farm.sandbox.ftrack
    path = farm.make_file(f"sh {uuid.uuid4()}.v001.mov", 10)
    [upload] = farm.enqueue(path, "--version-id", ftrack.version_id)
    farm.wait_located([upload["upload_id"]])
    component = ftrack.get("FileComponent", upload["component_id"])
    assert component is not None
    assert (component["name"], component["file_type"]) == (f"{path.stem}_mov", ".mov")


def test_the_official_client_reads_the_bytes_that_were_uploaded(farm: Farm) -> None:
    path = farm.make_file("main 🎬.exr", 300_001)
    upload = farm.upload(path=path)
    [under_version] = farm.enqueue(
        path, "--version-id", farm.sandbox.ftrack.version_id, "--name", f"{uuid.uuid4()}"
    )
    farm.wait_located([upload.id, under_version["upload_id"]])

    with official_client(farm.sandbox) as session:
        location = session.get("Location", seed.SERVER_LOCATION_ID)
        for component_id in (upload.component_id, under_version["component_id"]):
            component = session.get("FileComponent", component_id)
            assert location.get_component_availability(component) == 100.0
            assert session.pick_location(component)["name"] == "ftrack.server"
            resource = location.get_resource_identifier(component)
            with contextlib.closing(location.accessor.open(resource)) as stored:
                assert stored.read() == path.read_bytes()


# The same file more than once


def test_a_file_enqueued_twice_is_one_upload_sent_once(farm: Farm) -> None:
    path = farm.make_file("main.exr", 1000)
    component_id = farm.sandbox.ftrack.add_component("main.exr")
    with farm.frozen():
        first = farm.upload(path=path, component_id=component_id)
        second = farm.upload(path=path, component_id=component_id)
    assert second == first
    farm.wait_located([first.id])
    farm.wait_quiet()
    assert len(farm.sandbox.store.puts()) == 1
    assert len(farm.sandbox.ftrack.locations(component_id)) == 1


def test_hooks_that_fire_four_at_once_make_one_upload_sent_once(farm: Farm) -> None:
    path = farm.make_file("main.exr", 1000)
    component_id = farm.sandbox.ftrack.add_component("main.exr")
    command = [str(BIN / "farmhaul"), "enqueue", str(path), "--component-id", component_id]
    hooks = [
        subprocess.Popen(command, env=farm.environment(), stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    lines = [hook.communicate()[0] for hook in hooks]
    assert [hook.returncode for hook in hooks] == [0] * 4
    [upload_id] = {line.split('"upload_id": "')[1][:36] for line in lines}
    farm.wait_located([upload_id])
    farm.wait_quiet()
    assert len(farm.sandbox.store.puts()) == 1
    assert len(farm.sandbox.ftrack.locations(component_id)) == 1


def test_a_located_file_is_not_sent_again(farm: Farm) -> None:
    path = farm.make_file("main.exr", 1000)
    upload = farm.upload(path=path)
    farm.wait_located([upload.id])

    [again] = farm.enqueue(path, "--component-id", upload.component_id)
    farm.wait_quiet()

    assert (again["upload_id"], again["state"]) == (upload.id, "queued")
    farm.wait_located([upload.id])
    assert len(farm.sandbox.store.puts()) == 1
    # Only one of them is for the second time: whether ftrack still has it.
    assert farm.sandbox.ftrack.count_calls() == 3


def test_a_file_that_was_rendered_again_replaces_the_bytes(farm: Farm) -> None:
    path = farm.make_file("main.exr", 1000)
    first = farm.upload(path=path)
    farm.wait_located([first.id])

    path.write_bytes(b"better pixels")
    second = farm.upload(path=path, component_id=first.component_id)
    farm.wait_located([second.id])

    assert second.id != first.id
    assert farm.sandbox.store.read(first.component_id) == b"better pixels"
    assert len(farm.sandbox.ftrack.locations(first.component_id)) == 1
    assert farm.states([first.id]) == ["located"]


def test_a_newer_file_supersedes_an_upload_that_has_not_begun(farm: Farm) -> None:
    path = farm.make_file("main.exr", 1000)
    with farm.frozen():
        first = farm.upload(path=path)
        path.write_bytes(b"better pixels")
        second = farm.upload(path=path, component_id=first.component_id)
    farm.wait_located([second.id])

    assert farm.states([first.id]) == ["superseded"]
    assert farm.sandbox.store.read(first.component_id) == b"better pixels"
    assert len(farm.sandbox.store.puts()) == 1


# Options of enqueue


def test_with_no_stat_the_worker_records_the_size(farm: Farm) -> None:
    path = farm.make_file("main.exr", 1000)
    component_id = farm.sandbox.ftrack.add_component("main.exr")
    [upload] = farm.enqueue(path, "--component-id", component_id, "--no-stat")
    assert upload["size"] is None
    farm.wait_located([upload["upload_id"]])
    assert farm.record(upload["upload_id"])["size"] == "1000"
    assert farm.sandbox.store.read(component_id) == path.read_bytes()


def test_with_no_stat_the_file_may_appear_later(farm: Farm) -> None:
    path = farm.make_file("main.exr", b"")
    path.unlink()
    upload = farm.upload("--no-stat", path=path)
    farm.wait_state([upload.id], "retrying")
    assert "No such file" in farm.record(upload.id)["error"]

    path.write_bytes(b"late pixels")
    farm.wait_located([upload.id])
    assert farm.sandbox.store.read(upload.component_id) == b"late pixels"


def test_an_empty_file_is_sent_if_it_is_allowed(farm: Farm) -> None:
    upload = farm.upload("--allow-empty", path=farm.make_file("empty.exr", b""))
    farm.wait_located([upload.id])
    assert farm.sandbox.store.read(upload.component_id) == b""


def test_a_path_of_another_system_is_mapped(farm: Farm) -> None:
    path = farm.make_file("main.exr", 1000)
    component_id = farm.sandbox.ftrack.add_component("main.exr")
    theirs = f"P:\\{path.parent.name}\\main.exr"
    [upload] = farm.enqueue(
        theirs,
        "--component-id",
        component_id,
        env={"FARMHAUL_PATH_MAP": f"P:\\={farm.sandbox.storage}"},
    )
    assert upload["path"] == str(path)
    farm.wait_located([upload["upload_id"]])


def test_a_symlink_that_stays_below_the_roots_is_followed(farm: Farm) -> None:
    path = farm.make_file("main.0001.exr", 1000)
    link = path.with_name("latest.exr")
    link.symlink_to(path)
    upload = farm.upload(path=link)
    farm.wait_located([upload.id])
    assert farm.sandbox.store.read(upload.component_id) == path.read_bytes()


def test_a_node_local_file_goes_to_the_queue_of_this_host_alone(
    hook: Farm, sandbox: Sandbox
) -> None:
    host = socket.gethostname()
    # As a worker there notes it: a host without one gets no messages.
    hook.redis.hset("farmhaul:queues", "w1@node", f"farmhaul.{host}")
    hook.redis.zadd("farmhaul:alive", {"0.1 w1@node": time.time()})
    hook.upload("--node-local")
    queues = {key.split("\x06")[0] for key in hook.redis.scan_iter("farmhaul*\x06*")}
    assert queues == {f"farmhaul.{host}"}
    assert hook.redis.zcard(f"farmhaul:pending:{host}") == 1
    assert hook.redis.zcard("farmhaul:pending") == 0


def test_a_node_local_file_is_uploaded_by_its_host(farm: Farm) -> None:
    path = farm.make_file("main.exr", 1000)
    upload = farm.upload("--node-local", path=path)
    farm.wait_located([upload.id])
    assert farm.sandbox.store.read(upload.component_id) == path.read_bytes()


# Who is ftrack's no for


def test_one_refused_file_of_a_batch_does_not_hold_up_the_others(farm: Farm) -> None:
    ftrack = farm.sandbox.ftrack
    good = [ftrack.add_component("main.exr") for _ in range(6)]
    unknown, forbidden = str(uuid.uuid4()), ftrack.add_component("main.exr")
    farm.sandbox.faults.add(
        "ftrack",
        "error",
        "PermissionError",
        action="get_upload_metadata",
        component_id=forbidden,
        content="not your show",
    )
    ids = [*good[:3], unknown, *good[3:], forbidden]
    with farm.frozen():
        uploads = farm.enqueue_manifest(
            {"path": str(farm.make_file("main.exr", 1000)), "component_id": component_id}
            for component_id in ids
        )
    of_component = {upload["component_id"]: upload["upload_id"] for upload in uploads}
    farm.wait_located(of_component[component_id] for component_id in good)
    farm.wait_state([of_component[unknown], of_component[forbidden]], "failed")

    status = farm.cli("status", "--failed").stdout
    assert "not your show" in status
    assert unknown in farm.record(of_component[unknown])["error"]
    assert "does not exist in ftrack" in farm.record(of_component[unknown])["error"]
    assert not {unknown, forbidden} & {put["key"] for put in farm.sandbox.store.puts()}
    assert [len(ftrack.locations(component_id)) for component_id in good] == [1] * 6
    assert ftrack.locations(unknown) == []


def test_a_failed_upload_is_located_by_retry_once_its_cause_is_fixed(farm: Farm) -> None:
    component_id = str(uuid.uuid4())
    path = farm.make_file("main.exr", 1000)
    upload = farm.upload(path=path, component_id=component_id)
    farm.wait_state([upload.id], "failed")

    farm.sandbox.ftrack.add_component("main.exr", id=component_id)
    retried = farm.cli("retry", upload.id)
    assert (retried.returncode, retried.stderr) == (0, "")
    farm.wait_located([upload.id])
    assert len(farm.sandbox.store.puts()) == 1, "stored files are not sent again"


def test_a_cancelled_upload_is_not_sent(farm: Farm) -> None:
    with farm.frozen():
        upload = farm.upload()
        done = farm.cli("cancel", upload.id)
    assert done.stdout == f"{upload.id} cancelled\n"
    farm.wait_quiet()
    assert farm.sandbox.store.puts() == []
    assert farm.states([upload.id]) == ["cancelled"]


def test_a_file_swapped_for_a_link_out_of_the_roots_is_not_sent(farm: Farm, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_bytes(b"secret")
    path = farm.make_file("main.exr", 6)
    with farm.frozen():
        upload = farm.upload(path=path)
        path.unlink()
        path.symlink_to(secret)
    farm.wait_state([upload.id], "failed")
    assert "FARMHAUL_STORAGE_ROOTS" in farm.record(upload.id)["error"]
    assert farm.sandbox.store.puts() == []


# A backlog


@pytest.fixture
def one_worker(make_farm: MakeFarm) -> Farm:
    return make_farm(workers=1, options=("--concurrency=1",))


def manifest(farm: Farm, count: int, folder: str) -> list[dict[str, str]]:
    ftrack = farm.sandbox.ftrack
    path = str(farm.make_file("main.exr", 100, folder))
    rows = [{"id": str(uuid.uuid4()), "name": "main"} for _ in range(count)]
    ftrack.api(
        *({"action": "create", "entity_type": "FileComponent", "entity_data": row} for row in rows)
    )
    return [{"path": path, "component_id": row["id"]} for row in rows]


def test_a_backlog_runs_depth_first_with_few_signed_urls_outstanding(one_worker: Farm) -> None:
    sandbox = one_worker.sandbox
    with one_worker.frozen():
        uploads = one_worker.enqueue_manifest(manifest(one_worker, 300, "backlog"))
    one_worker.wait_located([upload["upload_id"] for upload in uploads])

    signatures = sandbox.ftrack.calls("get_upload_metadata")
    locates = sandbox.ftrack.calls("create")
    assert (len(signatures), len(locates)) == (6, 6)
    assert locates[0]["ended_at"] < signatures[-1]["started_at"]
    moments = [(call["ended_at"], len(components_of(call))) for call in signatures]
    moments += [(put["started_at"], -1) for put in sandbox.store.puts()]
    outstanding = most = 0
    for _, change in sorted(moments):
        outstanding += change
        most = max(most, outstanding)
    assert outstanding == 0
    assert most <= 100


def test_urgent_uploads_go_first_and_low_ones_last(one_worker: Farm) -> None:
    sandbox = one_worker.sandbox
    with one_worker.frozen():
        entries = manifest(one_worker, 102, "priorities")
        low, urgent, *normal = entries
        uploads = one_worker.enqueue_manifest([low], "--priority", "low")
        uploads += one_worker.enqueue_manifest(normal)
        uploads += one_worker.enqueue_manifest([{**urgent, "priority": "urgent"}])
    one_worker.wait_located([upload["upload_id"] for upload in uploads])

    first, *_, last = sandbox.ftrack.calls("get_upload_metadata")
    assert urgent["component_id"] in components_of(first)
    assert low["component_id"] in components_of(last)
