"""The Redis users of deploy/redis/users.acl can do their work, and little else."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
from cryptography.fernet import Fernet

from tests.farm import BIN, Farm, wait_until
from tests.sandbox import RedisServer, Sandbox, seed
from tests.sandbox.process import CHECKOUT, Child, free_ports

# Each role has its own farms; together, the tests take a minute.
pytestmark = pytest.mark.chaos

USERS = ("hook", "worker", "flower", "exporter")
MAKE_ACL = CHECKOUT / "deploy/redis/make-acl.sh"


class Guarded:
    """A farm on a Redis that loads the shipped ACL file; each part logs in as its own user."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        passwords = folder / "passwords"
        passwords.mkdir()
        for user in USERS:
            (passwords / user).write_text(f"{secrets.token_urlsafe(16)}\n")
        made = subprocess.run([MAKE_ACL, passwords], capture_output=True, text=True, check=True)
        acl = folder / "users.acl"
        # The tests read ACL LOG as this user.
        acl.write_text(f"{made.stdout}user auditor on nopass ~* &* +@all\n")
        self.acl = made.stdout
        self.passwords = {user: (passwords / user).read_text().strip() for user in USERS}
        self.server = RedisServer(folder / "redis", extra=(f"aclfile {acl}",))
        self.server.launch()
        spool = {"FARMHAUL_SPOOL": str(folder / "spool")}
        env = {"FARMHAUL_SECRET_KEY": Fernet.generate_key().decode(), **spool}
        self.farm = Farm(sandbox, folder / "farm", 1, env=env)
        self.farm.env["FARMHAUL_REDIS_URL"] = self.url("hook")
        self.farm.workers[0].env |= {**env, "FARMHAUL_REDIS_URL": self.url("worker")}
        self.farm.redis = self.client("worker")
        self.client("health").ping()

    def url(self, user: str) -> str:
        return f"redis://{user}:{self.passwords[user]}@127.0.0.1:{self.server.port}/0"

    def client(self, user: str) -> Any:
        if user in {"health", "auditor"}:
            client: Any = redis.Redis(
                port=self.server.port, username=user, password="any", decode_responses=True
            )
            wait_until(lambda: answers(client))
            return client
        return redis.Redis.from_url(self.url(user), decode_responses=True)

    @contextmanager
    def nothing_refused(self, but: Sequence[str] = ()) -> Iterator[None]:
        """Check that Redis refuses nothing in the block, even if the refusal is ignored."""
        with self.client("auditor") as auditor:
            auditor.acl_log_reset()
            yield
            log = auditor.acl_log()
        # redis-py names itself, and ignores the refusal: see users.acl.
        known = {"client|setinfo", *but}
        refused = {
            f"{entry['username']}: {entry['object']}"
            for entry in log
            if entry["object"] not in known
        }
        assert refused == set()


def answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.fixture(scope="module")
def guarded(
    running_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    made = Guarded(running_sandbox, tmp_path_factory.mktemp("acl"))
    try:
        with made.farm:
            yield made
    finally:
        made.server.stop()


@pytest.fixture
def all_allowed(guarded: Guarded) -> Iterator[None]:
    """Check that Redis refuses nothing in the test, even if farmhaul or Celery ignores it."""
    with guarded.nothing_refused():
        yield


@pytest.mark.usefixtures("all_allowed")
def test_a_hook_enqueues_and_looks_and_a_worker_uploads(guarded: Guarded) -> None:
    upload = guarded.farm.upload()
    guarded.farm.wait_located([upload.id])

    for arguments in (("status",), ("status", "--failed"), ("watch", upload.id)):
        done = guarded.farm.cli(*arguments)
        assert done.returncode == 0, done.stderr
    component_id = guarded.farm.sandbox.ftrack.add_component()
    path = guarded.farm.make_file("main.exr", 20_000)
    [queued] = guarded.farm.enqueue(path, "--component-id", component_id)
    assert queued["state"] == "queued"


@pytest.mark.usefixtures("all_allowed")
def test_a_hook_wakes_workers_for_its_uploads(guarded: Guarded) -> None:
    with guarded.farm.frozen():
        for _ in range(2):  # the first may be on its way to the worker already
            guarded.farm.upload()
        assert guarded.client("worker").llen("farmhaul\x06\x163")


@pytest.mark.usefixtures("all_allowed")
def test_a_hook_sets_limits_and_lets_a_worker_fetch(guarded: Guarded) -> None:
    farm = guarded.farm
    upload = guarded.farm.upload()
    farm.wait_located([upload.id])
    folder = farm.make_file("other.exr", 10).parent
    commands = [("limit", "--bandwidth", "50M"), ("limit",), ("limit", "--clear")]
    fetch = ("fetch", upload.component_id, "--to", str(folder), "--enqueue")
    for arguments in (*commands, fetch):
        done = farm.cli(*arguments)
        assert done.returncode == 0, done.stderr
    wait_until(lambda: len(list(folder.glob("*.exr"))) == 2)


@pytest.mark.usefixtures("all_allowed")
def test_the_health_check_reads_the_workers(guarded: Guarded) -> None:
    env = guarded.farm.environment({"FARMHAUL_REDIS_URL": guarded.url("worker")})
    command = [str(BIN / "python"), "-m", "workers.health", f"w1@{socket.gethostname()}"]
    wait_until(lambda: subprocess.run(command, env=env, cwd=CHECKOUT, check=False).returncode == 0)


@pytest.mark.usefixtures("all_allowed")
def test_a_hook_flushes_its_spool(guarded: Guarded) -> None:
    [port] = free_ports(1)
    component_id = guarded.farm.sandbox.ftrack.add_component("main.exr")
    path = guarded.farm.make_file("main.exr", 1000)
    away = {"FARMHAUL_REDIS_URL": f"redis://127.0.0.1:{port}/0"}
    options = ("--component-id", component_id)
    [upload] = guarded.farm.enqueue(path, *options, env=away)
    assert upload["state"] == "spooled"

    done = guarded.farm.cli("flush-spool")

    assert done.returncode == 0, done.stderr
    guarded.farm.wait_located([upload["upload_id"]])


@pytest.mark.usefixtures("all_allowed")
def test_a_hook_retries_a_large_file_that_failed(guarded: Guarded) -> None:
    farm = guarded.farm
    component_id = farm.sandbox.ftrack.add_component("main.mov")
    path = farm.make_file("main.mov", 70 << 20)
    fault = farm.sandbox.faults.add("ftrack", "error", "PermissionError", times=1)
    [upload] = farm.enqueue(path, "--component-id", component_id)
    farm.wait_state([upload["upload_id"]], "failed")
    farm.sandbox.faults.clear()
    assert fault

    done = farm.cli("retry", upload["upload_id"])

    assert done.returncode == 0, done.stderr
    farm.wait_located([upload["upload_id"]])


@pytest.mark.usefixtures("all_allowed")
def test_a_hook_enqueues_retries_and_cancels_sequences(guarded: Guarded) -> None:
    farm = guarded.farm
    folder = farm.make_file("beauty.1001.exr", 1000).parent
    farm.make_file("beauty.1002.exr", 1000, folder.name)
    options = ("--version-id", seed.VERSION_ID, "--name")
    farm.sandbox.faults.add("store", "status", 413, method="PUT", times=1)
    [upload] = farm.enqueue(folder, *options, "first")
    farm.wait_state([upload["upload_id"]], "failed")
    done = farm.cli("retry", upload["upload_id"])
    assert done.returncode == 0, done.stderr
    farm.wait_located([upload["upload_id"]])

    with farm.frozen():
        [other] = farm.enqueue(folder, *options, "second")
        done = farm.cli("cancel", other["upload_id"])
    assert done.returncode == 0, done.stderr
    assert farm.states([other["upload_id"]]) == ["cancelled"]


def test_doctor_reads_all_as_a_worker_but_not_as_a_hook(guarded: Guarded) -> None:
    def findings(user: str) -> list[dict[str, str]]:
        url = {"FARMHAUL_REDIS_URL": guarded.url(user)}
        done = guarded.farm.cli("doctor", "--json", env=url)
        return [json.loads(line) for line in done.stdout.splitlines()]

    guarded.farm.upload()
    with guarded.nothing_refused():
        assert [row for row in findings("worker") if "may not" in row["says"]] == []
    restricted = [row for row in findings("hook") if "may not" in row["says"]]
    assert {row["what"] for row in restricted} == {"redis"}
    assert all(row["level"] == "warning" for row in restricted)


@pytest.mark.usefixtures("all_allowed")
def test_the_exporter_is_scraped(guarded: Guarded, tmp_path: Path) -> None:
    [port] = free_ports(1)
    address = f"http://127.0.0.1:{port}/metrics"
    env = {**guarded.farm.env, "FARMHAUL_REDIS_URL": guarded.url("exporter")}
    command = [str(BIN / "farmhaul"), "exporter", f"--port={port}"]
    child = Child("exporter", command, tmp_path / "exporter.log", env=env)
    try:
        child.wait_ready(lambda: requests.get(address, timeout=5).ok)
        # A new worker is listed after a few seconds.
        wait_until(lambda: "farmhaul_workers 1.0" in requests.get(address, timeout=10).text)
        text = requests.get(address, timeout=10).text
    finally:
        child.stop()

    assert "farmhaul_redis_up 1.0" in text
    assert "farmhaul_workers 1.0" in text


def test_flower_shows_tasks_and_queues(guarded: Guarded, tmp_path: Path) -> None:
    # SET: kombu tries to take the lock for redelivery, which only workers may.
    with guarded.nothing_refused(but=["set"]):
        check_flower(guarded, tmp_path)


def check_flower(guarded: Guarded, tmp_path: Path) -> None:
    [port] = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    command = [
        str(BIN / "celery"),
        "-A",
        "workers",
        "flower",
        "--address=127.0.0.1",
        f"--port={port}",
    ]
    env = {
        **guarded.farm.env,
        "FARMHAUL_REDIS_URL": guarded.url("flower"),
        "FLOWER_UNAUTHENTICATED_API": "true",
    }
    child = Child("flower", command, tmp_path / "flower.log", env=env)
    try:
        child.wait_ready(lambda: requests.get(f"{address}/healthcheck", timeout=5).ok)

        def tasks() -> dict[str, Any]:
            guarded.farm.wait_located([guarded.farm.upload().id])
            found: dict[str, Any] = requests.get(f"{address}/api/tasks", timeout=10).json()
            return found

        wait_until(tasks, 20, describe=(tmp_path / "flower.log").read_text)
        wait_until(lambda: requests.get(f"{address}/api/workers?refresh=1", timeout=20).json())
        [worker] = requests.get(f"{address}/api/workers", timeout=20).json().values()
        broker = requests.get(f"{address}/broker", timeout=10)
    finally:
        child.stop()

    assert "farmhaul" in str(worker["active_queues"])
    assert broker.status_code == 200
    assert "farmhaul" in broker.text


def test_a_user_who_may_send_no_task_is_refused(guarded: Guarded) -> None:
    target = (str(uuid.uuid4()), "--to", str(guarded.farm.sandbox.storage))
    env = {"FARMHAUL_REDIS_URL": guarded.url("exporter")}
    done = guarded.farm.cli("fetch", *target, "--enqueue", env=env)

    assert done.returncode == 3
    assert done.stderr.startswith("farmhaul: Redis refuses access")
    assert "Traceback" not in done.stderr


COMMON: list[tuple[str, ...]] = [
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("CONFIG", "GET", "*"),
    ("CONFIG", "SET", "dir", "/tmp"),
    ("KEYS", "*"),
    ("MONITOR",),
    ("SHUTDOWN", "NOSAVE"),
    ("BGREWRITEAOF",),
    ("ACL", "LIST"),
    ("MODULE", "LIST"),
    ("REPLICAOF", "127.0.0.1", "1"),
    ("SCRIPT", "FLUSH"),
    ("FUNCTION", "LIST"),
    ("CLIENT", "LIST"),
    ("SET", "other", "1"),
    ("GET", "other"),
]
REFUSED: dict[str, list[tuple[str, ...]]] = {
    "hook": [
        ("GET", "celery-task-meta-1"),
        ("HGETALL", "unacked"),
        ("LRANGE", "farmhaul", "0", "-1"),
        ("RPOP", "farmhaul"),
        ("PUBLISH", "/0.celery.pidbox", "{}"),
        ("SUBSCRIBE", "/0.celeryev/task.sent"),
        ("script", "return redis.call('KEYS', '*')"),
        ("script", "return redis.call('DEL', 'unacked')"),
        ("SCAN", "0"),
        ("INFO",),
    ],
    "worker": [("SET", "other:1", "1"), ("script", "return redis.call('FLUSHALL')")],
    "flower": [
        ("HGETALL", "farmhaul:upload:1"),
        ("HSET", "farmhaul:upload:1", "state", "located"),
        ("DEL", "farmhaul"),
        ("LPUSH", "farmhaul", "{}"),
        ("LPUSH", "farmhaul\x06\x163", "{}"),
        ("script", "return redis.call('DEL', 'farmhaul:pending')"),
        ("HGETALL", "unacked"),
    ],
    "exporter": [
        ("HSET", "farmhaul:upload:1", "state", "located"),
        ("DEL", "farmhaul:pending"),
        ("LPUSH", "farmhaul", "{}"),
        ("script", "return 1"),
        ("SCAN", "0"),
        ("PUBLISH", "/0.celery.pidbox", "{}"),
        ("HGETALL", "celery-task-meta-1"),
        ("INFO",),
    ],
}


@pytest.mark.parametrize("user", USERS)
def test_a_user_is_refused_everything_it_does_not_need(guarded: Guarded, user: str) -> None:
    with guarded.client(user) as client:
        allowed = []
        for command in [*COMMON, *REFUSED[user]]:
            try:
                if command[0] == "script":
                    client.register_script(command[1])()
                else:
                    client.execute_command(*command)
            except redis.exceptions.NoPermissionError:
                continue
            except redis.ResponseError as error:
                if "ACL failure" in str(error) or "NOPERM" in str(error):
                    continue
            allowed.append(" ".join(command))
    assert allowed == []


def test_nobody_logs_in_without_a_password(guarded: Guarded) -> None:
    for url in (guarded.server.url, guarded.url("hook").replace("hook:", "worker:")):
        with redis.Redis.from_url(url) as client, pytest.raises(redis.RedisError):
            client.get("farmhaul:reconciler")


def test_each_user_logs_in_with_its_container_secret(tmp_path: Path) -> None:
    script = CHECKOUT / "deploy/docker/make-secrets.sh"
    for _ in range(2):  # existing files stay
        command = ["sh", str(script), str(tmp_path)]
        subprocess.run(command, env={"PATH": "/usr/bin:/bin", "FTRACK_API_KEY": "key"}, check=True)
    server = RedisServer(tmp_path / "redis", extra=(f"include {tmp_path}/redis_auth",))
    server.launch()
    try:
        for user in USERS:
            url = (tmp_path / f"redis_url_{user}").read_text().strip()
            client = redis.Redis.from_url(url.replace("redis:6379", f"127.0.0.1:{server.port}"))
            wait_until(partial(answers, client))
    finally:
        server.stop()


def test_no_password_is_in_the_acl_file(guarded: Guarded) -> None:
    assert guarded.acl.count("#") == len(USERS)
    assert [password for password in guarded.passwords.values() if password in guarded.acl] == []


def test_a_password_that_does_not_fit_into_a_url_is_refused(tmp_path: Path) -> None:
    for user in USERS:
        (tmp_path / user).write_text("a b/c")
    done = subprocess.run([MAKE_ACL, tmp_path], capture_output=True, text=True)

    assert done.returncode == 2
    assert "letters, digits" in done.stderr
    assert "a b/c" not in done.stderr
