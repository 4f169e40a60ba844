"""``farmhaul doctor`` reports each broken set-up with a next step, and shows no secret."""

from __future__ import annotations

import json
import os
import time
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from socket import gethostname
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tasks.config.hook_key import derive_hook_key, hook_key_text
from tasks.config.remedies import explained
from tasks.config.sealing import Codec
from tasks.records import refusals
from tasks.records.scripts import Scripts
from tasks.transfer.errors import OwnSettingsError
from tests.farm import Farm, wait_until
from tests.functional.doctor_setups import (
    SetUp,
    done,
    fifo_in_the_spool,
    given,
    hanging,
    many_hosts,
    media_at,
    no_name,
    note_worker,
    nowhere,
    other_clock,
    proxy_that_closes,
    redis_by,
    redis_with,
    spool_in_a_folder_of_others,
    system_authority,
    unknown_authority,
    unsigned_entry,
)
from tests.helpers.imports import loaded_by
from tests.sandbox import RedisServer
from tests.sandbox.faults import Service
from workers import cli

KEY, OTHER_KEY = (Fernet.generate_key().decode() for _ in range(2))
PUT = ("--put",)


@pytest.fixture
def lone(hook: Farm) -> Farm:
    """A node with a key, and a worker's notes in Redis; no process runs."""
    hook.env["FARMHAUL_SECRET_KEY"] = KEY
    hook.make_file("kept.exr", 10)  # an empty root would look like one that is not mounted
    note_worker(hook.redis)
    return hook


def examine(farm: Farm, *options: str, **env: str | None) -> list[dict[str, str]]:
    """Run the command in this process, which is faster; return its findings."""
    shown = StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(shown):
        for name, value in {**farm.env, **env}.items():
            if value is None:
                patch.delenv(name, raising=False)
            else:
                patch.setenv(name, value)
        with pytest.raises(SystemExit) as end:
            cli.main(["doctor", "--json", *options])
    findings: list[dict[str, str]] = [json.loads(line) for line in shown.getvalue().splitlines()]
    assert (end.value.code or 0) == int(any(finding["level"] == "fault" for finding in findings))
    secrets = (farm.sandbox.env["FTRACK_API_KEY"], KEY, OTHER_KEY, "hunter2", "Signature=")
    for secret in secrets:
        assert secret not in shown.getvalue()
    for finding in findings:
        assert finding["next"] or finding["level"] == "ok", finding
    return findings


def wrong(findings: list[dict[str, str]]) -> dict[str, str]:
    """Return the faults and warnings: level and check, with findings and steps."""
    problems: dict[str, str] = {}
    for finding in findings:
        if finding["level"] != "ok":
            what = f"{finding['level']} {finding['what']}"
            text = f"{finding['says']} | {finding['next']}\n"
            problems[what] = problems.get(what, "") + text
    return problems


def test_a_healthy_farm_has_neither_faults_nor_warnings(farm: Farm, tmp_path: Path) -> None:
    farm.make_file("kept.exr", 10)
    wait_until(lambda: farm.redis.zcard("farmhaul:workers") == len(farm.workers))

    spool = str(tmp_path / "spool")
    findings = examine(farm, *PUT, FARMHAUL_SECRET_KEY=KEY, FARMHAUL_SPOOL=spool)

    assert wrong(findings) == {}
    looked_at = ("settings", "roots", "spool", "celery", "ftrack", "store", "redis", "aof")
    also = ("memory", "wake-up", "secret", "refusals", "inbox", "gate", "reach", "workers", "queue")
    assert {*looked_at, *also, "uploads"} <= {finding["what"] for finding in findings}
    [stored] = [finding["says"] for finding in findings if finding["what"] == "store"]
    says = {finding["what"]: finding["says"] for finding in findings}
    assert (says["secret"], says["records"]) == ("set; no records yet", "no records yet")
    assert stored.startswith("127.0.0.1 accepted a signed PUT of 22 bytes in ")


def test_a_put_leaves_one_object_and_nothing_in_ftrack(lone: Farm) -> None:
    for _ in range(2):
        assert wrong(examine(lone, *PUT)) == {}

    [component_id] = {put["key"] for put in lone.sandbox.store.puts()}
    assert lone.sandbox.store.read(component_id) == b"farmhaul doctor --put\n"
    assert lone.sandbox.ftrack.get("Component", component_id) is None
    assert lone.sandbox.ftrack.count_calls("create") == 0


