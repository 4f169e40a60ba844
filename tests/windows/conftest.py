"""A Windows with Python, and farmhaul's hook on it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis

from tasks.intake.envelope import open_entry
from tasks.intake.from_wire import from_wire
from tasks.intake.inbox import INBOX
from tasks.intake.request import Request
from tests.helpers.pyz import built_pyz
from tests.helpers.skipping import skip_loudly
from tests.sandbox import RedisServer
from tests.windows.python import NoWindows, WindowsPython, windows_path

VERSION = "9f1d2c3b-0000-4000-8000-000000000001"


class Done(NamedTuple):
    """How a command ended: its exit code, its lines on stdout (JSON), and what stderr says."""

    code: int
    answers: list[dict[str, Any]]
    said: str


class Hook:
    r"""farmhaul-hook.pyz on a Windows where P: and \\server\prod are the folder ``prod``."""

    def __init__(self, windows: WindowsPython, pyz: Path, prod: Path, url: str) -> None:
        self.windows = windows
        self.pyz = pyz
        self.prod = prod
        windows.drive("P", prod)
        windows.share("server", "prod", prod)
        self.env = {
            "FARMHAUL_REDIS_URL": url,
            "FARMHAUL_STORAGE_ROOTS": "P:\\;\\\\server\\prod",
            "FARMHAUL_SPOOL": "P:\\spool",
        }

    def run(self, *arguments: str, stdin: bytes = b"", **env: str) -> Done:
        """Run a command of the hook; variables are added to its environment."""
        done = self.windows.run(
            windows_path(self.pyz), *arguments, stdin=stdin, env={**self.env, **env}
        )
        said = done.stderr.decode("cp1252", "replace").replace("\r\n", "\n")
        try:
            answers = [json.loads(line) for line in done.stdout.decode("ascii").splitlines()]
        except ValueError:
            answers = [{"text": done.stdout.decode("cp1252", "replace")}]
        return Done(done.returncode, answers, said)

    def enqueue(self, *arguments: str, stdin: bytes = b"", **env: str) -> list[dict[str, Any]]:
        """Run enqueue for a version; return its answers."""
        version = () if "--manifest" in arguments else ("--version-id", VERSION)
        done = self.run("enqueue", *arguments, *version, stdin=stdin, **env)
        if "no answer in time" in done.said:
            # On a busy machine, Wine may take longer than the 2 s that a hook waits for Redis.
            assert self.run("flush-spool", stdin=b"", **env).code == 0, done
            return [{**answer, "state": "queued"} for answer in done.answers]
        assert (done.code, done.said) == (0, ""), done
        return done.answers

    def refuse(self, *arguments: str, stdin: bytes = b"", **env: str) -> str:
        """Run enqueue for a version, which the hook must refuse; return the line that says why."""
        version = () if "--manifest" in arguments else ("--version-id", VERSION)
        done = self.run("enqueue", *arguments, *version, stdin=stdin, **env)
        assert (done.code, done.answers) == (2, []), done
        [line] = done.said.splitlines()
        return line

    def write(self, name: str, content: bytes = b"pixels") -> Path:
        """Write a file below P:."""
        path = self.prod / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


def take(server: RedisServer, keys: Sequence[bytes] = ()) -> list[Request]:
    """Take all requests out of the inbox, as a worker reads them, in the order of their arrival."""
    with redis.Redis(port=server.port) as client:
        entries: Any = client.lrange(INBOX, 0, -1)
        client.delete(INBOX)
    return [
        from_wire(values) for entry in entries[::-1] for values in open_entry(entry, keys).requests
    ]


@pytest.fixture(scope="session")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WindowsPython]:
    """Windows, started once: its first start takes some seconds."""
    try:
        running = WindowsPython(tmp_path_factory.mktemp("windows") / "prefix")
    except NoWindows as error:
        skip_loudly("NOTHING WAS TESTED ON WINDOWS", error)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def hook(windows: WindowsPython, tmp_path: Path, redis_server: RedisServer) -> Hook:
    prod = tmp_path / "prod"
    prod.mkdir()
    # A test may have used the spool of a host without settings.
    shutil.rmtree(windows.drive_c / "ProgramData" / "farmhaul", ignore_errors=True)
    return Hook(windows, built_pyz(), prod, redis_server.url)
