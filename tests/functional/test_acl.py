"""The Redis users of deploy/redis/users.acl can do their work, and little else."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
import requests

from tasks.config.sealing import Codec
from tasks.records import keys
from tasks.records.notices import Notices
from tasks.records.scripts import Scripts
from tests.farm import BIN, wait_until
from tests.functional.guarded import MAKE_ACL, USERS, Guarded, answers, redis_cli
from tests.sandbox import RedisServer, seed
from tests.sandbox.process import CHECKOUT, Child, free_ports

# Each role has its own farms; together, the tests take a minute.
pytestmark = pytest.mark.slow


@pytest.fixture
def all_allowed(guarded: Guarded) -> Iterator[None]:
    """Check that Redis refuses nothing in the test, even if farmhaul or Celery ignores it."""
    with guarded.nothing_refused():
        yield


@pytest.mark.usefixtures("all_allowed")
def test_an_operator_enqueues_and_looks_and_a_worker_uploads(guarded: Guarded) -> None:
    upload = guarded.farm.upload()
    guarded.farm.wait_located([upload.id])

    for arguments in (("status",), ("status", "--failed"), ("watch", upload.id)):
        done = guarded.farm.cli(*arguments)
        assert done.returncode == 0, done.stderr
    component_id = guarded.farm.sandbox.ftrack.add_component()
    path = guarded.farm.make_file("main.exr", 20_000)
    [queued] = guarded.farm.enqueue(path, "--component-id", component_id)
    assert queued["state"] == "queued"
    [waited] = guarded.farm.enqueue(path, "--component-id", component_id, "--wait")
    assert waited["state"] == "located"


@pytest.mark.usefixtures("all_allowed")
def test_an_operator_wakes_workers_by_a_retry(guarded: Guarded) -> None:
    farm, queue = guarded.farm, "farmhaul\x06\x163"
    with farm.frozen():
        upload = farm.upload()
        guarded.client("worker").delete(queue)
        for _ in range(2):  # the first may be on its way to the worker already
            for command in ("cancel", "retry"):
                assert farm.cli(command, upload.id).returncode == 0
        assert guarded.client("worker").llen(queue)
    farm.wait_located([upload.id])  # a fault of the next test would strike it


@pytest.mark.usefixtures("all_allowed")
def test_a_hook_enqueues_with_its_user_and_key(guarded: Guarded) -> None:
    [upload] = guarded.hook_enqueues(guarded.farm.make_file("hooked.exr", 1000))
    assert upload["state"] == "queued"
    guarded.farm.wait_located([upload["upload_id"]])


@pytest.mark.usefixtures("all_allowed")
def test_an_operator_sets_limits_and_lets_a_worker_fetch_and_check(guarded: Guarded) -> None:
    farm = guarded.farm
    upload = guarded.farm.upload()
    farm.wait_located([upload.id])
    folder = farm.make_file("other.exr", 10).parent
    commands = [("limit", "--bandwidth", "50M"), ("limit",), ("limit", "--clear")]
    fetch = ("fetch", upload.component_id, "--to", str(folder), "--enqueue")
    check = ("check", str(upload.path), "--component-id", upload.component_id, "--farm")
    for arguments in (*commands, fetch, check):
        done = farm.cli(*arguments)
        assert done.returncode == 0, done.stderr
    wait_until(lambda: len(list(folder.glob("*.exr"))) == 2)


@pytest.mark.usefixtures("all_allowed")
def test_the_health_check_reads_the_workers(guarded: Guarded) -> None:
    env = guarded.farm.environment({"FARMHAUL_REDIS_URL": guarded.url("worker")})
    command = [str(BIN / "python"), "-m", "workers.health", f"w1@{socket.gethostname()}"]
    wait_until(lambda: subprocess.run(command, env=env, cwd=CHECKOUT, check=False).returncode == 0)


@pytest.mark.usefixtures("all_allowed")
def test_workers_and_operators_note_notices_and_workers_send_them(guarded: Guarded) -> None:
    worker, codec = guarded.client("worker"), Codec([])
    notices = Notices(worker, codec, "w1")
    assert notices.may_send()
    for user in ("worker", "operator"):
        worker.hset(keys.PAUSED, "w9", '{"what": "clock", "since": 1}')
        Scripts(guarded.client(user), codec).run("let_go_on", node="w9")
    raws = [notice.raw for notice in notices.first(10)]
    notices.remove(raws, lost=True)
    worker.delete(keys.NOTICES_WANTED, keys.NOTIFIER)
    assert (len(raws), notices.dropped()) == (2, 2)


@pytest.mark.usefixtures("all_allowed")
def test_a_worker_removes_unacknowledged_garbage(guarded: Guarded) -> None:
    client = guarded.client("worker")
    client.hset("unacked", "garbage", "reboot, please")
    client.zadd("unacked_index", {"garbage": 1, "nothing": 1})
    wait_until(lambda: not any(client.zmscore("unacked_index", ["garbage", "nothing"])), 90)
    assert not client.hexists("unacked", "garbage")


@pytest.mark.usefixtures("all_allowed")
def test_an_operator_flushes_a_spool(guarded: Guarded) -> None:
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
def test_an_operator_retries_a_large_file_that_failed(guarded: Guarded) -> None:
    farm = guarded.farm
    component_id = farm.sandbox.ftrack.add_component("main.mov")
    path = farm.make_file("main.mov", 70 << 20)
    fault = farm.sandbox.faults.add("ftrack", "error", "PermissionError")
    [upload] = farm.enqueue(path, "--component-id", component_id)
    farm.wait_state([upload["upload_id"]], "failed")
    farm.sandbox.faults.clear()
    assert fault

    done = farm.cli("retry", upload["upload_id"])

    assert done.returncode == 0, done.stderr
    farm.wait_located([upload["upload_id"]])


@pytest.mark.usefixtures("all_allowed")
def test_an_operator_enqueues_retries_and_cancels_sequences(guarded: Guarded) -> None:
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


def test_doctor_reads_all_as_a_worker_and_as_an_operator(guarded: Guarded) -> None:
    def findings(user: str, database: str = "/0") -> list[dict[str, str]]:
        url = {"FARMHAUL_REDIS_URL": guarded.url(user).removesuffix("/0") + database}
        done = guarded.farm.cli("doctor", "--json", env=url)
        return [json.loads(line) for line in done.stdout.splitlines()]

    guarded.farm.upload()
    with guarded.nothing_refused():
        for user in ("worker", "operator"):
            assert [row for row in findings(user) if "may not" in row["says"]] == []
    [about_redis] = [row for row in findings("hook") if row["what"] == "redis"]
    assert about_redis["level"] == "warning"
    assert "may only push" in about_redis["says"]
    [about_database] = [row for row in findings("operator", "/3") if row["what"] == "redis"]
    assert about_database["level"] == "fault"
    assert about_database["next"].startswith("write database 0")


@pytest.mark.usefixtures("all_allowed")
def test_an_admin_does_what_the_pages_say(guarded: Guarded) -> None:
    upload = guarded.farm.upload()
    guarded.farm.wait_located([upload.id])
    pages = ("operations.md", "state.md", "troubleshooting.md", "uninstalling.md", "deployment.md")
    text = "".join((CHECKOUT / "docs" / page).read_text() for page in pages)
    for command in ADMIN:
        assert command[:2] == ("SCRIPT", "KILL") or command[0] in text, command

    with guarded.client("admin") as client:
        for command in ADMIN:
            # There may be nothing to kill, or another background save; the log has refusals.
            with suppress(redis.ResponseError):
                client.execute_command(*command)
        assert list(client.scan_iter(match="farmhaul:upload:*"))


def test_an_admin_takes_a_backup(guarded: Guarded, tmp_path: Path) -> None:
    cli = redis_cli()
    upload = guarded.farm.upload()
    guarded.farm.wait_located([upload.id])
    # As docs/operations.md says; the password is in no command line.
    command = [*cli, "-p", str(guarded.server.port), "--user", "admin", "--rdb", "backup.rdb"]
    env = {"REDISCLI_AUTH": guarded.passwords["admin"]}
    with guarded.nothing_refused():
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert upload.id.encode() in (tmp_path / "backup.rdb").read_bytes()


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
    with guarded.nothing_refused():
        check_flower(guarded, tmp_path)


@pytest.mark.parametrize("user", ["operator", ""])
def test_flower_retries_as_the_user_of_operators_alone(
    guarded: Guarded, tmp_path: Path, user: str
) -> None:
    upload = guarded.farm.upload()
    guarded.farm.wait_located([upload.id])
    env = {"FLOWER_READ_ONLY": "false"}
    if user:
        file = tmp_path / "redis_url"
        file.write_text(f"{guarded.url(user)}\n")
        env["FLOWER_OPERATOR_REDIS_URL_FILE"] = str(file)
    key = f"farmhaul:upload:{upload.id}"
    fence = guarded.farm.redis.hget(key, "fence")
    with flower(guarded, tmp_path, **env) as address, requests.Session() as browser:
        page = f"{address}/upload/{upload.id}"
        wait_until(lambda: browser.get(page, timeout=20).ok)
        form = {"_xsrf": browser.cookies["_xsrf"]}
        with guarded.nothing_refused() if user else nullcontext():
            answer = browser.post(f"{page}/retry", form, timeout=20)
        if user:
            guarded.farm.wait_located([upload.id])
            assert answer.ok
            wait_until(lambda: guarded.farm.redis.hget(key, "fence") != fence)
        else:
            assert answer.status_code == 503
            assert "Redis refuses access" in answer.text
            assert "FLOWER_OPERATOR_REDIS_URL_FILE" in answer.text
            assert guarded.farm.redis.hget(key, "fence") == fence


def test_flower_retries_a_download_and_finds_it_by_its_id(guarded: Guarded, tmp_path: Path) -> None:
    farm, upload = guarded.farm, guarded.farm.upload()
    farm.wait_located([upload.id])
    folder = farm.make_file("other.exr", 10).parent
    done = farm.cli("fetch", upload.component_id, "--to", str(folder), "--enqueue")
    fetch_id = json.loads(done.stdout)["task_id"]
    key = f"farmhaul:fetch:{fetch_id}"
    wait_until(lambda: farm.redis.hget(key, "state") == "fetched")
    begun = farm.redis.hget(key, "begun")
    file = tmp_path / "redis_url"
    file.write_text(f"{guarded.url('operator')}\n")
    env = {"FLOWER_READ_ONLY": "false", "FLOWER_OPERATOR_REDIS_URL_FILE": str(file)}
    places = {
        f"uploads/{fetch_id.upper()}": f"download/{fetch_id}",
        f"upload/{fetch_id}": f"download/{fetch_id}",
        f"uploads/{upload.id}": f"upload/{upload.id}",
        f"components/{upload.component_id}/": f"upload/{upload.id}",
    }
    nobody = f"uploads/{uuid.uuid4()}"

    with flower(guarded, tmp_path, **env) as address, requests.Session() as browser:
        wait_until(lambda: browser.get(f"{address}/farm", timeout=20).ok)
        with guarded.nothing_refused():
            found = {one: browser.get(f"{address}/{one}", timeout=20) for one in places}
            listed = browser.get(f"{address}/downloads", timeout=20)
            unknown = browser.get(f"{address}/{nobody}", timeout=20)
            form = {"_xsrf": browser.cookies["_xsrf"]}
            page = f"{address}/download/{fetch_id}"
            forged = browser.post(f"{page}/retry", timeout=20)
            answer = browser.post(f"{page}/retry", form, timeout=20)
            # The first one has counted from zero again.
            wait_until(lambda: farm.redis.hget(key, "state") == "fetched")
            wait_until(lambda: farm.redis.hget(key, "begun") != begun)

    assert {one: got.url.removeprefix(f"{address}/") for one, got in found.items()} == places
    assert f"/download/{fetch_id}" in listed.text
    assert (unknown.status_code, "has a record here" in unknown.text) == (404, True)
    assert (forged.status_code, answer.status_code) == (403, 200)
    assert "retried" in answer.text
    assert "in Flower" in answer.text


def test_flower_cancels_a_download_that_waits(guarded: Guarded, tmp_path: Path) -> None:
    farm, upload = guarded.farm, guarded.farm.upload()
    farm.wait_located([upload.id])
    farm.sandbox.faults.add("store", "status", 503, method="GET")
    folder = farm.make_file("other.exr", 10).parent
    done = farm.cli("fetch", upload.component_id, "--to", str(folder), "--enqueue")
    fetch_id = json.loads(done.stdout)["task_id"]
    key = f"farmhaul:fetch:{fetch_id}"
    wait_until(lambda: farm.redis.hget(key, "state") == "retrying")
    file = tmp_path / "redis_url"
    file.write_text(f"{guarded.url('operator')}\n")
    env = {"FLOWER_READ_ONLY": "false", "FLOWER_OPERATOR_REDIS_URL_FILE": str(file)}

    with flower(guarded, tmp_path, **env) as address, requests.Session() as browser:
        wait_until(lambda: browser.get(f"{address}/farm", timeout=20).ok)
        page = f"{address}/download/{fetch_id}"
        with guarded.nothing_refused():
            shown = browser.get(page, timeout=20)
            form = {"_xsrf": browser.cookies["_xsrf"]}
            answer = browser.post(f"{page}/cancel", form, timeout=20)

    assert "/cancel" in shown.text
    assert (answer.status_code, "in Flower" in answer.text) == (200, True)
    assert "cancelled" in answer.text
    assert farm.redis.hget(key, "cancelled_by")


def check_flower(guarded: Guarded, tmp_path: Path) -> None:
    with flower(guarded, tmp_path) as address:
        _check_pages(guarded, address, tmp_path / "flower.log")


@contextmanager
def flower(guarded: Guarded, tmp_path: Path, **settings: str) -> Iterator[str]:
    """Run Flower as its own user, and yield its address."""
    [port] = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    command = [
        str(BIN / "celery"),
        "-A",
        "workers",
        "flower",
        f"--conf={CHECKOUT / 'deploy/flower/flowerconfig.py'}",
        "--address=127.0.0.1",
        f"--port={port}",
    ]
    env = {
        **guarded.farm.env,
        "FARMHAUL_FLOWER_OPEN": "yes",
        "FLOWER_DB": str(tmp_path / "flower"),
        "FARMHAUL_REDIS_URL": guarded.url("flower"),
        "FLOWER_UNAUTHENTICATED_API": "true",
        **settings,
    }
    child = Child("flower", command, tmp_path / "flower.log", env=env)
    try:
        child.wait_ready(lambda: requests.get(f"{address}/healthcheck", timeout=5).ok)
        yield address
    finally:
        child.stop()


def _check_pages(guarded: Guarded, address: str, log: Path) -> None:
    def tasks() -> dict[str, Any]:
        guarded.farm.wait_located([guarded.farm.upload().id])
        found: dict[str, Any] = requests.get(f"{address}/api/tasks", timeout=10).json()
        return found

    wait_until(tasks, 20, describe=log.read_text)
    wait_until(lambda: requests.get(f"{address}/api/workers?refresh=1", timeout=20).json())
    [worker] = requests.get(f"{address}/api/workers", timeout=20).json().values()
    broker = requests.get(f"{address}/broker", timeout=10)
    # The newest one: the page lists 25.
    [upload_id] = guarded.farm.redis.zrange("farmhaul:state:located", -1, -1)
    ours = ["uploads", "uploads?q=exr", "farm", f"upload/{upload_id}"]
    # 503 says that Redis has not answered in time, as on a busy machine.
    pages = [answered(f"{address}/{path}") for path in ours]

    assert "farmhaul" in str(worker["active_queues"])
    assert broker.status_code == 200
    assert [page.status_code for page in pages] == [200] * len(ours)
    assert upload_id in pages[1].text
    for queue in ("farmhaul", "farmhaul:inbox", "farmhaul:taking"):
        assert f">{queue}<" in re.sub(r"\s", "", broker.text)


def answered(address: str) -> requests.Response:
    answers: list[requests.Response] = []

    def is_answered() -> bool:
        answers.append(requests.get(address, timeout=20))
        return answers[-1].status_code != 503

    wait_until(is_answered, describe=lambda: answers[-1].text[-2000:])
    return answers[-1]


def test_a_user_who_may_send_no_task_is_refused(guarded: Guarded) -> None:
    target = (str(uuid.uuid4()), "--to", str(guarded.farm.sandbox.storage))
    env = {"FARMHAUL_REDIS_URL": guarded.url("exporter")}
    done = guarded.farm.cli("fetch", *target, "--enqueue", env=env)

    assert done.returncode == 3
    assert done.stderr.startswith("farmhaul: Redis refuses access")
    assert "Traceback" not in done.stderr


#: What docs/ tells an administrator to do by redis-cli.
ADMIN: list[tuple[str, ...]] = [
    ("INFO",),
    ("MEMORY", "STATS"),
    ("LATENCY", "DOCTOR"),
    ("SLOWLOG", "GET"),
    ("ACL", "LOG"),
    ("CLIENT", "LIST"),
    ("CLIENT", "KILL", "ID", "999999"),
    ("SCRIPT", "KILL"),
    ("CONFIG", "GET", "maxmemory"),
    ("CONFIG", "SET", "appendonly", "yes"),
    ("CONFIG", "SET", "maxmemory-policy", "noeviction"),
    ("SAVE",),
    ("BGSAVE",),
    ("HDEL", "farmhaul:totals", "refused"),
    ("ZADD", "farmhaul:retrying", "XX", "0", "no-upload"),
    ("ZREM", "farmhaul:jobs", "no-upload"),
    ("DEL", "farmhaul:gate:store"),
    ("UNLINK", "farmhaul:bucket:none"),
]

#: Refused to each user, unless it is admin and the command is among ADMIN.
COMMON: list[tuple[str, ...]] = [
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("CONFIG", "GET", "*"),
    ("CONFIG", "SET", "dir", "/tmp"),
    ("KEYS", "*"),
    ("MONITOR",),
    ("SHUTDOWN", "NOSAVE"),
    ("BGREWRITEAOF",),
    ("SAVE",),
    ("ACL", "LIST"),
    ("ACL", "LOG"),
    ("ACL", "SETUSER", "hook", "+@all"),
    ("MODULE", "LIST"),
    ("REPLICAOF", "127.0.0.1", "1"),
    ("SCRIPT", "FLUSH"),
    ("SCRIPT", "KILL"),
    ("FUNCTION", "LIST"),
    ("CLIENT", "LIST"),
    ("CLIENT", "KILL", "ID", "1"),
    ("EVAL", "return 1", "0"),
    ("SET", "other", "1"),
    ("GET", "other"),
]
REFUSED: dict[str, list[tuple[str, ...]]] = {
    "operator": [
        ("GET", "celery-task-meta-1"),
        ("HGETALL", "unacked"),
        ("LRANGE", "farmhaul", "0", "-1"),
        ("LRANGE", "farmhaul:inbox", "0", "-1"),
        ("RPOP", "farmhaul"),
        ("RPOP", "farmhaul:inbox"),
        ("DEL", "farmhaul"),
        ("DEL", "farmhaul\x06\x163"),
        ("HSET", "farmhaul", "a", "b"),
        ("LPUSH", "farmhaul:taking", "x"),
        ("PUBLISH", "/0.celery.pidbox", "{}"),
        ("SUBSCRIBE", "/0.celeryev/task.sent"),
        ("script", "return redis.call('KEYS', '*')"),
        ("script", "return redis.call('DEL', 'unacked')"),
        ("SCAN", "0"),
    ],
    "worker": [("SET", "other:1", "1"), ("script", "return redis.call('FLUSHALL')")],
    "flower": [
        ("HSET", "farmhaul:upload:1", "state", "located"),
        ("LRANGE", "farmhaul:inbox", "0", "-1"),
        ("LPUSH", "farmhaul:inbox", "x"),
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
        ("LPUSH", "farmhaul:inbox", "x"),
        ("script", "return 1"),
        ("SCAN", "0"),
        ("PUBLISH", "/0.celery.pidbox", "{}"),
        ("HGETALL", "celery-task-meta-1"),
        ("INFO",),
    ],
    "admin": [
        ("SET", "farmhaul:limits", "1"),
        ("LPUSH", "farmhaul", "{}"),
        ("LPUSH", "farmhaul:inbox", "x"),
        ("PUBLISH", "/0.celery.pidbox", "{}"),
        ("script", "return 1"),
    ],
}
#: A hook may only push into the inbox, and the health check may only PING.
EVERYTHING = [
    *{command for commands in REFUSED.values() for command in commands},
    ("LLEN", "farmhaul:inbox"),
    ("LINDEX", "farmhaul:inbox", "0"),
    ("DEL", "farmhaul:inbox"),
    ("LTRIM", "farmhaul:inbox", "1", "0"),
    ("LPUSH", "farmhaul:taking", "x"),
    ("LPUSH", "farmhaul:inbox2", "x"),
    ("HGET", "farmhaul:upload:1", "state"),
    ("HGETALL", "farmhaul:parts:1"),
    ("EXISTS", "farmhaul:upload:1"),
    ("TYPE", "farmhaul:inbox"),
    ("MULTI",),
    ("WATCH", "farmhaul:inbox"),
    ("EVALSHA", "0" * 40, "0"),
    ("SCRIPT", "LOAD", "return 1"),
    ("TIME",),
    ("SELECT", "0"),
    ("PSYNC", "?", "-1"),
    ("CLIENT", "NO-EVICT", "on"),
]
REFUSED |= {"hook": [*EVERYTHING, ("PING",), ("INFO",)]}
REFUSED |= {"health": [*EVERYTHING, ("LPUSH", "farmhaul:inbox", "x")]}
REFUSED["hook"].remove(("LPUSH", "farmhaul:inbox", "x"))


MAY = {command[:2] for command in ADMIN} | {("BGREWRITEAOF",), ("CONFIG", "GET")}


@pytest.mark.parametrize("user", USERS)
def test_a_user_is_refused_everything_it_does_not_need(guarded: Guarded, user: str) -> None:
    with guarded.client(user) as client:
        allowed = []
        common = [command for command in COMMON if user != "admin" or command[:2] not in MAY]
        for command in [*common, *REFUSED[user]]:
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


def test_a_hook_pushes_into_the_inbox(guarded: Guarded) -> None:
    # As redis-py does it, and as a hook's own client: nothing but AUTH and LPUSH.
    with guarded.nothing_refused(), guarded.client("hook") as client:
        assert client.lpush("farmhaul:inbox", "an entry") == 1
    guarded.farm.redis.lrem("farmhaul:inbox", 0, "an entry")


def test_the_health_check_sees_whether_redis_answers(guarded: Guarded, tmp_path: Path) -> None:
    """The command of docker-compose.yml and of deploy/kubernetes/redis.yaml."""
    cli = redis_cli()
    secret = tmp_path / "redis_password_health"
    compose = (CHECKOUT / "docker-compose.yml").read_text()
    found = re.search(r'"CMD-SHELL", "(.+)"\]', compose)
    assert found
    command = found[1].replace("$$", "$").replace("/run/secrets/redis_password_health", str(secret))
    command = command.replace("redis-cli", f"{shlex.join(cli)} -p {guarded.server.port}")
    codes = []
    for password in (guarded.passwords["health"], "guessed"):
        secret.write_text(f"{password}\n")
        codes.append(subprocess.run(["sh", "-c", command], capture_output=True).returncode)

    assert codes == [0, 1]
    assert "nopass" not in guarded.acl


def test_clients_that_do_not_read_cannot_fill_redis(tmp_path: Path) -> None:
    """With the limits of deploy/redis/redis.conf, on a smaller maxmemory."""
    conf = (CHECKOUT / "deploy/redis/redis.conf").read_text()
    limits = re.findall(r"(?m)^(?:maxmemory-clients|proto-max|client-).*$", conf)
    assert len(limits) == 4
    users = ("user health on >health -@all +ping", "user admin on >admin ~* &* +@all")
    server = RedisServer(tmp_path / "redis", extra=(*limits, "maxmemory 128mb", *users))
    server.launch()
    admin = redis.Redis(port=server.port, username="admin", password="admin")
    wait_until(lambda: answers(admin))
    word = b"x" * (8 << 20)
    ping = b"*2\r\n$4\r\nPING\r\n$%d\r\n%s\r\n" % (len(word), word)
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(24)]
    try:
        for client in silent:
            client.settimeout(2)
            client.sendall(b"AUTH health health\r\n")
            with suppress(OSError):  # Redis has disconnected it, or reads no more
                for _ in range(4):
                    client.sendall(ping)

        assert admin.info("stats")["evicted_clients"] > 0
        assert admin.info("memory")["used_memory"] < 64 << 20
        assert admin.set("farmhaul:an-upload", "pending")
        with pytest.raises(redis.RedisError):
            admin.set("farmhaul:too-long", b"x" * (65 << 20))
    finally:
        for client in silent:
            client.close()
        server.stop()


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
            password = tmp_path / f"redis_password_{user}"
            if password.exists():
                client = redis.Redis(port=server.port, username=user, password=password.read_text())
            else:
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
