"""The library that render managers import: what it queues, keeps, refuses and says."""

from __future__ import annotations

import _thread
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.intake import disk, hook
from tasks.intake.envelope import Envelope, open_entry
from tasks.intake.from_wire import from_wire
from tasks.intake.inbox import INBOX
from tasks.intake.request import Request
from tests.farm import wait_until
from tests.sandbox.process import NO_REDIS
from tests.sandbox.redis_server import RedisServer

VERSION = "9f1d2c3b-0000-4000-8000-000000000001"
ROOTS = "/mnt/prod:/nowhere/hangs"


def line(file: str = "a.exr", **more: Any) -> dict[str, Any]:
    return {"path": f"/mnt/prod/{file}", "version_id": VERSION, **more}


class Host:
    """A host with hook.env, and what it sends."""

    def __init__(self, folder: Path, server: RedisServer) -> None:
        self.folder = folder
        self.spool = folder / "spool"
        self.settings = folder / "hook.env"
        self.client = server.client()
        self.client.delete(INBOX)
        self.configure(FARMHAUL_REDIS_URL=server.url)

    def configure(self, **settings: str) -> None:
        known = {"FARMHAUL_SPOOL": str(self.spool), "FARMHAUL_STORAGE_ROOTS": ROOTS, **settings}
        self.settings.write_text("".join(f"{name}='{text}'\n" for name, text in known.items()))

    @property
    def sent(self) -> list[Envelope]:
        """The bodies in the inbox, oldest first."""
        return [open_entry(entry, ()) for entry in self.entries]

    @property
    def entries(self) -> list[bytes]:
        return [str(entry).encode() for entry in self.client.lrange(INBOX, 0, -1)[::-1]]

    @property
    def requests(self) -> list[Request]:
        return [from_wire(values) for envelope in self.sent for values in envelope.requests]

    @property
    def left(self) -> list[Path]:
        """The files in the spool."""
        return sorted(path for path in self.spool.rglob("*") if path.is_file())


@pytest.fixture
def host(tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path, redis_server)
    monkeypatch.setenv("FARMHAUL_HOOK_ENV", str(made.settings))
    return made


def test_uploads_are_queued_and_leave_no_file(host: Host) -> None:
    code, text = hook.enqueue([line("Übersicht 01/a b.exr"), line("f.%04d.exr [1-3]", name="main")])
    assert text == "farmhaul: /mnt/prod/\\xdcbersicht 01/a b.exr and 1 more: 2 queued"
    assert (code, host.left) == (0, [])
    first, second = host.requests
    assert (first.path, second.path) == (
        "/mnt/prod/Übersicht 01/a b.exr",
        "/mnt/prod/f.%04d.exr [1-3]",
    )
    [envelope] = host.sent
    assert abs(envelope.asked_at - time.time()) < 60


def test_a_single_upload_needs_no_list(host: Host) -> None:
    assert hook.enqueue(line()) == (0, "farmhaul: /mnt/prod/a.exr: 1 queued")
    assert [request.path for request in host.requests] == ["/mnt/prod/a.exr"]


def test_a_job_without_ids_is_one_line(host: Host) -> None:
    assert hook.enqueue([{}, {}]) == (0, "farmhaul: the job names no ftrack id; nothing is queued")
    assert (host.sent, host.left) == ([], [])


def test_entries_are_signed_with_the_hook_key(host: Host, redis_server: RedisServer) -> None:
    key = "A" * 43 + "="
    host.configure(FARMHAUL_REDIS_URL=redis_server.url, FARMHAUL_HOOK_KEY=key)
    assert hook.enqueue([line()])[0] == 0
    [entry] = host.entries
    assert open_entry(entry, [bytes(32)]).requests


def test_uploads_that_met_no_redis_are_sent_by_the_next_hook(
    host: Host, redis_server: RedisServer
) -> None:
    host.configure(FARMHAUL_REDIS_URL=NO_REDIS)
    code, text = hook.enqueue([line("old.exr")])
    [kept] = host.left
    assert (code, kept.suffix, oct(kept.stat().st_mode)[-3:]) == (0, ".jsonl", "600")
    assert f"kept in {kept}, and sent later" in text
    asked_at = kept.stat().st_mtime

    host.configure(FARMHAUL_REDIS_URL=redis_server.url)
    assert hook.enqueue([line("new.exr")])[0] == 0
    assert [one.path for one in host.requests] == ["/mnt/prod/new.exr", "/mnt/prod/old.exr"]
    assert host.sent[1].asked_at == pytest.approx(asked_at)
    assert host.left == []


