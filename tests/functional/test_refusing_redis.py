"""Commands on a Redis that they cannot trust, that is full, or that refuses a part of them."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tasks.chain import QUEUE, list_key
from tasks.records.states import STAGES
from tests.docker.certificate import make_certificate
from tests.farm import BIN, Farm
from tests.helpers.tls_front import tls_front
from tests.sandbox.process import CHECKOUT
from workers.cli import group


def run_all(
    farm: Farm, commands: dict[str, list[str]], url: str
) -> dict[str, subprocess.CompletedProcess[str]]:
    """Run these commands of farmhaul at once on another address of Redis."""
    env = farm.environment({"FARMHAUL_REDIS_URL": url})
    pipe = subprocess.PIPE
    running = {
        name: subprocess.Popen(
            [BIN / "farmhaul", *words], cwd=CHECKOUT, env=env, stdout=pipe, stderr=pipe, text=True
        )
        for name, words in commands.items()
    }
    ended = {name: one.communicate(timeout=60) for name, one in running.items()}
    return {
        name: subprocess.CompletedProcess(name, running[name].returncode, *output)
        for name, output in ended.items()
    }


def fetch(farm: Farm) -> list[str]:
    component_id = farm.sandbox.ftrack.add_component("plate.exr")
    return ["fetch", component_id, "--to", str(farm.sandbox.storage), "--enqueue"]


@contextmanager
def without_lpush(farm: Farm) -> Iterator[str]:
    """Yield the address of Redis for one who may write records and send no message."""
    rules = ("on", "nopass", "~*", "&*", "+@all", "-lpush")
    farm.redis.execute_command("ACL", "SETUSER", "half", *rules)
    address = urlsplit(farm.env["FARMHAUL_REDIS_URL"])
    host = address.netloc.rpartition("@")[2]
    try:
        yield address._replace(netloc=f"half:any@{host}").geturl()
    finally:
        farm.redis.execute_command("ACL", "DELUSER", "half")


@contextmanager
def full(farm: Farm) -> Iterator[str]:
    """Yield the address of Redis while it refuses what needs memory."""
    farm.redis.config_set("maxmemory", 1)
    try:
        yield farm.env["FARMHAUL_REDIS_URL"]
    finally:
        farm.redis.config_set("maxmemory", 0)


def test_no_command_trusts_another_redis(
    hook: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, other = tmp_path / "server.pem", tmp_path / "other.pem"
    make_certificate(["localhost"], tmp_path / "ca.pem", certificate)
    make_certificate(["localhost"], other, tmp_path / "unused.pem")
    port = urlsplit(hook.env["FARMHAUL_REDIS_URL"]).port
    with tls_front(int(port or 0), certificate) as front:
        url = f"rediss://localhost:{front}/1?ssl_ca_certs={other}"
        for name, value in (hook.env | {"FARMHAUL_REDIS_URL": url}).items():
            monkeypatch.setenv(name, value)
        for words in (
            ["retry", "--failed"],
            ["cancel", str(uuid.uuid4())],
            fetch(hook),
            ["limit", "--bandwidth", "50M"],
        ):
            assert group.main(words) == 3, words

            shown = capsys.readouterr()
            assert shown.out == ""
            assert shown.err.count("\n") == 1
            assert "its certificate is not accepted" in shown.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("refusing", "why", "refused"),
    [
        (without_lpush, "Redis refuses access", {"fetch"}),
        # It removes what it has, but begins nothing.
        (full, "Redis is full", {"retry", "fetch", "limit"}),
    ],
)
def test_what_a_command_has_recorded_is_done_without_its_message(
    refusing: Callable[[Farm], AbstractContextManager[str]],
    why: str,
    refused: set[str],
    hook: Farm,
) -> None:
    retried, cancelled = hook.upload_many(2)
    hook.cli("cancel", retried.id)
    commands = {
        "retry": ["retry", retried.id],
        "cancel": ["cancel", cancelled.id],
        "fetch": fetch(hook),
        "limit": ["limit", "--bandwidth", "50M"],
    }
    with refusing(hook) as url:
        done = run_all(hook, commands, url)
    hook.redis.delete(list_key(QUEUE, STAGES[0]))  # the wake-ups of before
    hook.add()

    for name, one in done.items():
        if name in refused:
            assert (one.returncode, one.stdout, one.stderr.count("\n")) == (3, "", 1), one
            assert why in one.stderr
        else:
            assert (one.returncode, one.stderr) == (0, ""), one
    if "retry" in refused:
        assert hook.states([retried.id]) == ["cancelled"]
    else:
        hook.wait_located([retried.id])
    assert hook.states([cancelled.id]) == ["cancelled"]
