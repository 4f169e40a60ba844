"""The hook on Windows and Redis: away, back again, with TLS."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.config.hook_key import derive_hook_key, hook_key_text
from tests.docker.certificate import make_certificate
from tests.helpers.tls_front import tls_front
from tests.sandbox import RedisServer
from tests.sandbox.process import NO_REDIS
from tests.windows.conftest import VERSION, Hook, take
from tests.windows.python import windows_path

pytestmark = [pytest.mark.windows, pytest.mark.timeout(900)]


def test_while_redis_is_away_requests_wait_in_the_spool(
    hook: Hook, redis_server: RedisServer
) -> None:
    for name in ("a.exr", "b.exr", "c.exr"):
        hook.write(name)
    spool, url = hook.prod / "spool of ü", hook.env["FARMHAUL_REDIS_URL"]
    hook.env |= {"FARMHAUL_SPOOL": "P:\\spool of ü", "FARMHAUL_REDIS_URL": NO_REDIS}

    for name in ("a.exr", "b.exr"):
        done = hook.run("enqueue", f"P:\\{name}", "--version-id", VERSION)
        assert (done.code, [answer["state"] for answer in done.answers]) == (0, ["spooled"])
        assert "Redis is not reachable (127.0.0.1:1: " in done.said
        assert done.said.count("\n") == 1
    assert len(list(spool.glob("*.json"))) == 2
    assert hook.run("flush-spool").code == 3

    hook.env["FARMHAUL_REDIS_URL"] = url
    done = hook.run("flush-spool")
    assert (done.code, done.said) == (0, "")
    assert "2 uploads enqueued" in done.answers[0]["text"]
    assert [request.path for request in take(redis_server)] == ["P:/a.exr", "P:/b.exr"]
    assert [path for path in spool.rglob("*") if path.suffix in {".json", ".jsonl", ".new"}] == []


def test_the_next_hook_sends_what_is_in_the_spool(hook: Hook, redis_server: RedisServer) -> None:
    hook.write("a.exr")
    hook.env["FARMHAUL_SPOOL"] = "\\\\server\\prod\\spool"
    hook.run("enqueue", "P:\\a.exr", "--version-id", VERSION, FARMHAUL_REDIS_URL=NO_REDIS)
    manifest = hook.write("spool/manifests/1.jsonl")
    line = {"path": "P:\\b.exr", "version_id": VERSION}
    manifest.write_text(json.dumps(line) + "\r\n", encoding="utf-16")

    for _ in range(5):  # a hook on a busy machine leaves some of the spool to the next one
        hook.enqueue("P:\\a.exr", "--name", "c")
        if not manifest.exists():
            break

    sent = {request.upload_id: request.path for request in take(redis_server)}
    assert sorted(sent.values()) == ["P:/a.exr", "P:/a.exr", "P:/b.exr"]
    assert not manifest.exists()


def test_a_host_without_settings_has_a_spool(hook: Hook) -> None:
    hook.env |= {"FARMHAUL_REDIS_URL": NO_REDIS, "FARMHAUL_SPOOL": ""}
    hook.write("a.exr")
    done = hook.run("enqueue", "P:\\a.exr", "--version-id", VERSION)
    assert (done.code, [answer["state"] for answer in done.answers]) == (0, ["spooled"])
    assert "kept in C:\\ProgramData\\farmhaul\\spool" in done.said


def test_a_spool_that_cannot_be_written_is_named(hook: Hook) -> None:
    hook.write("a.exr")
    hook.write("file")
    hook.env |= {"FARMHAUL_REDIS_URL": NO_REDIS, "FARMHAUL_SPOOL": "P:\\file\\spool"}
    done = hook.run("enqueue", "P:\\a.exr", "--version-id", VERSION)
    assert (done.code, done.answers) == (3, [])
    assert "FARMHAUL_SPOOL cannot be written either" in done.said


def test_requests_are_signed(hook: Hook, redis_server: RedisServer) -> None:
    hook.write("a.exr")
    key = derive_hook_key("A" * 43 + "=")
    hook.write("key.txt", f"\ufeff{hook_key_text(key)}\r\n".encode("utf-16-le"))
    hook.enqueue("P:\\a.exr", FARMHAUL_HOOK_KEY_FILE="P:\\key.txt")
    assert len(take(redis_server, [key])) == 1


def test_a_socket_of_unix_is_refused_with_the_reason(hook: Hook) -> None:
    hook.write("a.exr")
    hook.env["FARMHAUL_REDIS_URL"] = "unix:///run/redis.sock"
    done = hook.run("enqueue", "P:\\a.exr", "--version-id", VERSION)
    assert (done.code, [answer["state"] for answer in done.answers]) == (0, ["spooled"])
    assert "no Unix sockets" in done.said


def test_tls_takes_its_authority_from_the_url_or_the_environment(
    hook: Hook, redis_server: RedisServer, tmp_path: Path
) -> None:
    hook.write("a.exr")
    folder = tmp_path / "authorities of ü"
    folder.mkdir()
    authority = folder / "ca.pem"
    make_certificate(["localhost"], authority, folder / "server.pem")
    named = windows_path(authority)
    with tls_front(redis_server.port, folder / "server.pem") as port:
        url = f"rediss://localhost:{port}/0"
        escaped = named.replace(" ", "%20")
        hook.enqueue("P:\\a.exr", FARMHAUL_REDIS_URL=f"{url}?ssl_ca_certs={escaped}")
        hook.enqueue("P:\\a.exr", FARMHAUL_REDIS_URL=url, SSL_CERT_FILE=named)
        done = hook.run("enqueue", "P:\\a.exr", "--version-id", VERSION, FARMHAUL_REDIS_URL=url)

    assert (done.code, [answer["state"] for answer in done.answers]) == (0, ["spooled"])
    assert "its certificate is not accepted: " in done.said
    assert len(take(redis_server)) == 2