def test_a_redis_that_hangs_does_not_hold_up_the_hook(
    host: Host, redis_server: RedisServer
) -> None:
    redis_server.pause(4)
    began = time.monotonic()
    assert hook.enqueue([line()])[0] == 0
    assert time.monotonic() - began < 3.5  # a deadline of 1.5 s, and a loaded machine
    assert len(host.left) == 1
    while not redis_server.answers():
        time.sleep(0.1)


def test_a_refused_upload_is_set_aside_and_the_others_go(host: Host) -> None:
    uploads = [line("a.exr"), line("b.exr", encode="maybe"), line("c.exr")]
    code, text = hook.enqueue(uploads)
    [aside] = host.left
    assert (code, aside.suffix) == (2, ".bad")
    assert [json.loads(one) for one in aside.read_text().splitlines()] == [uploads[1]]
    assert [one.path for one in host.requests] == ["/mnt/prod/a.exr", "/mnt/prod/c.exr"]
    assert text.startswith(f"farmhaul: 1 refused, set aside as {aside}: manifest line 2: encode")
    assert text.endswith("/mnt/prod/a.exr and 2 more: 2 queued")


def test_a_refused_upload_is_not_sent_later_with_the_others(host: Host) -> None:
    host.configure(FARMHAUL_REDIS_URL=NO_REDIS)
    code, _ = hook.enqueue([line("a.exr"), line("b.exr", version_id="x")])
    bad, good = sorted(host.left, key=lambda path: path.suffix)
    assert (code, bad.suffix, good.suffix) == (2, ".bad", ".jsonl")
    assert json.loads(good.read_text()) == line("a.exr")


def test_a_value_that_is_not_json_is_refused_and_not_lost(host: Host) -> None:
    code, text = hook.enqueue([line("a.exr", name={1, 2}), line("b.exr")])
    assert (code, "name must be a string" in text) == (2, True)
    assert [one.path for one in host.requests] == ["/mnt/prod/b.exr"]
    assert "{1, 2}" in host.left[0].read_text()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"FARMHAUL_SPOOL='%s'\nnonsense\n", "line 2 is not NAME='VALUE'"),
        (b"FARMHAUL_SPOOL='%s'\nFARMHAUL_PATH_MAP='\xff'\n", "line 2 is not UTF-8 text"),
        (b"FARMHAUL_SPOOL='%s'\nFARMHAUL_REDIS_URL='x'\n", "FARMHAUL_REDIS_URL: is not a Redis"),
        (b"FARMHAUL_SPOOL='%s'\n", "FARMHAUL_STORAGE_ROOTS is not set"),
    ],
)
def test_settings_that_are_wrong_are_said_and_the_upload_is_kept(
    host: Host, content: bytes, says: str
) -> None:
    host.settings.write_bytes(content.replace(b"%s", str(host.spool).encode()))
    code, text = hook.enqueue([line()])
    [kept] = host.left
    assert (code, says in text, f"kept in {kept}" in text) == (3, True, True)
    assert json.loads(kept.read_text()) == line()