def test_a_hook_node_needs_credentials_only_for_put(lone: Farm) -> None:
    none = dict.fromkeys(("FTRACK_SERVER", "FTRACK_API_USER", "FTRACK_API_KEY"))

    assert wrong(examine(lone, **none)) == {}
    assert "worker's node" in wrong(examine(lone, *PUT, **none))["fault store"]


@pytest.mark.parametrize("service", ["ftrack", "store"])
def test_a_server_that_takes_long_is_named_meanwhile(
    service: Service,
    lone: Farm,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(import_module("workers.doctor.ftrack"), "SILENT_S", 0.3)
    lone.sandbox.faults.add(service, "latency_s", 0.6)

    assert wrong(examine(lone, *PUT)) == {}

    server = lone.env["FTRACK_SERVER"] if service == "ftrack" else "127.0.0.1"
    told = f"farmhaul: waiting for an answer of {server}; that may take 50 s\n"
    assert told in capsys.readouterr().err


def test_nobody_is_told_to_make_another_key_for_a_farm_that_has_one(lone: Farm) -> None:
    lone.upload()
    hook_key = hook_key_text(derive_hook_key(KEY))
    worker = {"FARMHAUL_SECRET_KEY": None, "FARMHAUL_HOOK_KEY": hook_key}
    none = dict.fromkeys(("FTRACK_SERVER", "FTRACK_API_USER", "FTRACK_API_KEY"))

    fault = wrong(examine(lone, **worker))["fault secret"]

    assert fault.startswith("1 of 1 records checked cannot be read, and FARMHAUL_SECRET_KEY is not")
    assert "make a key" not in fault
    assert wrong(examine(lone, **worker, **none)) == {}


def test_a_node_that_is_set_aside_does_not_count_as_a_taker(lone: Farm) -> None:
    note_worker(lone.redis, "w2@node8")
    note = json.dumps({"what": "clock", "since": time.time(), "known": True})

    lone.redis.hset("farmhaul:paused", "w2@node8", note)
    says = {finding["says"] for finding in examine(lone) if finding["what"] == "workers"}
    lone.redis.hset("farmhaul:paused", "w1@node7", note)
    faults = wrong(examine(lone))["fault workers"]

    assert says == {"1 take tasks: w1@node7"}
    assert faults.startswith("all 2 are set aside | ")


def test_a_worker_that_has_shut_down_is_not_said_to_run(lone: Farm) -> None:
    Scripts(lone.redis, Codec([])).run("note_leaving", node="w1@node7")

    # For the rest of a second it still counts.
    wait_until(lambda: "no worker" in wrong(examine(lone)).get("fault workers", ""))

    assert "running, but" not in wrong(examine(lone))["fault workers"]


def test_people_read_lines_with_the_next_step_below() -> None:
    from workers.doctor.finding import Finding

    line = Finding("fault", "aof", "off", "turn it on").line(human=True)

    assert line.split() == ["fault", "aof", "off", "next:", "turn", "it", "on"]
    assert "next:" in line.splitlines()[1]


def test_the_exit_code_of_the_command_is_1_if_there_is_a_fault(lone: Farm) -> None:
    done = lone.cli("doctor", "--json", env={"FARMHAUL_SECRET_KEY": None})

    assert (done.returncode, done.stderr) == (1, "")
    assert '"fault", "what": "secret"' in done.stdout


def test_a_full_redis_is_not_met_by_more_workers(lone: Farm) -> None:
    lone.upload()
    lone.redis.lpush("farmhaul:inbox", unsigned_entry(age_s=60))
    lone.redis.delete("farmhaul:workers", "farmhaul:alive")
    lone.redis.config_set("maxmemory", 1)
    try:
        problems, status = wrong(examine(lone)), lone.cli("status")
    finally:
        lone.redis.config_set("maxmemory", 0)

    full = "Redis is full and accepts nothing new; raise maxmemory, or lower FARMHAUL_RECORD_DAYS"
    for what in ("inbox", "workers"):
        assert problems[f"fault {what}"].endswith(f" | {full}\n")
    assert status.stderr == f"farmhaul: {full}\n"


# Broken set-ups


def silent(farm: Farm) -> None:
    """A worker is up but takes no tasks, while another one does."""
    now, _ = farm.redis.time()
    farm.redis.zadd("farmhaul:alive", {"0.1.0 w2@node8": now})
    note_worker(farm.redis)


def wait_for_proxy(farm: Farm) -> None:
    """An upload of another node waits for the settings of that node."""
    upload_id = farm.upload().id
    error = OwnSettingsError("node9", "ftrack", "https://studio.example", "proxy_login", "407")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("https_proxy", raising=False)
        patch.setenv("HTTPS_PROXY", "http://me:hunter2@proxy:3128")
        text = explained(error)
    farm.redis.zrem("farmhaul:state:pending", upload_id)
    farm.redis.zrem("farmhaul:pending", upload_id)
    farm.redis.zadd("farmhaul:state:retrying", {upload_id: 1})
    farm.redis.zadd("farmhaul:retrying", {upload_id: 9e9})
    fields = {"state": "retrying", "error": text, "error_kind": "OwnSettingsError"}
    farm.redis.hset(f"farmhaul:upload:{upload_id}", mapping=fields)


def three_refused_messages(farm: Farm) -> None:
    farm.redis.hset("farmhaul:totals", "refused", 3)
    refusals.note(farm.redis, "message", "node8", "it is malformed", 3)


def stuck(farm: Farm) -> None:
    upload_id = farm.upload().id
    farm.redis.zrem("farmhaul:state:pending", upload_id)
    farm.redis.zrem("farmhaul:pending", upload_id)
    farm.redis.zadd("farmhaul:state:active", {upload_id: 1})
    farm.redis.hset(f"farmhaul:upload:{upload_id}", mapping={"state": "active", "updated": 1})


def fill(client: Any) -> None:
    client.config_set("maxmemory", int(client.info()["used_memory"] * 1.02))


BROKEN = {
    "no append-only file": SetUp(
        "fault", "aof", "a restart of Redis loses uploads", "CONFIG SET appendonly yes",
        redis_with(lambda client: client.config_set("appendonly", "no")),
    ),
    "a Redis that evicts": SetUp(
        "fault", "memory", "allkeys-lru may evict records", "maxmemory-policy noeviction",
        redis_with(lambda client: client.config_set("maxmemory-policy", "allkeys-lru")),
    ),
    "a Redis that is full": SetUp(
        "fault", "memory", " used of ", "raise maxmemory", redis_with(fill),
    ),
    "a Redis user who may not wake workers": SetUp(
        "warning", "wake-up", "may not wake workers", "deploy/redis/users.acl",
        redis_with(
            lambda client: client.execute_command("ACL SETUSER default resetkeys ~farmhaul*")
        ),
    ),
    "a replica": SetUp(
        "fault", "redis", "replica", "FARMHAUL_REDIS_URL",
        redis_with(lambda client: client.replicaof(*nowhere().split(":"))),
    ),
    "a Redis that is too old": SetUp(
        "fault", "redis", "version 5.2.4 is too old", "6.2 or later",
        redis_by(replace=(b"redis_version:7", b"redis_version:5")),
    ),
    "a Redis elsewhere without TLS": SetUp(
        "warning", "redis", "127.0.0.2 is not encrypted", "rediss://", redis_by("127.0.0.2"),
    ),
    "no Redis": SetUp(
        "fault", "redis", "not reachable", "check FARMHAUL_REDIS_URL",
        given(FARMHAUL_REDIS_URL=f"redis://:hunter2@{nowhere()}/0"),
    ),
    "an environment that makes no sense": SetUp(
        "fault", "settings", "FARMHAUL_LEASE_SECONDS: 'soon'", "correct the variable",
        given(FARMHAUL_LEASE_SECONDS="soon", FARMHAUL_SECRET_KEY="hunter2"),
    ),
    "another API key": SetUp(
        "fault", "ftrack", "refuses the API key of", "FTRACK_API_KEY",
        given(FTRACK_API_KEY="hunter2"), PUT,
    ),
    "ftrack is away": SetUp(
        "fault", "ftrack", "Connection refused", "correct FTRACK_SERVER",
        given(FTRACK_SERVER=f"http://{nowhere()}"),
    ),
    "no ftrack.server": SetUp(
        "fault", "ftrack", "no location ftrack.server", "read locations",
        done(lambda farm: farm.sandbox.faults.add(
            "ftrack", "junk", action="query", body='[{"action": "query", "data": []}]'
        )),
    ),
    "a location that ftrack does not have": SetUp(
        "fault", "also-in", "location studio.dsk does not exist in ftrack", "FARMHAUL_ALSO_IN",
        given(FARMHAUL_ALSO_IN="studio.dsk"),
    ),
    "a location that is elsewhere on this node": SetUp(
        "fault", "also-in", "ftrack.unmanaged begins at /nowhere, and has no storage root",
        "FARMHAUL_LOCATIONS",
        given(
            FARMHAUL_ALSO_IN="ftrack.unmanaged", FARMHAUL_LOCATIONS="ftrack.unmanaged=/nowhere"
        ),
    ),
    "clocks an hour apart": SetUp(
        "fault", "clock", "that of Redis differ by 3", "by NTP", other_clock(late_s=3600),
    ),
    "clocks ten seconds apart": SetUp(
        "warning", "clock", "that of ftrack differ by ", "by NTP", other_clock(late_s=10),
    ),
    "a root that is not there": SetUp(
        "fault", "roots", "cannot be read: No such file", "mount it",
        given(FARMHAUL_STORAGE_ROOTS="TMP/gone"),
    ),
    "a root that hangs": SetUp(
        "fault", "roots", "does not answer", "check the mount", hanging("_list"),
    ),
    "an empty root": SetUp(
        "warning", "roots", "is empty", "is mounted", given(FARMHAUL_STORAGE_ROOTS="TMP"),
    ),
    "no root": SetUp(
        "fault", "roots", "is not set", "the folders", given(FARMHAUL_STORAGE_ROOTS=None),
    ),
    "another secret key": SetUp(
        "fault", "secret", "1 of 1 records", "as on the other nodes",
        done(lambda farm: (farm.upload(), farm.env.update(FARMHAUL_SECRET_KEY=OTHER_KEY))),
    ),
    "a hook without the secret key": SetUp(
        "warning", "refusals", "refused requests of hooks: 1", "requests_refused",
        done(lambda farm: farm.upload(env={"FARMHAUL_SECRET_KEY": None})),
    ),
    "no secret key": SetUp(
        "fault", "secret", "and requests and messages are unsigned", "make a key",
        given(FARMHAUL_SECRET_KEY=None),
    ),
    "no worker": SetUp(
        "fault", "workers", "no worker takes tasks", "farmhaul worker",
        done(lambda farm: farm.redis.delete("farmhaul:workers", "farmhaul:alive")),
    ),
    "no worker on the host of node-local files": SetUp(
        "fault", "workers", f"no worker on {gethostname()}", "start a worker on",
        done(lambda farm: farm.upload("--node-local")),
    ),
    "workers that take their own host's files alone": SetUp(
        "fault", "workers", "(-Q farmhaul.HOST), so other uploads wait", "without -Q",
        done(lambda farm: (
            farm.upload(), farm.redis.zrem("farmhaul:workers", "w1@node7"),
            farm.redis.zadd("farmhaul:workers", {"w1@node7 local": time.time()}),
        )),
    ),
    "no worker on many hosts of node-local files": SetUp(
        "fault", "workers", "inv17 and 10 more takes tasks, but uploads of files there",
        "start a worker on", done(many_hosts),
    ),
    "a worker that takes nothing": SetUp(
        "fault", "workers", "no tasks: w2@node8", "restart", done(silent),
    ),
    "a worker of another version": SetUp(
        "warning", "nodes", "w2@node8 takes uploads as the others do: it has another version",
        "upgrade",
        done(lambda farm: note_worker(farm.redis, "w2@node8", "0.0.9")),
    ),
    "a worker that tells no version": SetUp(
        "warning", "workers", "w1@node7 unknown", "upgrade",
        done(lambda farm: farm.redis.delete("farmhaul:alive")),
    ),
    "a proxy of another node that wants a login": SetUp(
        "fault", "reach", "node9 cannot reach ftrack (https://studio.example): its proxy asks for",
        "the password in HTTPS_PROXY=http://***@proxy:3128", done(wait_for_proxy),
    ),
    "an upload that has waited for hours": SetUp(
        "warning", "queue", "the oldest for 72", "add workers",
        done(lambda farm: farm.redis.zincrby("farmhaul:pending", -7230_000, farm.upload().id)),
    ),
    "an upload that is active and silent": SetUp(
        "warning", "uploads", "not renewed for 600 s", "farmhaul status", done(stuck),
    ),
    "requests that no worker takes in": SetUp(
        "fault", "inbox", "that are not taken in: 1, the oldest for 6", "start workers",
        done(lambda farm: farm.redis.lpush("farmhaul:inbox", unsigned_entry(age_s=60))),
    ),
    "requests that were refused": SetUp(
        "warning", "refusals", "refused requests of hooks: 2", "requests_refused",
        done(lambda farm: farm.redis.hset("farmhaul:totals", "refused_requests", 2)),
    ),
    "messages that were refused": SetUp(
        "warning", "refusals", "messages or records: 3 (3 from node8, ", "FARMHAUL_SECRET_KEY",
        done(three_refused_messages),
    ),
    "a spool that is a file": SetUp(
        "fault", "spool", f"{__file__} cannot be read or written", f"remove {__file__}: it must be",
        given(FARMHAUL_SPOOL=__file__),
    ),
    "a FIFO in the spool": SetUp(
        "fault", "spool", "/manifests cannot be read or written", "it must be a folder",
        fifo_in_the_spool,
    ),
    "a spool among other files": SetUp(
        "fault", "spool", "cannot be read or written: it holds other files, and others may write",
        "name another folder in FARMHAUL_SPOOL", spool_in_a_folder_of_others,
    ),
    "a spool that hangs": SetUp(
        "fault", "spool", "does not answer", "check its mount", hanging("_kept_in"),
    ),
    "no PUT may be signed": SetUp(
        "fault", "store", "no PUT was signed: ftrack refused to sign", "let the API user",
        done(lambda farm: farm.sandbox.faults.add(
            "ftrack", "error", "PermissionError", action="get_upload_metadata", content="no"
        )), PUT,
    ),
    "a signed URL that has expired": SetUp(
        "fault", "store", "(403 AccessDenied, expired)", "compare the clocks",
        done(lambda farm: farm.sandbox.faults.add("ftrack", "url_lifetime_s", 0)), PUT,
    ),
    "bytes that change on the way": SetUp(
        "fault", "store", "MD5", "memory",
        done(lambda farm: farm.sandbox.faults.add("store", "bad_digest")), PUT,
    ),
    "a store that has no space": SetUp(
        "fault", "store", "507", "firewalls, proxies, and the store",
        done(lambda farm: farm.sandbox.faults.add("store", "status", 507)), PUT,
    ),
    "a store that refuses for good": SetUp(
        "fault", "store", "(413 ", "operators of the store",
        done(lambda farm: farm.sandbox.faults.add("store", "status", 413)), PUT,
    ),
    "a media host that is not reached": SetUp(
        "fault", "store", "127.0.0.1: ConnectionError, Connection refused", "firewalls",
        done(media_at(f"https://{nowhere()}")), PUT,
    ),
    "a media host that no name server knows": SetUp(
        "fault", "store", "Name or service not known", "DNS", no_name, PUT,
    ),
    "a media host of an unknown authority": SetUp(
        "fault", "store", "certificate verify failed", "set REQUESTS_CA_BUNDLE to a file with",
        unknown_authority, PUT,
    ),
    "a media host of an authority of this system": SetUp(
        "fault", "store", "certificate verify failed", "/ca.pem, which has that authority",
        system_authority, PUT,
    ),
    "a file of authorities that is gone": SetUp(
        "fault", "settings", "REQUESTS_CA_BUNDLE: cannot read /gone.pem", "correct the variable",
        given(REQUESTS_CA_BUNDLE="/gone.pem"),
    ),
    "a SOCKS proxy": SetUp(
        "fault", "settings", "ALL_PROXY: socks5://***@proxy:1 is a SOCKS proxy", "correct",
        given(ALL_PROXY="socks5://u:hunter2@proxy:1"),
    ),
    "a proxy that is not there": SetUp(
        "fault", "ftrack", "its proxy cannot be used", f"https_proxy=http://***@{nowhere()}",
        given(FTRACK_SERVER="https://studio.example",
              https_proxy=f"http://u:hunter2@{nowhere()}"),
    ),
    "a proxy that closes its connections": SetUp(
        "fault", "ftrack", "waiting for ftrack: ProxyError", "or http_proxy=http://***@127.0.0.1:",
        proxy_that_closes,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_only_what_is_broken_is_reported(name: str, lone: Farm, tmp_path: Path) -> None:
    broken, folder = BROKEN[name], tmp_path / "own"
    folder.mkdir()
    with broken.arrange(lone, folder) as env:
        findings = examine(lone, *broken.options, **env)

    [(what, told)] = wrong(findings).items()
    assert what == f"{broken.level} {broken.what}"
    assert broken.says in told
    assert broken.next in told.partition(" | ")[2]


def test_a_redis_that_wants_another_password(lone: Farm, tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", password="hunter2")
    server.start()
    try:
        url = server.url.replace("hunter2", "hunter22")
        found = wrong(examine(lone, FARMHAUL_REDIS_URL=url))
    finally:
        server.stop()

    assert [*found] == ["fault redis"]
    assert "check the user and password" in found["fault redis"]


def test_a_redis_user_with_too_few_rights(lone: Farm, tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", extra=("user default on nopass ~* &* -@all +ping",))
    server.start()
    try:
        found = wrong(examine(lone, FARMHAUL_REDIS_URL=server.url))
    finally:
        server.stop()

    assert {f"warning {check}" for check in ("redis", "secret", "gate", "workers")} <= set(found)
    assert "may not" in found["warning redis"]


def test_a_spool_with_waiting_and_unreadable_requests(lone: Farm, tmp_path: Path) -> None:
    for name in ("1.bad", "2.json"):
        (tmp_path / name).touch()

    told = wrong(examine(lone, FARMHAUL_SPOOL=str(tmp_path)))["warning spool"]
    assert f"{tmp_path}/1.bad and rename it to .json," in told
    assert f"not enqueued yet: 1, in {tmp_path}" in told


def test_a_spool_with_abandoned_manifests(lone: Farm, tmp_path: Path) -> None:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    for name in ("1.bad", "at-its-hook.jsonl.new", "left.jsonl"):
        (manifests / name).touch()
    os.utime(manifests / "left.jsonl", (0, 0))

    told = wrong(examine(lone, FARMHAUL_SPOOL=str(tmp_path)))["warning spool"]
    assert f"{manifests}/1.bad and rename it to .jsonl," in told
    assert f"not enqueued yet: 1, in {tmp_path}" in told


def test_an_old_key_behind_the_new_one_reads_the_records(lone: Farm) -> None:
    lone.upload()

    assert wrong(examine(lone, FARMHAUL_SECRET_KEY=f"{OTHER_KEY},{KEY}")) == {}


def test_a_gate_closed_by_credentials_and_a_failed_upload(farm: Farm) -> None:
    farm.sandbox.faults.add("ftrack", "error", "PermissionError", content="no")
    farm.wait_state([farm.upload().id], "failed")
    farm.sandbox.faults.clear()
    farm.sandbox.faults.add("ftrack", "error", "InvalidCredentialsError", content="not you")
    farm.wait_state([farm.upload().id], "retrying")
    farm.sandbox.faults.clear()
    # One upload closes no gate: several must meet the same.
    farm.redis.hset("farmhaul:gate:credentials", "until", 9e9)
    found = wrong(examine(farm, FARMHAUL_SECRET_KEY=KEY))

    assert found["fault gate"].startswith("closed for credentials since 20")
    assert "FTRACK_API_KEY on the workers" in found["fault gate"]
    assert "failed uploads: 1" in found["warning uploads"]


def test_a_cold_start_of_the_command_does_not_import_it() -> None:
    assert "workers.doctor" not in loaded_by("import workers.cli")
