"""A node that can do nothing right, next to a good one: nothing fails, all arrive, it is named."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography.fernet import Fernet

from tasks.records.keys import PLACE_REFUSED
from tests.chaos.bad_nodes import OPTIONS
from tests.chaos.conftest import MakeFarm
from tests.chaos.scenes import wait_arrived
from tests.farm import Farm, Worker, wait_until
from tests.sandbox import Sandbox
from tests.sandbox.seed import GUEST_KEY, GUEST_USER, OTHER_API_KEY, VERSION_ID
from tests.unit.odd_server import OddServer, http

pytestmark = pytest.mark.slow


def with_bad_node(make_farm: MakeFarm, env: Mapping[str, str]) -> Farm:
    """Return a farm of a good worker w1, and of w2 with these settings."""
    farm = make_farm(workers=1)
    farm.add(env=env)
    return farm


def most_tries(worker: Worker) -> int:
    """Return how often the worker has failed the upload that it met most often."""
    lines = r"upload_(?:handed_over|retrying) upload_id=(\S+)"
    return max(Counter(re.findall(lines, worker.log_text())).values(), default=0)


def aside(farm: Farm) -> dict[str, str]:
    """Return what is wrong with each node that is set aside, by the name of its worker."""
    notes = farm.redis.hgetall("farmhaul:paused")
    return {name.partition("@")[0]: json.loads(note)["what"] for name, note in notes.items()}


def says(farm: Farm, *command: str) -> str:
    done = farm.cli(*command)
    return done.stdout + done.stderr


def test_a_node_without_its_mount_is_set_aside_and_comes_back(
    make_farm: MakeFarm, tmp_path: Path
) -> None:
    farm = make_farm(workers=1)
    storage, mount = farm.sandbox.storage, tmp_path / "mount"
    mount.mkdir()
    env = {"FARMHAUL_STORAGE_ROOTS": str(mount), "FARMHAUL_PATH_MAP": f"{storage}={mount}"}
    farm.add(env=env)

    def is_set_aside() -> bool:
        wait_arrived(
            farm, farm.upload_many(60)
        )  # several batches: with one, two idle nodes take turns
        return aside(farm) == {"w2": "files"}

    wait_until(is_set_aside, 60, farm.workers[1].log_text)
    assert most_tries(farm.workers[1]) == 1
    for command in ("status", "doctor"):
        assert re.search(r"w2@\S+ .*cannot read files that other nodes read", says(farm, command))

    path = farm.make_file("main.exr", 1000)
    shutil.copytree(storage, mount, dirs_exist_ok=True)
    wait_until(lambda: aside(farm) == {}, 120, farm.workers[1].log_text)  # nothing is pending
    farm.workers[0].stop()

    wait_arrived(farm, [farm.upload(path=path)])


@pytest.mark.parametrize("service", ["ftrack", "store"])
def test_a_node_whose_dns_is_mended_comes_back_on_an_idle_farm(
    make_farm: MakeFarm, tmp_path: Path, service: str
) -> None:
    farm = make_farm(workers=1)
    no_name = tmp_path / "no name"
    sandbox = farm.sandbox
    url = {"ftrack": sandbox.ftrack_url, "store": sandbox.store_url}[service]
    port = urlsplit(url).port
    bad = farm.add(
        env={"NO_NAME_PORT": str(port), "NO_NAME_WHILE": str(no_name)},
        options=[*OPTIONS, "-I", "tests.helpers.no_name"],
    )
    no_name.touch()

    def is_set_aside() -> bool:
        wait_arrived(farm, farm.upload_many(60))
        return aside(farm) == {"w2": service}

    wait_until(is_set_aside, 90, bad.log_text)
    assert most_tries(bad) == 1
    assert re.search(r"w2@\S+ .*it cannot resolve that name", says(farm, "status"))
    wait_until(lambda: "probe_failed" in bad.log_text(), 90, bad.log_text)
    assert aside(farm) == {"w2": service}

    no_name.unlink()
    wait_until(lambda: aside(farm) == {}, 120, bad.log_text)


def test_a_node_with_another_key_takes_nothing(make_farm: MakeFarm) -> None:
    key, other = (Fernet.generate_key().decode() for _ in range(2))
    farm = make_farm(workers=1, env={"FARMHAUL_SECRET_KEY": key})
    wait_arrived(farm, [farm.upload()])
    farm.add(env={"FARMHAUL_SECRET_KEY": other})

    for _ in range(3):
        wait_arrived(farm, farm.upload_many(20))

    assert aside(farm) == {"w2": "records"}
    assert farm.redis.hget("farmhaul:totals", "refused_requests") is None
    for command in ("status", "doctor"):
        assert re.search(r"w2@\S+ .*FARMHAUL_SECRET_KEY", says(farm, command))


def test_the_first_node_of_a_restart_has_another_key(make_farm: MakeFarm) -> None:
    """It holds the lock of the reconciler, and the others could open nothing that it sends."""
    key, other = (Fernet.generate_key().decode() for _ in range(2))
    farm = make_farm(workers=2, env={"FARMHAUL_SECRET_KEY": key})
    wait_arrived(farm, [farm.upload()])
    for worker in farm.workers:
        worker.stop()
    farm.redis.delete("farmhaul:reconciler")
    uploads = farm.upload_many(60)
    bad = farm.add(env={"FARMHAUL_SECRET_KEY": other})
    wait_until(lambda: farm.redis.get("farmhaul:reconciler") or "no_hook_key" in bad.log_text())

    farm.start()

    wait_arrived(farm, uploads, 90)
    assert farm.redis.hget("farmhaul:totals", "refused_requests") is None


def test_a_node_without_the_path_map_refuses_no_name_of_a_path(make_farm: MakeFarm) -> None:
    """Whichever node takes a request in, and whichever way the path was written first."""
    farm = make_farm(workers=0)
    storage = farm.sandbox.storage
    farm.add(env={"FARMHAUL_PATH_MAP": f"P:={storage}"})
    farm.add()
    version = ("--version-id", VERSION_ID, "--no-stat")
    for number in range(16):
        path = farm.make_file("main.exr", 1000)
        names = [str(path), f"P:/{path.relative_to(storage)}"]
        for name in names if number % 2 else reversed(names):
            path.write_bytes(os.urandom(1000))
            done = farm.cli("enqueue", name, *version, "--name", f"n{number}", "--wait")
            assert done.returncode == 0, done.stderr

    assert list(farm.redis.scan_iter(f"{PLACE_REFUSED}*"))


def test_a_node_that_sees_older_copies_uploads_none_of_them(
    make_farm: MakeFarm, tmp_path: Path
) -> None:
    farm = make_farm(workers=1)
    storage, mirror = farm.sandbox.storage, tmp_path / "mirror"
    mirror.mkdir()
    env = {"FARMHAUL_STORAGE_ROOTS": str(mirror), "FARMHAUL_PATH_MAP": f"{storage}={mirror}"}
    bad = farm.add(env=env)

    def is_set_aside() -> bool:
        with farm.frozen():
            uploads = farm.upload_many(60)
            for upload in uploads:
                copy = mirror / upload.path.relative_to(storage)
                copy.parent.mkdir()
                copy.write_bytes(bytes(upload.path.stat().st_size))
                os.utime(copy, (1, 1))
        wait_arrived(farm, uploads)
        records = [farm.record(upload.id) for upload in uploads]
        assert not [name for record in records for name in record if name.startswith("tries:")]
        return aside(farm) == {"w2": "files"}

    wait_until(is_set_aside, 60, bad.log_text)
    assert most_tries(bad) == 1
    assert re.search(r"w2@\S+ .*does this node see an older copy", says(farm, "status"))


def test_a_node_that_does_not_know_a_location_fails_no_upload(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=1)
    farm.sandbox.ftrack.create("Location", name="studio.disk", label="studio.disk")
    bad, good = farm.workers[0], farm.add(env={"FARMHAUL_LOCATIONS": "studio.disk=/"})

    def hands_over() -> bool:
        farm.wait_located([farm.upload("--also-in", "studio.disk").id for _ in range(8)], 40)
        return "upload_handed_over" in bad.log_text()

    wait_until(hands_over, 60, bad.log_text)
    assert "upload_handed_over" not in good.log_text()
    good.stop()
    farm.redis.delete("farmhaul:workers")
    path = farm.make_file("a.exr", 10)
    what = ("--version-id", VERSION_ID, "--name", "a", "--also-in", "studio.disk", "--wait")
    why = farm.cli("enqueue", path, *what).stderr
    assert "studio.disk has no folder that is known here; set FARMHAUL_LOCATIONS" in why


def test_a_node_comes_back_when_ftrack_names_the_folder_it_lacked(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=1)
    ftrack, storage = farm.sandbox.ftrack, str(farm.sandbox.storage)
    location_id = ftrack.create("Location", name="studio.disk", label="studio.disk")["id"]
    bad = farm.workers[0]
    farm.add(env={"FARMHAUL_LOCATIONS": "studio.disk=/"})

    def is_set_aside() -> bool:
        files = [farm.make_file(f"main.{number}.exr", 1000) for number in range(60)]
        rows = [
            {"path": str(path), "component_id": ftrack.add_component(), "also_in": "studio.disk"}
            for path in files
        ]
        farm.wait_located([str(one["upload_id"]) for one in farm.enqueue_manifest(rows)], 60)
        return aside(farm) == {"w1": "locations"}

    wait_until(is_set_aside, 90, bad.log_text)
    wait_until(lambda: "probe_failed" in bad.log_text(), 90, bad.log_text)
    assert aside(farm) == {"w1": "locations"}

    data = {"location_id": location_id, "accessor": {"mount_points": {"linux": storage}}}
    value = json.dumps({"scenario": "ftrack.centralized-storage", "data": data})
    ftrack.create("Setting", name="storage_scenario", group="STORAGE", value=value)
    wait_until(lambda: aside(farm) == {}, 120, bad.log_text)  # nothing is pending


def test_nodes_whose_processes_are_killed_fail_no_upload(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=1)
    options = [*OPTIONS, "-I", "tests.helpers.kills_itself"]
    bad = [farm.add(options=options) for _ in range(3)]

    def are_set_aside() -> bool:
        uploads = farm.upload_many(60)
        wait_arrived(farm, uploads, 60)
        for upload in uploads:
            tries = [node for _, _, node, *_ in json.loads(farm.record(upload.id).get("log", "[]"))]
            assert len(tries) == len(set(tries))
        return aside(farm) == dict.fromkeys(("w2", "w3", "w4"), "put_file")

    wait_until(are_set_aside, 120, bad[0].log_text)
    assert farm.redis.hget("farmhaul:totals", "failed:WorkerKilled") is None
    for command in ("status", "doctor"):
        assert len(re.findall(r"w\d@\S+ .*worker process died or froze", says(farm, command))) == 3


def test_two_valid_api_keys_of_a_rolling_change_fail_no_upload(make_farm: MakeFarm) -> None:
    farm = with_bad_node(make_farm, {"FTRACK_API_KEY": OTHER_API_KEY})

    for _ in range(3):
        wait_arrived(farm, farm.upload_many(100))

    assert aside(farm) == {}
    assert not farm.redis.exists("farmhaul:gate:credentials")
    assert farm.redis.hget("farmhaul:totals", "failed") is None


def test_a_large_file_does_not_go_to_and_fro_between_two_keys(make_farm: MakeFarm) -> None:
    farm = with_bad_node(make_farm, {"FTRACK_API_KEY": OTHER_API_KEY})

    large = [farm.upload(content=150_000_000) for _ in range(2)]
    wait_arrived(farm, large, timeout_s=120)

    assert [farm.record(upload.id).get("tries:no URL") for upload in large] == [None, None]
    assert aside(farm) == {}


def test_a_node_with_a_revoked_key_takes_nothing(make_farm: MakeFarm) -> None:
    farm = with_bad_node(make_farm, {"FTRACK_API_KEY": "revoked"})

    for _ in range(3):
        wait_arrived(farm, farm.upload_many(20))

    assert aside(farm) == {"w2": "ftrack"}
    assert farm.redis.keys("farmhaul:gate:*") == []
    for command in ("status", "doctor"):
        assert re.search(r"w2@\S+ .*refuses the credentials", says(farm, command))


def wait_set_aside(farm: Farm, bad: Worker, what: str) -> None:
    """Upload until w2 is set aside for this; all arrive, and it tries each but once."""

    def is_set_aside() -> bool:
        wait_arrived(farm, farm.upload_many(60))
        return aside(farm) == {"w2": what}

    wait_until(is_set_aside, 60, bad.log_text)
    assert most_tries(bad) == 1


def test_a_node_whose_user_lacks_rights_fails_no_upload(make_farm: MakeFarm) -> None:
    farm = with_bad_node(make_farm, {"FTRACK_API_USER": GUEST_USER, "FTRACK_API_KEY": GUEST_KEY})
    bad = farm.workers[1]

    wait_set_aside(farm, bad, "ftrack")
    assert re.search(r"w2@\S+ .*PermissionError", says(farm, "status"))
    wait_until(lambda: "probe_failed" in bad.log_text(), 60, bad.log_text)
    assert aside(farm) == {"w2": "ftrack"}


@pytest.mark.parametrize(
    ("status", "code"), [("400 Bad Request", "BadDigest"), ("403 Forbidden", "AccessDenied")]
)
def test_a_node_whose_files_the_store_refuses_fails_no_upload(
    make_farm: MakeFarm, sandbox: Sandbox, status: str, code: str
) -> None:
    """Its network changes bytes, or a policy of the bucket does not let its address in."""
    server = sandbox.env["FTRACK_SERVER"].replace("127.0.0.1", "localhost")
    farm = make_farm(workers=1, env={"FTRACK_SERVER": server})
    with OddServer() as odd:
        odd.answers = [http(status, f"<Error><Code>{code}</Code></Error>".encode())]
        bad = farm.add(env={"http_proxy": odd.url, "no_proxy": "localhost"})

        wait_set_aside(farm, bad, "store")
        assert re.search(rf"w2@\S+ .*({code}|other bytes)", says(farm, "status"))


@pytest.mark.parametrize(
    "answer",
    [
        http("403 Forbidden", b'{"message": "Forbidden"}'),
        http("200 OK", b"<html>Welcome to the guest network"),
        http("302 Found", headers={"Location": "/login"}),
    ],
    ids=["foreign JSON", "a portal's page", "a portal's login"],
)
def test_a_node_that_something_else_answers_is_set_aside(
    make_farm: MakeFarm, answer: bytes
) -> None:
    with OddServer() as odd:
        odd.answers = [answer]
        farm = with_bad_node(make_farm, {"FTRACK_SERVER": odd.url})

        for _ in range(5):
            wait_arrived(farm, farm.upload_many(20))

        assert aside(farm) == {"w2": "ftrack"}
        assert most_tries(farm.workers[1]) <= 1
        status = answer.partition(b"\r\n")[0].decode().removeprefix("HTTP/1.1 ")
        for command in ("status", "doctor"):
            assert status in says(farm, command)