def test_settings_that_are_not_there_are_said_and_the_upload_is_kept(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARMHAUL_HOOK_ENV", "/nowhere/hook.env")
    monkeypatch.setenv("FARMHAUL_SPOOL", str(host.spool))
    code, text = hook.enqueue([line()])
    assert (code, "there is no file /nowhere/hook.env" in text) == (3, True)
    assert len(host.left) == 1


def test_without_a_spool_the_upload_is_kept_among_temporary_files(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    host.configure(FARMHAUL_REDIS_URL=NO_REDIS, FARMHAUL_SPOOL=str(tmp_path / "file"))
    code, text = hook.enqueue([line()])
    [kept] = (tmp_path / "tmp").iterdir()
    assert (code, json.loads(kept.read_text())) == (3, line())
    assert f"kept in {kept}, because the spool {tmp_path}/file cannot be written" in text
    assert f"move it to {tmp_path}/file/manifests" in text


def test_a_queued_upload_leaves_no_temporary_file_either(
    host: Host, tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    host.configure(FARMHAUL_REDIS_URL=redis_server.url, FARMHAUL_SPOOL=str(tmp_path / "file"))
    assert hook.enqueue([line()])[0] == 0
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.fixture
def hung_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A spool whose file system does not answer before the test has ended."""
    folder, ended, really = tmp_path / "hung", threading.Event(), os.mkdir

    def mkdir(path: Any, *args: Any, **options: Any) -> None:
        if Path(path) == folder:
            ended.wait(30)
        really(path, *args, **options)

    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr("tasks.intake.spool.ANSWERS_WITHIN_S", 0.3)
    monkeypatch.setattr(os, "mkdir", mkdir)
    others = _thread._count()
    yield folder
    ended.set()
    wait_until(lambda: _thread._count() <= others)


def test_a_hook_does_not_hang_with_the_mount_of_its_spool(
    host: Host, hung_spool: Path, redis_server: RedisServer
) -> None:
    host.configure(FARMHAUL_REDIS_URL=redis_server.url, FARMHAUL_SPOOL=str(hung_spool))
    assert hook.enqueue([line()])[0] == 0
    assert len(host.sent) == 1

    host.configure(FARMHAUL_REDIS_URL=NO_REDIS, FARMHAUL_SPOOL=str(hung_spool))
    code, text = hook.enqueue([line()])
    [kept] = (hung_spool.parent / "tmp").iterdir()
    assert (code, json.loads(kept.read_text())) == (3, line())
    assert f"the spool {hung_spool} cannot be written (it does not answer; look at its" in text


def test_an_error_of_the_hook_is_one_line_and_the_upload_is_kept(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr("tasks.intake.hook.sort_out", fail)
    code, text = hook.enqueue([line()])
    [kept] = host.left
    assert (code, json.loads(kept.read_text())) == (3, line())
    assert text == (
        f"farmhaul: /mnt/prod/a.exr: not queued, kept in {kept}, and sent later: "
        "RuntimeError: first second"
    )


def odd_uploads() -> list[Any]:
    """What a studio's own hook may hand over by mistake."""
    circle = line("circle.exr")
    circle["metadata"] = circle
    return [circle, {("a", "b"): 1}, "/mnt/prod/b.exr", line("a.exr"), ["c"], line(version_id="x")]


def test_one_bad_entry_among_many_holds_up_no_other(host: Host) -> None:
    code, text = hook.enqueue(odd_uploads())
    assert (code, text.startswith("farmhaul: 5 refused, set aside as ")) == (2, True)
    assert [request.path for request in host.requests] == ["/mnt/prod/a.exr"]
    assert len(host.left[0].read_text().splitlines()) == 5


@pytest.mark.parametrize("redis", [True, False])
@pytest.mark.parametrize("bad", [[], [line("b.exr", version_id="x")]])
def test_a_full_disk_keeps_nothing_from_redis_and_is_said_without_it(
    host: Host,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    redis: bool,
    bad: list[dict[str, Any]],
) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    host.configure(FARMHAUL_REDIS_URL=redis_server.url if redis else NO_REDIS)
    monkeypatch.setattr("tasks.intake.disk.write_new", full)
    code, text = hook.enqueue([line("a.exr"), *bad])
    assert (code, host.left) == (2 if redis and bad else 0 if redis else 3, [])
    assert [request.path for request in host.requests] == (["/mnt/prod/a.exr"] if redis else [])
    if not redis:
        assert "and not kept, because the spool" in text
        assert "nor can a temporary file (No space left on device)" in text
    if bad:
        assert "1 refused, and not kept, because" in text
        assert "version_id 'x' is not a UUID" in text


def test_a_disk_that_fills_up_while_lines_are_set_aside_loses_none(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_new = disk.write_new

    def full_later(*arguments: Any) -> str:
        if host.left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_new(*arguments)

    host.configure(FARMHAUL_REDIS_URL=NO_REDIS)
    monkeypatch.setattr("tasks.intake.disk.write_new", full_later)
    for uploads in ([line("a.exr"), line("b.exr", version_id="x")], [line(version_id="x")]):
        code, _ = hook.enqueue(uploads)
        [kept] = host.left
        assert code in {2, 3}
        assert [json.loads(one) for one in kept.read_text().splitlines()] == uploads
        kept.unlink()


def test_what_else_of_a_job_cannot_be_queued_is_in_the_line(host: Host) -> None:
    code, text = hook.enqueue([line()], ["output 1 has no file name"])
    assert (code, text) == (
        2, "farmhaul: /mnt/prod/a.exr: 1 queued; not queued: output 1 has no file name"
    )  # fmt: skip
    code, text = hook.enqueue([], ["one", "two"])
    assert (code, text) == (2, "farmhaul: nothing is queued; not queued: one; two")
    assert hook.refuse([{}], "one") == (2, "farmhaul: refused: one")
    assert len(host.requests) == 1
    assert host.left == []


@pytest.mark.parametrize("content", [b"\xff\xfeF", b"\xff\xfe\x00\xd8"])
def test_half_a_text_of_windows_is_said_and_the_upload_is_kept(
    host: Host, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    host.settings.write_bytes(content)
    monkeypatch.setenv("FARMHAUL_SPOOL", str(host.spool))
    code, text = hook.enqueue([line()])
    assert (code, "is not UTF-8 text; save the file as UTF-8" in text) == (3, True)
    assert len(host.left) == 1


def test_uploads_that_a_manager_refuses_are_kept_for_somebody(host: Host) -> None:
    code, text = hook.refuse([line(), {}], "this job renders tiles")
    [aside] = host.left
    assert (code, aside.suffix) == (2, ".bad")
    assert text == f"farmhaul: refused, set aside as {aside}: this job renders tiles"
    assert host.sent == []


def test_an_upload_survives_a_kill_while_redis_does_not_answer(
    host: Host, redis_server: RedisServer
) -> None:
    redis_server.pause(3)
    code = f"from tasks.intake import hook; hook.enqueue([{line()!r}])"
    child = subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ))
    while not any(path.stat().st_size for path in host.left):
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert json.loads(host.left[0].read_text()) == line()
    while not redis_server.answers():
        time.sleep(0.1)


def test_nothing_is_looked_up_on_disks_that_may_hang(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []

    def watch(name: str) -> None:
        real = getattr(os, name)

        def look(path: Any = ".", *rest: Any, **more: Any) -> Any:
            looked_at.append(str(path))
            return real(path, *rest, **more)

        monkeypatch.setattr(os, name, look)

    for name in ("stat", "lstat", "scandir", "listdir", "readlink"):
        watch(name)
    program = host.folder / "ffprobe"
    program.write_text(f"#!/bin/sh\ntouch {host.folder}/probed\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{host.folder}:{os.environ['PATH']}")
    uploads = [line("f.####.exr [1-3]"), line("d/a.mov"), line("b.exr", encode=True)]
    uploads.append(line("still.png", reviewable=True))
    assert hook.enqueue(uploads)[0] == 0
    assert [path for path in looked_at if path.startswith(("/mnt", "/nowhere"))] == []
    assert looked_at  # the spool
    code, text = hook.enqueue([line("a.mp4", reviewable=True)])
    assert (code, "nobody looks at the file; give values such as" in text) == (2, True)
    assert not (host.folder / "probed").exists()


def test_no_line_of_a_hook_is_as_long_as_a_job_likes(host: Host) -> None:
    answers = [
        hook.enqueue([line(f"{'x' * 2_000_000}.exr")]),
        hook.enqueue([line()], ["y" * 300_000] * 10),
        hook.refuse([line()], "z" * 2_000_000),
    ]
    assert [len(text) < 5000 for _, text in answers] == [True] * 3
    assert "kept in " in answers[0][1] or "set aside as " in answers[0][1]


def test_no_line_of_a_hook_has_a_character_that_a_terminal_obeys(host: Host) -> None:
    odd = "\x1b[2J\x07\0\x7f\x9b\u202e\udcff\n"
    answers = [
        hook.enqueue([line(f"{odd}.exr")]),
        hook.enqueue([line(name=odd), {odd: odd}, line()]),
        hook.enqueue([], [odd]),
        hook.refuse([line()], odd),
    ]
    host.configure(FARMHAUL_REDIS_URL=f"redis://{odd[0]}")
    answers.append(hook.enqueue([line()]))
    assert [text for _, text in answers if not (text.isascii() and text.isprintable())] == []
    assert "\\x1b[2J\\x07\\x00\\x7f\\x9b\\u202e\\udcff" in answers[2][1]
