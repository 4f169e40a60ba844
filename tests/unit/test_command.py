"""enqueue and flush-spool, from their arguments to the entries in the inbox and on disk."""

from __future__ import annotations

import _thread
import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tasks.config.hook_key import derive_hook_key, hook_key_text
from tasks.intake import command, deliver, disk
from tasks.intake.bodies import make_bodies
from tasks.intake.envelope import Envelope, open_entry
from tasks.intake.from_wire import from_wire
from tasks.intake.inbox import INBOX, InboxError
from tasks.intake.request import PublishRequest
from tasks.transfer import hanging
from tests.farm import wait_until
from tests.helpers.imports import loaded_by
from tests.sandbox.process import CHECKOUT, NO_REDIS
from tests.sandbox.redis_server import RedisServer

COMPONENT = "2c5e8f9a-1b34-4d6e-8f70-a1b2c3d4e5f6"
VERSION = "9f1d2c3b-0000-4000-8000-000000000001"
SECRET_KEY = "m1zHLZqkDnWsDq8kFYsRNPYbqBoH2PV2vPcnvYUbEOU="


class Host:
    """A host whose hooks run farmhaul, and what they send and say."""

    def __init__(self, root: Path, server: RedisServer, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.spool = root.parent / "spool"
        self.client = server.client()
        self.capsys = capsys

    def file(self, name: str = "a.exr", content: bytes = b"pixels") -> str:
        (self.root / name).write_bytes(content)
        return str(self.root / name)

    def run(self, *arguments: str, wait: Any = None) -> tuple[int, list[dict[str, Any]], str]:
        """Return the exit code, the answers, and what is on stderr."""
        code = command.main(arguments, wait)
        out, err = self.capsys.readouterr()
        return code, [json.loads(line) for line in out.splitlines() if line[:1] == "{"], err

    def enqueue(self, *arguments: str, wait: Any = None) -> tuple[int, list[dict[str, Any]], str]:
        return self.run("enqueue", *arguments, wait=wait)

    def sent(self, keys: Sequence[bytes] = ()) -> list[Envelope]:
        """Return what is in the inbox, oldest first."""
        entries = self.client.lrange(INBOX, 0, -1)[::-1]
        return [open_entry(str(entry).encode(), keys) for entry in entries]

    @property
    def kept(self) -> list[str]:
        return sorted(path.suffix for path in self.spool.iterdir()) if self.spool.exists() else []


@pytest.fixture
def host(
    root: Path,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Host:
    for name in [name for name in os.environ if name.startswith(("FARMHAUL_", "FTRACK_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FARMHAUL_REDIS_URL", redis_server.url)
    monkeypatch.setenv("FARMHAUL_STORAGE_ROOTS", str(root))
    return Host(root, redis_server, capsys)


@pytest.fixture
def spool(host: Host, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FARMHAUL_SPOOL", str(host.spool))
    return host.spool


@pytest.fixture
def away(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARMHAUL_REDIS_URL", NO_REDIS)


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Return what Redis would get: the arguments of each push."""
    calls: list[tuple[Any, ...]] = []

    def push(*arguments: Any) -> list[str | None]:
        calls.append(arguments)
        return [None] * len(arguments[2])

    monkeypatch.setattr(deliver, "push", push)
    return calls


# The inbox


def test_a_file_becomes_an_entry_of_the_inbox(host: Host) -> None:
    path = host.file()

    code, [answer], said = host.enqueue(path, "--component-id", COMPONENT)

    [envelope] = host.sent()
    request = from_wire(envelope.requests[0])
    assert (code, said, answer["state"]) == (0, "", "queued")
    assert answer["upload_id"] == request.upload_id
    assert (request.path, request.size_bytes) == (path, 6)
    assert envelope.host == deliver.host_name()


def test_a_host_with_a_key_signs(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARMHAUL_SECRET_KEY", SECRET_KEY)

    assert host.enqueue(host.file(), "--component-id", COMPONENT)[0] == 0

    [envelope] = host.sent([derive_hook_key(SECRET_KEY)])
    assert len(envelope.requests) == 1


def test_a_long_manifest_is_pushed_as_entries_of_bounded_size(host: Host) -> None:
    path = host.file()
    lines = [{"path": path, "version_id": VERSION, "name": f"n{n}"} for n in range(1_201)]
    manifest = host.root / "list.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))

    code, answers, _ = host.enqueue("--manifest", str(manifest))

    assert (code, len(answers)) == (0, 1_201)
    assert [len(envelope.requests) for envelope in host.sent()] == [500, 500, 201]
    ids = [from_wire(row).upload_id for one in host.sent() for row in one.requests]
    assert ids == [answer["upload_id"] for answer in answers]


def test_the_options_reach_the_request(host: Host) -> None:
    code, _, _ = host.enqueue(
        host.file("a.png", b""), "--version-id", VERSION, "--name", "-left", "--thumbnail",
        "--task-id", COMPONENT, "--encode", "--metadata", "a=b=c", "--metadata", "d=",
        "--priority", "urgent", "--node-local", "--allow-empty",
    )  # fmt: skip

    assert code == 0
    request = from_wire(host.sent()[0].requests[0])
    assert not isinstance(request, PublishRequest)
    assert request.target.name == "-left"
    assert request.target.thumbnail
    assert request.target.encode
    assert request.target.task_id == COMPONENT
    assert request.target.metadata == (("a", "b=c"), ("d", ""))
    assert (request.priority, request.allow_empty) == ("urgent", True)
    assert request.host == deliver.host_name()


def test_the_state_of_a_known_upload_is_told(host: Host) -> None:
    path = host.file()
    _, [first], _ = host.enqueue(path, "--component-id", COMPONENT)
    key = f"farmhaul:upload:{first['upload_id']}"
    states = []
    for state in ("located", "active", "failed", "cancelled", "superseded"):
        host.client.hset(key, "state", state)
        states.append(host.enqueue(path, "--component-id", COMPONENT)[1][0]["state"])

    # The last three start again, and ftrack is asked whether it still has the first one.
    assert states == ["queued", "active", "queued", "queued", "queued"]


def test_a_manifest_of_windows_is_read_from_stdin(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = json.dumps({"path": host.file(), "component_id": COMPONENT})
    content = io.BytesIO(b"\xff\xfe" + f"{line}\r\n".encode("utf-16-le"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content))

    assert host.enqueue("--manifest", "-")[0] == 0
    assert len(host.sent()) == 1


def test_a_manifest_from_a_closed_stdin_is_refused(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    code, answers, line = host.enqueue("--manifest", "-")
    assert (code, answers) == (2, [])
    assert "cannot read the manifest -: stdin is closed" in line


def test_time_spent_on_the_requests_is_not_taken_from_redis(
    host: Host, pushed: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "TOTAL_S", 2.0)

    def slowly(*arguments: Any) -> list[bytes]:
        time.sleep(1.5)
        return make_bodies(*arguments)

    monkeypatch.setattr(deliver, "make_bodies", slowly)

    assert host.enqueue(host.file(), "--component-id", COMPONENT)[0] == 0
    assert pushed[0][3] > 0.6


def test_a_hook_that_may_not_read_does_not_ask_for_records(
    host: Host, pushed: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = host.file()
    host.enqueue(path, "--component-id", COMPONENT)
    monkeypatch.setenv("FARMHAUL_HOOK_KEY", hook_key_text(derive_hook_key(SECRET_KEY)))
    host.enqueue(path, "--component-id", COMPONENT)

    assert [len(ids) for _, _, ids, _ in pushed] == [1, 0]


@pytest.mark.slow
def test_a_large_request_has_more_time(host: Host, pushed: list[tuple[Any, ...]]) -> None:
    sequence = f"{host.root}/f.%08d.exr [1-200000x2]"

    assert host.enqueue(sequence, "--no-stat", "--version-id", VERSION)[0] == 0

    [(_, [entry], _, timeout_s)] = pushed
    assert len(entry) > 800_000
    assert deliver.TOTAL_S + 0.5 < timeout_s < deliver.TOTAL_S + 2


# Redis is away


@pytest.mark.usefixtures("away")
def test_without_redis_a_request_is_spooled(host: Host) -> None:
    code, [answer], said = host.enqueue(host.file(), "--component-id", COMPONENT)

    assert (code, answer["state"]) == (0, "spooled")
    assert said.startswith("farmhaul: Redis is not reachable (")
    assert f"kept in {host.spool} until the next enqueue, flush-spool or a worker" in said
    assert said.count("\n") == 1
    assert host.kept == [".json"]


def test_the_next_hook_sends_what_was_spooled(
    host: Host, away: None, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, [spooled], _ = host.enqueue(host.file("a.exr"), "--component-id", COMPONENT)
    monkeypatch.setenv("FARMHAUL_REDIS_URL", redis_server.url)

    code, [queued], said = host.enqueue(host.file("b.exr"), "--version-id", VERSION)

    assert (code, said, host.kept) == (0, "", [])
    ids = [from_wire(one.requests[0]).upload_id for one in host.sent()]
    assert ids == [queued["upload_id"], spooled["upload_id"]]
    older, newer = host.sent()[1].asked_at, host.sent()[0].asked_at
    assert older < newer


def test_flush_spool_sends_and_counts(
    host: Host, away: None, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.exr", "b.exr"):
        host.enqueue(host.file(name), "--version-id", VERSION)
    assert host.run("flush-spool")[0] == 3
    monkeypatch.setenv("FARMHAUL_REDIS_URL", redis_server.url)

    counts = []
    for _ in range(2):
        assert command.main(["flush-spool"]) == 0
        counts.append(host.capsys.readouterr().out.split(" ")[:2])

    assert counts == [["2", "uploads"], ["0", "uploads"]]
    assert len(host.sent()) == 2
    for options in (["--json"], ["--format", "json"]):
        assert command.main(["flush-spool", *options]) == 0
        assert json.loads(host.capsys.readouterr().out) == {"uploads": 0}
    assert command.main(["flush-spool", "--format", "yaml"]) == 2
    assert "'yaml' is unknown; write table, lines, json" in host.capsys.readouterr().err


def test_without_a_spool_nothing_is_queued_and_the_code_is_3(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARMHAUL_REDIS_URL", NO_REDIS)

    code, answers, said = host.enqueue(host.file(), "--component-id", COMPONENT)

    assert (code, answers) == (3, [])
    assert said.startswith("farmhaul: Redis is not reachable (")
    assert said.count("\n") == 1


@pytest.mark.usefixtures("away")
def test_a_spool_that_is_no_folder_is_said_with_the_outage(host: Host) -> None:
    host.spool.touch()

    code, answers, said = host.enqueue(host.file(), "--component-id", COMPONENT)

    assert (code, answers) == (3, [])
    assert "Redis is not reachable" in said
    assert f"FARMHAUL_SPOOL cannot be written either: Not a directory in {host.spool}" in said


@pytest.mark.usefixtures("spool")
def test_a_spool_that_cannot_be_written_hinders_nothing(host: Host) -> None:
    host.spool.touch()

    assert host.enqueue(host.file(), "--component-id", COMPONENT)[0] == 0
    assert len(host.sent()) == 1


@pytest.mark.usefixtures("spool")
def test_what_is_sent_does_not_stay_in_a_spool_that_fills(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = disk.write_new
    monkeypatch.setattr(deliver, "make_bodies", lambda *given: make_bodies(*given) * 2)

    def fills(folder: str, *given: Any) -> str:
        if os.listdir(folder):
            raise OSError(errno.ENOSPC, "No space left on device")
        return really(folder, *given)

    monkeypatch.setattr(disk, "write_new", fills)

    assert host.enqueue(host.file(), "--component-id", COMPONENT)[0] == 0
    assert (len(host.sent()), host.kept) == (2, [])


@pytest.mark.usefixtures("spool")
def test_a_killed_hook_has_its_request_on_disk(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise SystemError

    monkeypatch.setattr(deliver, "push", killed)
    with pytest.raises(SystemError):
        host.enqueue(host.file(), "--component-id", COMPONENT)

    assert host.kept == [".new"]


@pytest.mark.usefixtures("spool")
def test_a_push_that_is_not_answered_keeps_the_request(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "push", lambda *_: (_ for _ in ()).throw(InboxError("lost")))

    code, [answer], _ = host.enqueue(host.file(), "--component-id", COMPONENT)

    assert (code, answer["state"], host.kept) == (0, "spooled", [".json"])


@pytest.mark.usefixtures("spool")
def test_a_file_of_the_spool_that_cannot_be_read_is_said_once(host: Host) -> None:
    host.spool.mkdir(mode=0o700)
    (host.spool / "1.json").write_text("{}")

    said = [host.enqueue(host.file(), "--component-id", COMPONENT)[2] for _ in range(2)]

    assert said[0].startswith(f"farmhaul: {host.spool}/1.json renamed to .bad: ")
    assert said[1] == ""
    assert len(host.sent()) == 2


# What users get wrong


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fps"], "--fps requires an argument: --fps FPS"),
        (["a", "--thumb"], "no such option: --thumb; did you mean --thumbnail?"),
        ([], "name a file to upload, or use --manifest"),
        (["a", "--timeout", "5"], "--timeout needs --wait"),
        (["a", "--timeout", "nan", "--wait"], "--timeout 'nan' is not a number of seconds"),
        (["a", "--priority", "asap"], "--priority 'asap' is not one of urgent, normal, low"),
        (["a", "--manifest", "-"], "--manifest cannot be combined"),
        (["--manifest", "/missing"], "cannot read the manifest /missing: No such file"),
        (["a", "b", "--name", "n"], "--name n is for one file, but 2 are given"),
        (["a", "--metadata", "key"], "--metadata 'key' is not KEY=VALUE"),
        (
            ["a", "--metadata", "a=1", "--metadata", "b=1", "--metadata", "a=2"],
            "--metadata 'a' is given twice; write each key once",
        ),
        (["a"], "has no target"),
    ],
)
def test_bad_input_is_one_line_and_code_2(host: Host, arguments: list[str], said: str) -> None:
    code, answers, err = host.enqueue(*arguments)

    assert (code, answers) == (2, [])
    line, *hint = err.splitlines()
    assert line.startswith("farmhaul: ")
    assert said in line
    assert hint in ([], ["farmhaul: Try 'farmhaul enqueue --help' for help."])
    assert host.sent() == []


def test_bad_settings_are_a_line_each_and_code_2(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARMHAUL_REDIS_URL", "http://:hunter2@redis")
    monkeypatch.setenv("FARMHAUL_SPOOL", "spool")

    code, _, said = host.enqueue(host.file(), "--component-id", COMPONENT)

    assert (code, said.count("\nfarmhaul: ")) == (2, 1)
    assert "hunter2" not in said


def test_a_folder_that_is_gone_is_no_traceback(host: Host, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["/bin/sh", "-c", 'cd "$1" && rmdir "$1" && shift && exec "$@"', "sh", gone,
         sys.executable, "-m", "workers.cli", "enqueue", "a.exr", "--component-id", COMPONENT],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
    )  # fmt: skip

    assert done.returncode == 2
    assert done.stderr.startswith("farmhaul: ")
    assert done.stderr.count("\n") == 1


# --wait


def test_wait_gets_the_entries_and_its_results_are_printed(host: Host) -> None:
    asked: list[Any] = []

    def wait(*arguments: Any) -> list[tuple[str, str]]:
        asked.append(arguments)
        return [("located", ""), ("failed", "failed: why")]

    paths = [host.file("a.exr"), host.file("b.exr")]
    code, answers, said = host.enqueue(
        *paths, "--version-id", VERSION, "--wait", "--timeout", "7.5", wait=lambda: wait
    )

    [(ids, entries, timeout_s)] = asked
    assert code == 4
    assert [answer["state"] for answer in answers] == ["located", "failed"]
    assert ids == [answer["upload_id"] for answer in answers]
    assert [str(entry) for entry in host.client.lrange(INBOX, 0, -1)] == [
        entry.decode() for entry in entries
    ]
    assert timeout_s == 7.5
    assert said == f"farmhaul: {paths[1]}: failed: why\n"


@pytest.mark.usefixtures("away")
def test_there_is_nothing_to_wait_for_if_it_is_spooled(host: Host) -> None:
    path = host.file()
    code, [answer], _ = host.enqueue(path, "--component-id", COMPONENT, "--wait", wait=lambda: None)

    assert (code, answer["state"]) == (4, "spooled")


def test_wait_needs_an_installed_farmhaul(host: Host) -> None:
    code, _, said = host.enqueue(host.file(), "--component-id", COMPONENT, "--wait")

    assert code == 2
    assert "--wait needs an installed farmhaul" in said
    assert host.sent() == []


# The output


def test_a_full_disk_behind_stdout_is_said_and_the_upload_queued(host: Host) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "workers.cli", "enqueue", host.file(),
             "--component-id", COMPONENT],
            cwd=CHECKOUT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    assert done.returncode == 0
    assert done.stderr == (
        "farmhaul: stdout cannot be written: No space left on device; nothing else went wrong\n"
    )
    assert len(host.sent()) == 1


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
def test_a_reader_that_has_gone_is_no_error(host: Host, closed: bool) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$@" {">&-" if closed else ""}', "sh", sys.executable, "-m",
         "workers.cli", "enqueue", host.file(), "--component-id", COMPONENT],
        cwd=CHECKOUT,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        restore_signals=False,
        preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN),
    )  # fmt: skip
    os.close(writer)

    assert (done.returncode, done.stderr) == (0, "")
    assert len(host.sent()) == 1


# A cold start


@pytest.mark.parametrize("case", ["no spool", "a spool", "a spool and no Redis"])
def test_a_hook_starts_with_few_modules(
    host: Host, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "a spool" in case:
        monkeypatch.setenv("FARMHAUL_SPOOL", str(host.spool))
    if "no Redis" in case:
        monkeypatch.setenv("FARMHAUL_REDIS_URL", NO_REDIS)
    monkeypatch.setenv("FARMHAUL_SECRET_KEY", SECRET_KEY)
    path = host.file()
    loaded = loaded_by(
        "from workers.cli import main\n"
        f"try: main(['enqueue', {path!r}, '--component-id', {COMPONENT!r}])\n"
        "except SystemExit as end: assert not end.code"
    )

    heavy = {
        "argparse", "click", "celery", "collections", "contextlib", "dataclasses", "enum",
        "functools", "hashlib", "hmac", "importlib.util", "inspect", "json", "logging", "pathlib",
        "re", "redis", "socket", "ssl", "subprocess", "tempfile", "threading", "typing", "urllib",
        "uuid",
    }  # fmt: skip
    before = loaded_by("pass")
    assert (loaded - before) & heavy == set()
    assert len(host.client.lrange(INBOX, 0, -1)) + len(host.kept) == 1


@pytest.mark.usefixtures("host")
def test_a_retry_that_wakes_nobody_loads_no_celery() -> None:
    loaded = loaded_by("from workers.cli.group import main; assert not main(['retry', '--failed'])")

    assert loaded & {"celery", "kombu", "redis"} == {"redis"}


def test_a_person_is_told_what_no_stat_cannot_know(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = host.file()
    arguments = (path, "--version-id", VERSION, "--no-stat")
    _, [answer], said = host.enqueue(*arguments)
    assert (answer["size"], said) == (None, "")

    for form in ("table", "lines"):
        assert "even if it was cut off" in host.run("enqueue", *arguments, "--format", form)[2]
    assert host.enqueue(*arguments, "--format=json")[2] == ""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_manifest_is_read_as_any_program_writes_it(host: Host, encoding: str, end: str) -> None:
    path = host.file("größe 映.exr")
    line = json.dumps({"path": path, "version_id": VERSION}, ensure_ascii=False)
    manifest = host.root / "list.jsonl"
    manifest.write_bytes(f"{line}{end}{end}".encode(encoding))

    code, [answer], _ = host.enqueue("--manifest", str(manifest))

    assert (code, answer["path"]) == (0, path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{}\r\n{{"path": "ä'.encode("cp1252"), "manifest line 2: byte 11 is not UTF-8 text"),
        ('{"path": "a"}'.encode("utf-16-le"), "list.jsonl: it has zero bytes, as UTF-16 without"),
        (
            b"\xff\xfe{",
            "list.jsonl: it is not UTF-16 text, as its first bytes say; save",
        ),
    ],
)
def test_a_manifest_that_is_no_text_is_refused_by_its_place(
    host: Host, content: bytes, said: str
) -> None:
    path = json.dumps({"path": host.file(), "version_id": VERSION}).encode()
    manifest = host.root / "list.jsonl"
    manifest.write_bytes(content.replace(b"{}", path).replace(b"{{", b"{"))

    code, answers, line = host.enqueue("--manifest", str(manifest))

    assert (code, answers) == (2, [])
    assert said in line
    assert line.count("\n") == 1


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of files whose stat does not return before the test has ended."""
    ended, really = threading.Event(), os.stat

    def stat(path: Any, *args: Any, **options: Any) -> os.stat_result:
        if "hung" in str(path):
            ended.wait(30)
        return really(path, *args, **options)

    monkeypatch.setattr(hanging, "POLL_S", 0.02)
    monkeypatch.setattr(hanging, "HUNG_S", 0.3)
    monkeypatch.setattr(os, "stat", stat)
    others = _thread._count()
    yield "hung.exr"
    ended.set()
    # One that was left behind would note in the next test what it looks at.
    wait_until(lambda: _thread._count() <= others)


@pytest.mark.parametrize("words", [["enqueue"], ["enqueue", "--dry-run"]])
def test_a_file_system_that_does_not_answer_is_named(
    host: Host, hung: str, words: list[str]
) -> None:
    paths = [host.file(), host.file(hung)]

    code, answers, said = host.run(*words, *paths, "--version-id", VERSION)

    assert (code, answers, host.sent()) == (2, [], [])
    assert f"{paths[1]}: the file system does not answer here" in said
    assert "--no-stat" in said
    assert host.run(*words, *paths, "--version-id", VERSION, "--no-stat")[0] == 0


def test_many_slow_looks_at_files_are_not_one_that_hangs(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hanging, "POLL_S", 0.02)
    monkeypatch.setattr(hanging, "HUNG_S", 1.0)
    really = hanging.looking_at

    def slowly(path: str) -> None:
        time.sleep(0.15)
        really(path)

    monkeypatch.setattr("tasks.intake.build.looking_at", slowly)
    paths = [host.file(f"{letter}.exr") for letter in "abcdefgh"]

    assert host.enqueue(*paths, "--version-id", VERSION)[0] == 0


def test_wrong_settings_queue_and_keep_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unlike farmhaul-hook.pyz: whoever installs farmhaul sees the exit code."""
    monkeypatch.setenv("FARMHAUL_SPOOL", str(host.spool))
    monkeypatch.setenv("FARMHAUL_REDIS_URI", "s3cr3t")
    monkeypatch.setenv("FARMHAUL_PATH_MAP", "P:")

    code, answers, said = host.enqueue(host.file(), "--version-id", VERSION)

    assert (code, answers, host.kept, host.sent()) == (2, [], [], [])
    assert [line.split()[1] for line in said.splitlines()] == [
        "FARMHAUL_PATH_MAP:",
        "FARMHAUL_REDIS_URI",
    ]
    assert "s3cr3t" not in said
