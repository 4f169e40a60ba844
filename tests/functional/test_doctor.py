"""``farmhaul doctor`` names each broken set-up, and the next step; it shows no secret."""

from __future__ import annotations

import json
import select
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.fernet import Fernet

from tests.farm import Farm, wait_until
from tests.sandbox import RedisServer
from tests.sandbox.process import free_ports
from tests.test_architecture import loaded_by

KEY, OTHER_KEY = (Fernet.generate_key().decode() for _ in range(2))


@pytest.fixture
def lone(hook: Farm) -> Farm:
    """A hook's node with a key, and no worker."""
    hook.env["FARMHAUL_SECRET_KEY"] = KEY
    hook.make_file("kept.exr", 10)
    return hook


def examine(farm: Farm, **env: str | None) -> list[dict[str, str]]:
    done = farm.cli("doctor", "--json", env=env)
    assert done.stderr == ""
    findings: list[dict[str, str]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == int(any(one["level"] == "fault" for one in findings)), done
    keys = (farm.env["FARMHAUL_SECRET_KEY"], farm.sandbox.env["FTRACK_API_KEY"])
    for secret in (*keys, KEY, OTHER_KEY, "hunter2"):
        assert secret not in done.stdout
    for one in findings:
        assert one["next"] or one["level"] == "ok", one
    return findings


def faults(findings: list[dict[str, str]], level: str = "fault") -> dict[str, str]:
    """What is wrong, but for the worker that `lone` has none of."""
    return {
        one["what"]: f"{one['says']} | {one['next']}"
        for one in findings
        if one["level"] == level and one["says"] != "none takes tasks"
    }


def test_a_healthy_farm_has_neither_faults_nor_warnings(sealed: Farm) -> None:
    sealed.make_file("kept.exr", 10)  # an empty root would look like one that is not mounted
    wait_until(lambda: sealed.redis.exists("farmhaul:workers"))

    findings = examine(sealed)

    assert [one for one in findings if one["level"] != "ok"] == []
    looked_at = ("roots", "spool", "celery", "ftrack", "redis", "aof", "memory", "secret", "gate")
    assert {*looked_at, "workers", "queue", "uploads"} <= {one["what"] for one in findings}


def test_a_hook_node_needs_no_credentials(lone: Farm) -> None:
    none = dict.fromkeys(("FTRACK_SERVER", "FTRACK_API_USER", "FTRACK_API_KEY"))

    assert faults(examine(lone, **none)) == {}


def test_people_read_lines_with_the_next_step_below(lone: Farm, tmp_path: Path) -> None:
    from workers.doctor_redis import Finding

    line = Finding("fault", "aof", "off", "turn it on").line(human=True)

    assert line.split() == ["fault", "aof", "off", "next:", "turn", "it", "on"]
    assert "next:" in line.splitlines()[1]


# Broken set-ups


def test_no_redis(lone: Farm) -> None:
    [port] = free_ports(1)
    url = f"redis://:hunter2@127.0.0.1:{port}/0"

    found = faults(examine(lone, FARMHAUL_REDIS_URL=url))

    assert [*found] == ["redis"]
    assert "not reachable" in found["redis"]
    assert "check FARMHAUL_REDIS_URL" in found["redis"]


def test_a_redis_that_wants_another_password_evicts_is_full_and_has_no_aof(
    lone: Farm, tmp_path: Path
) -> None:
    lines = ("appendonly no", "maxmemory-policy allkeys-lru", "maxmemory 500kb")
    server = RedisServer(tmp_path / "redis", password="hunter2", extra=lines)
    server.start()
    try:
        wrong = server.url.replace("hunter2", "hunter22")
        refused = faults(examine(lone, FARMHAUL_REDIS_URL=wrong))
        broken = examine(lone, FARMHAUL_REDIS_URL=server.url)
    finally:
        server.stop()

    assert [*refused] == ["redis"]
    assert "check the user and password" in refused["redis"]
    assert "CONFIG SET appendonly yes" in faults(broken)["aof"]
    memory = [one["says"] for one in broken if one["what"] == "memory" and one["level"] != "ok"]
    assert memory[0] == "allkeys-lru may evict records"
    assert "used of 512.0 kB" in memory[1]


def test_a_redis_user_with_too_few_rights(lone: Farm, tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", extra=("user default on nopass ~* &* -@all +ping",))
    server.start()
    try:
        findings = examine(lone, FARMHAUL_REDIS_URL=server.url)
    finally:
        server.stop()

    warnings = faults(findings, "warning")
    assert set(warnings) >= {"redis", "secret", "gate", "workers"}
    assert "our Redis user may not" in warnings["redis"]


def test_a_wrong_api_key(lone: Farm) -> None:
    found = faults(examine(lone, FTRACK_API_KEY="hunter2"))

    assert [*found] == ["ftrack"]
    assert "refuses the API key" in found["ftrack"]
    assert "FTRACK_API_KEY" in found["ftrack"]


def test_ftrack_is_away(lone: Farm) -> None:
    [port] = free_ports(1)

    found = faults(examine(lone, FTRACK_SERVER=f"http://127.0.0.1:{port}"))

    assert [*found] == ["ftrack"]
    assert "Connection refused" in found["ftrack"]


@pytest.fixture
def slow_clock() -> Iterator[str]:
    """An ftrack whose clock is an hour late, and that has no ftrack.server."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = b'[{"action": "query", "data": []}]'
            self.send_response_only(200)
            self.send_header("Date", formatdate(time.time() - 3600, usegmt=True))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_clocks_apart_and_no_ftrack_server(lone: Farm, slow_clock: str) -> None:
    found = faults(examine(lone, FTRACK_SERVER=slow_clock))

    assert sorted(found) == ["clock", "ftrack"]
    assert "ftrack are 3600 s apart" in found["clock"] or "ftrack are 3601 s" in found["clock"]
    assert "ftrack.server is no location there" in found["ftrack"]


def test_roots_that_are_not_there_not_set_or_empty(lone: Farm, tmp_path: Path) -> None:
    gone = faults(examine(lone, FARMHAUL_STORAGE_ROOTS=str(tmp_path / "gone")))
    unset = faults(examine(lone, FARMHAUL_STORAGE_ROOTS=None))
    (tmp_path / "empty").mkdir()
    empty = faults(examine(lone, FARMHAUL_STORAGE_ROOTS=str(tmp_path / "empty")), "warning")

    assert f"{tmp_path}/gone cannot be read: No such file" in gone["roots"]
    assert "FARMHAUL_STORAGE_ROOTS is not set" in unset["roots"]
    assert "is mounted" in empty["roots"]


def test_a_spool_that_is_a_file_or_holds_what_nobody_can_read(lone: Farm, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / "1.bad").touch()

    assert "cannot be written" in faults(examine(lone, FARMHAUL_SPOOL=f"{tmp_path}/file"))["spool"]
    assert "rename it" in faults(examine(lone, FARMHAUL_SPOOL=str(spool)), "warning")["spool"]


@contextmanager
def bridge(address: str, port: int | None) -> Iterator[None]:
    """Listen at another loopback address, and hand all on to this port of 127.0.0.1."""

    class Forward(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", port or 0)) as other:
                ends = {self.request: other, other: self.request}
                while ready := select.select([*ends], [], [], 10)[0]:
                    for end in ready:
                        if not (said := end.recv(65536)):
                            return
                        ends[end].sendall(said)

    with socketserver.ThreadingTCPServer((address, port or 0), Forward) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        thread.join()


def enqueue(farm: Farm, *options: str, **env: str | None) -> str:
    component_id = farm.sandbox.ftrack.add_component("main.exr")
    path = farm.make_file("main.exr", 1000)
    [upload] = farm.enqueue(path, "--component-id", component_id, *options, env=env)
    return str(upload["upload_id"])


def test_no_secret_key_another_one_and_a_record_in_the_clear(lone: Farm) -> None:
    enqueue(lone)
    other = faults(examine(lone, FARMHAUL_SECRET_KEY=OTHER_KEY))
    both = faults(examine(lone, FARMHAUL_SECRET_KEY=f"{OTHER_KEY},{KEY}"))
    enqueue(lone, FARMHAUL_SECRET_KEY=None)
    plain = faults(examine(lone))

    assert "cannot read 1 of the 1 records" in other["secret"]
    assert both == {}
    assert "1 of the 2 records looked at are not sealed" in plain["secret"]
    assert "is not set" in faults(examine(lone, FARMHAUL_SECRET_KEY=None))["secret"]


def test_an_environment_that_makes_no_sense(lone: Farm) -> None:
    findings = examine(lone, FARMHAUL_LEASE_SECONDS="soon", FARMHAUL_SECRET_KEY="hunter2")

    assert [one["what"] for one in findings] == ["settings", "settings"]
    assert "FARMHAUL_LEASE_SECONDS" in str(findings)


def test_no_worker_while_uploads_are_pending(lone: Farm) -> None:
    enqueue(lone)
    enqueue(lone, "--node-local", "--priority", "low")
    findings = examine(lone)

    says = [one["says"] for one in findings if one["what"] == "workers"]
    assert says[0] == "none takes tasks"
    assert "for which uploads are pending" in says[1]
    [queue] = [one["says"] for one in findings if one["what"] == "queue"]
    assert queue.startswith("2 uploads pending, the oldest for ")
    assert float(queue.split()[-2]) < 60


def test_an_upload_that_has_waited_for_hours_is_a_warning(lone: Farm) -> None:
    upload_id = enqueue(lone)
    lone.redis.zincrby("farmhaul:pending", -7200_000, upload_id)

    assert "the oldest for 72" in faults(examine(lone), "warning")["queue"]


def test_an_upload_that_is_active_and_silent_is_a_warning(lone: Farm) -> None:
    upload_id = enqueue(lone)
    lone.redis.zrem("farmhaul:state:pending", upload_id)
    lone.redis.zadd("farmhaul:state:active", {upload_id: 1})
    lone.redis.hset(f"farmhaul:upload:{upload_id}", mapping={"state": "active", "updated": 1})

    assert upload_id in faults(examine(lone), "warning")["uploads"]


def test_a_gate_closed_by_refused_credentials_and_a_failed_upload(sealed: Farm) -> None:
    sealed.sandbox.faults.add("ftrack", "error", "PermissionError", content="no", times=1)
    sealed.wait_state([enqueue(sealed)], "failed")
    sealed.sandbox.faults.add("ftrack", "error", "InvalidCredentialsError", content="not you")
    sealed.wait_state([enqueue(sealed)], "waiting")
    sealed.sandbox.faults.clear()
    findings = examine(sealed)

    gate = faults(findings)["gate"]
    assert gate.startswith("closed for credentials since 20")
    assert "FTRACK_API_KEY on the workers" in gate
    assert "1 have failed" in faults(findings, "warning")["uploads"]


def test_messages_that_were_refused_are_a_warning(lone: Farm) -> None:
    lone.redis.hset("farmhaul:totals", "refused", 3)

    found = faults(examine(lone), "warning")["refused"]
    assert found.startswith("3 messages and records of nobody of ours")
    assert "compare FARMHAUL_SECRET_KEY" in found


def test_a_redis_elsewhere_without_tls_is_a_warning(lone: Farm) -> None:
    # This machine again, by an address that is not called loopback.
    url = lone.env["FARMHAUL_REDIS_URL"].replace("127.0.0.1", "127.0.0.2")
    port = urlsplit(url).port
    with bridge("127.0.0.2", port):
        found = faults(examine(lone, FARMHAUL_REDIS_URL=url), "warning")["redis"]

    assert "can be read on the way" in found
    assert "rediss://" in found


def test_a_cold_start_of_the_command_does_not_import_it() -> None:
    assert "workers.doctor" not in loaded_by("import workers.cli")
