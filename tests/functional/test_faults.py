"""A failed step is retried: the right bytes arrive, once."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.farm import Farm, wait_until
from tests.functional.conftest import MakeFarm
from tests.helpers.raw_server import raw_server

ON_LOCATE = {"action": "create", "entity_type": "ComponentLocation"}

#: Faults as `sandbox.faults.add` takes them, and how often the file is sent.
PASSING: dict[str, tuple[tuple[Any, ...], dict[str, Any], int]] = {
    "ftrack is down when it should sign": (
        ("ftrack", "status", 503),
        {"times": 2, "action": "get_upload_metadata"},
        1,
    ),
    "ftrack is down when it should locate": (
        ("ftrack", "status", 503),
        {"times": 1, **ON_LOCATE},
        1,
    ),
    "a proxy before ftrack answers HTML": (
        ("ftrack", "status", 502),
        {"times": 1, "body": "<html>Bad Gateway</html>"},
        1,
    ),
    "ftrack answers 429": (
        ("ftrack", "status", 429),
        {"times": 1, "headers": {"Retry-After": "1"}},
        1,
    ),
    "ftrack answers junk": (("ftrack", "junk"), {"times": 1}, 1),
    "ftrack reports a ServerError in a 200": (("ftrack", "error", "ServerError"), {"times": 1}, 1),
    "ftrack resets the connection": (("ftrack", "reset"), {"times": 1}, 1),
    "the response to a signature is lost": (
        ("ftrack", "lost_answer"),
        {"times": 1, "action": "get_upload_metadata"},
        1,
    ),
    "the response to a location is lost": (("ftrack", "lost_answer"), {"times": 1, **ON_LOCATE}, 1),
    "ftrack locates the file and answers 500": (
        ("ftrack", "status", 500),
        {"times": 1, "done": True, **ON_LOCATE},
        1,
    ),
    # It says so itself, and is signed again before the file is sent.
    "the URL has expired": (("ftrack", "url_lifetime_s", 0), {"times": 1}, 1),
    "the store is down": (
        ("store", "status", 503),
        {"times": 1, "method": "PUT", "headers": {"Retry-After": "1"}},
        2,
    ),
    "the store resets the connection midway": (
        ("store", "reset"),
        {"times": 1, "after_bytes": 100_000},
        2,
    ),
    "the response of the store is lost": (("store", "lost_answer"), {"times": 1}, 2),
    "a bit flips on the way to the store": (("store", "bad_digest"), {"times": 1}, 2),
    "the store reports another digest": (("store", "etag", "0" * 32), {"times": 1}, 2),
}


@pytest.mark.parametrize("fault", PASSING)
def test_a_passing_fault_only_delays_the_upload(farm: Farm, fault: str) -> None:
    sandbox = farm.sandbox
    arguments, conditions, sent = PASSING[fault]
    number = sandbox.faults.add(*arguments, **conditions)
    upload = farm.upload(content=300_001)
    farm.wait_located([upload.id])

    assert sandbox.faults.struck(number) == conditions["times"]
    assert sandbox.store.read(upload.component_id) == upload.path.read_bytes()
    assert len(sandbox.ftrack.locations(upload.component_id)) == 1
    assert len(sandbox.store.puts(upload.component_id)) == sent
    record = farm.record(upload.id)
    assert "error" not in record, "a passed fault is no error of the upload"


def test_a_lost_answer_makes_no_second_component_and_no_second_job(farm: Farm) -> None:
    ftrack = farm.sandbox.ftrack
    farm.sandbox.faults.add("ftrack", "lost_answer", times=1, **ON_LOCATE)
    path = farm.make_file("main.mov", 1000)
    name = f"main {uuid.uuid4()}"
    options = ("--version-id", ftrack.version_id, "--name", name, "--encode")
    [upload] = farm.enqueue(path, *options)
    farm.wait_located([upload["upload_id"]])

    [component] = ftrack.entities("FileComponent")
    assert component["name"] == name
    assert len(ftrack.locations(component["id"])) == 1
    assert len(ftrack.entities("Job")) == 1
    assert len(farm.sandbox.store.puts()) == 1


def test_the_status_of_an_upload_names_the_service_it_waits_for(farm: Farm) -> None:
    number = farm.sandbox.faults.add("ftrack", "status", 503)
    upload = farm.upload()
    farm.wait_state([upload.id], "retrying")
    assert "waiting for ftrack: 503" in farm.cli("status", upload.id).stdout
    farm.sandbox.faults.remove(number)
    farm.wait_located([upload.id])


def test_a_file_that_never_arrives_unchanged_fails_in_the_end(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "bad_digest")
    upload = farm.upload()
    farm.wait_state([upload.id], "failed")
    error = farm.record(upload.id)["error"]
    assert str(upload.path) in error
    assert "MD5" in error
    assert farm.sandbox.ftrack.locations(upload.component_id) == []


@pytest.mark.parametrize(
    ("status", "body"),
    [(302, "<html>log in"), (404, "<html>"), (403, "<Code>AccessDenied</Code>")],
)
def test_what_the_store_refuses_for_all_is_waited_out(farm: Farm, status: int, body: str) -> None:
    portal = farm.sandbox.faults.add("store", "status", status, method="PUT", body=body)
    uploads = [upload.id for upload in farm.upload_many(4)]
    wait_until(lambda: farm.redis.hexists("farmhaul:gate:store", "until"))
    farm.sandbox.faults.remove(portal)

    farm.wait_located(uploads)


def test_a_final_refusal_of_the_store_is_not_retried(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "status", 413)
    upload = farm.upload()
    farm.wait_state([upload.id], "failed")
    assert "the store refused the file" in farm.record(upload.id)["error"]
    assert "farmhaul retry" in farm.record(upload.id)["error"]
    assert len(farm.sandbox.store.puts()) == 1
    assert farm.sandbox.ftrack.locations(upload.component_id) == []


def test_a_file_overwritten_during_its_upload_arrives_as_it_is_now(farm: Farm) -> None:
    farm.sandbox.faults.add("store", "bandwidth_bytes_s", 4e6)
    upload = farm.upload(content=6_000_000)
    farm.wait_stage(upload.id, "put_file")
    upload.path.write_bytes(b"rendered again")
    farm.sandbox.faults.clear()
    farm.wait_located([upload.id])
    assert farm.sandbox.store.read(upload.component_id) == b"rendered again"


def test_a_missing_file_is_reported_and_waited_for(farm: Farm) -> None:
    with farm.frozen():
        upload = farm.upload()
        upload.path.unlink()
    farm.wait_state([upload.id], "retrying")
    error = farm.record(upload.id)["error"]
    assert f"cannot read {upload.path}: No such file or directory" in error
    assert farm.cli("cancel", upload.id).returncode == 0


def test_wrong_credentials_make_uploads_wait_and_not_fail(
    make_farm: MakeFarm, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("expired-key\n")
    env = {"FTRACK_API_KEY": "", "FTRACK_API_KEY_FILE": str(key)}
    farm = make_farm(env=env, options=("--concurrency=1",))
    upload = farm.upload()
    farm.wait_state([upload.id], "retrying")
    error = farm.record(upload.id)["error"]
    assert "refuses the credentials of this worker" in error
    assert "expired-key" not in error
    # A process of the pool writes its log after the record.
    wait_until(lambda: "refuses the credentials" in farm.workers[0].log_text())
    assert "expired-key" not in farm.workers[0].log_text()


def test_a_proxy_that_wants_a_login_is_named_and_closes_no_gate(make_farm: MakeFarm) -> None:
    refusal = b"HTTP/1.1 407 Login\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with raw_server(lambda connection: connection.sendall(refusal)) as proxy:
        address = f"127.0.0.1:{proxy.port}"
        farm = make_farm(env={"http_proxy": f"http://me:hunter2@{address}", "no_proxy": ""})
        ids = [farm.upload().id for _ in range(4)]
        farm.wait_state(ids, "retrying")

        told = farm.cli("status", *ids).stdout

    assert told.count(f"the password in http_proxy=http://***@{address}; restart") == len(ids)
    assert "hunter2" not in told + farm.workers[0].log_text()
    assert not farm.redis.keys("farmhaul:gate:*")
