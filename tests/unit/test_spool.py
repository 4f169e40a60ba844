"""The spool: files that hooks keep until Redis has them."""

from __future__ import annotations

import errno
import os
import resource
import runpy
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tasks.intake import disk
from tasks.intake.errors import BadInputError
from tasks.intake.flush import BODIES_AT_ONCE, NotNowError, flush
from tasks.intake.spool import IN_FLIGHT_S, MAX_BYTES, Spool
from tasks.transfer import durable
from tests.helpers.pythons import SOURCE
from tests.helpers.skipping import need_root

NOBODY = 65534


class Inbox:
    """Where a flush sends to, and what it says."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.got: list[bytes] = []
        self.parcels: list[int] = []
        self.said: list[tuple[str, str]] = []

    def build(
        self, path: str, content: bytes, written_at: float
    ) -> tuple[list[bytes], int, list[tuple[str, str]]]:
        """Read lines; those with "bad" are refused."""
        lines = content.decode().splitlines()
        bad = [(line, f"{line} is bad") for line in lines if "bad" in line]
        good = [line.encode() for line in lines if "bad" not in line]
        if not good:
            raise BadInputError("all is bad")
        return [b" ".join(good)], len(good), bad

    def push(self, bodies: Sequence[bytes]) -> None:
        self.got += bodies
        self.parcels.append(len(bodies))

    def flush(self, **options: Any) -> int:
        def say(path: str, reason: str) -> None:
            self.said.append((path, reason))

        return flush(self.spool, self.build, self.push, say, **options)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(str(tmp_path / "var" / "spool"))


@pytest.fixture
def inbox(spool: Spool) -> Inbox:
    return Inbox(spool)


def left_behind(path: str) -> str:
    old = time.time() - IN_FLIGHT_S - 1
    os.utime(path, (old, old), follow_symlinks=False)
    return path


def test_a_kept_body_is_private_and_waits_for_its_hook(spool: Spool, inbox: Inbox) -> None:
    path = spool.keep(b"one")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(spool.folder).st_mode) == 0o700
    assert inbox.flush() == 0
    spool.discard([path])
    assert os.listdir(spool.folder) == []


def test_a_settled_body_and_one_left_behind_are_sent(spool: Spool, inbox: Inbox) -> None:
    [settled] = spool.settle([spool.keep(b"one")])
    assert settled.endswith(".json")
    left_behind(spool.keep(b"two"))
    spool.settle([spool.keep_manifest(b"three\nfour\n")])
    left_behind(spool.keep_manifest(b"five"))
    assert inbox.flush() == 5
    assert sorted(inbox.got) == [b"five", b"one", b"three four", b"two"]
    assert inbox.parcels == [4]
    assert inbox.flush() == 0
    assert spool.waiting() == []


def test_what_another_process_has_sent_meanwhile_is_no_error(spool: Spool, inbox: Inbox) -> None:
    """As after a hook was stopped for a minute, or its host was asleep."""
    stopped = left_behind(spool.keep(b"one"))
    assert inbox.flush() == 1

    spool.settle([stopped, spool.keep(b"two")])

    assert inbox.flush() == 1
    assert inbox.got == [b"one", b"two"]
    shutil.rmtree(spool.folder)
    with pytest.raises(FileNotFoundError):
        spool.settle([stopped])


def test_the_oldest_is_sent_first_and_a_limit_is_kept(
    spool: Spool, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        monkeypatch.setattr(time, "time", lambda now=1_790_000_000 + number: now)
        spool.settle([spool.keep(str(number).encode())])
    assert inbox.flush(limit=2) == 2
    assert inbox.got == [b"0", b"1"]
    assert inbox.flush(until=time.monotonic()) == 0
    assert len(spool.waiting()) == 2


def test_many_bodies_are_sent_in_several_commands(spool: Spool, inbox: Inbox) -> None:
    for number in range(BODIES_AT_ONCE + 1):
        spool.settle([spool.keep(str(number).encode())])
    assert inbox.flush() == BODIES_AT_ONCE + 1
    assert inbox.parcels == [BODIES_AT_ONCE, 1]


def test_what_cannot_be_pushed_stays(
    spool: Spool, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.settle([spool.keep(b"one")])

    def refuse(bodies: Sequence[bytes]) -> None:
        raise ConnectionError("Redis is away")

    monkeypatch.setattr(inbox, "push", refuse)
    with pytest.raises(ConnectionError, match="Redis is away"):
        inbox.flush()
    assert len(spool.waiting()) == 1


def test_a_bad_file_is_put_aside_and_said_and_others_go(spool: Spool, inbox: Inbox) -> None:
    spool.settle([spool.keep_manifest(b"bad")])
    spool.settle([spool.keep(b"\xff")])
    spool.settle([spool.keep(b"good")])
    assert inbox.flush() == 1
    assert inbox.got == [b"good"]
    assert len(spool.unreadable()) == 2
    reasons = sorted(reason for _, reason in inbox.said)
    assert reasons[0].startswith("renamed to .bad: UnicodeDecodeError")
    assert reasons[1] == "renamed to .bad: all is bad"
    assert inbox.flush() == 0


def test_a_file_that_cannot_be_sent_here_is_said_and_stays(
    spool: Spool, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.settle([spool.keep(b"one")])

    def refuse(path: str, content: bytes, written_at: float) -> None:
        raise NotNowError("is left")

    monkeypatch.setattr(inbox, "build", refuse)
    assert inbox.flush() == 0
    assert [reason for _, reason in inbox.said] == ["is left"]
    assert (len(spool.waiting()), spool.unreadable()) == (1, [])


def test_one_bad_line_of_a_manifest_does_not_hold_up_the_others(spool: Spool, inbox: Inbox) -> None:
    spool.settle([spool.keep_manifest("one\nbad ü\ntwo".encode())])
    assert inbox.flush() == 2
    assert inbox.got == [b"one two"]
    [bad] = spool.unreadable()
    assert Path(bad).read_text(encoding="utf-8") == "bad ü\n"
    [(_, reason)] = inbox.said
    assert reason == f"put into {bad}: bad ü is bad"


def test_what_is_not_a_file_neither_hangs_nor_blocks(spool: Spool, inbox: Inbox) -> None:
    spool.settle([spool.keep(b"good"), spool.keep_manifest(b"fine")])
    os.mkfifo(f"{spool.folder}/0.json")
    os.mkfifo(left_behind_fifo := f"{spool.folder}/1.json.new")
    left_behind(left_behind_fifo)
    os.mkdir(f"{spool.manifests}/0.jsonl")
    os.symlink("/etc/passwd", f"{spool.folder}/2.json")
    Path(spool.folder, "2.bad").touch()  # the name is taken
    assert inbox.flush() == 2
    assert sorted(inbox.got) == [b"fine", b"good"]
    assert {reason for _, reason in inbox.said} == {"renamed to .bad: it is not a file"}
    assert spool.waiting() == []
    assert len(spool.unreadable()) == 5


def test_a_file_of_another_user_is_not_sent(spool: Spool, inbox: Inbox) -> None:
    need_root("A SPOOL OF ANOTHER USER WAS NOT TESTED")
    [path] = spool.settle([spool.keep(b"forged")])
    os.chown(path, NOBODY, NOBODY)
    assert inbox.flush() == 0
    [(_, reason)] = inbox.said
    assert "it belongs to user 65534" in reason


def test_root_sends_the_spool_of_the_user_it_belongs_to(spool: Spool, inbox: Inbox) -> None:
    need_root("A SPOOL OF ANOTHER USER WAS NOT TESTED")
    [path] = spool.settle([spool.keep(b"asked")])
    os.chown(path, NOBODY, NOBODY)
    os.chown(spool.folder, NOBODY, NOBODY)
    assert inbox.flush() == 1


@pytest.fixture
def passable_spool() -> Iterator[Spool]:
    """A spool to which each user finds the way. Another run of pytest closes tmp_path's parent."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Spool(os.path.join(folder, "spool"))


def test_a_folder_of_another_user_is_neither_used_nor_sent(passable_spool: Spool) -> None:
    need_root("A SPOOL OF ANOTHER USER WAS NOT TESTED")
    spool = passable_spool
    os.makedirs(spool.folder)
    os.chmod(spool.folder, 0o777)
    os.chown(spool.folder, NOBODY - 1, NOBODY - 1)
    code = (
        "import os, sys; from tasks.intake.spool import Spool; os.setuid(65534)\n"
        "try: Spool(sys.argv[1]).keep(b'x')\n"
        "except OSError as error: print(error.strerror)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, spool.folder],
        # Without what measures the coverage: that user may not write its data.
        env={"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "it belongs to user 65533\n", done.stderr


def test_a_spool_that_others_could_read_is_closed_to_them(spool: Spool) -> None:
    os.makedirs(spool.folder)
    os.chmod(spool.folder, 0o755)
    spool.keep(b"x")
    assert stat.S_IMODE(os.stat(spool.folder).st_mode) == 0o700


def test_a_folder_of_other_programs_stays_as_it_is(spool: Spool, inbox: Inbox) -> None:
    folder = Path(spool.folder)
    (folder / "bin").mkdir(parents=True)
    folder.chmod(0o755)
    for name in ("package.json", "lines.jsonl", "old.json.new", "broken.bad"):
        (folder / name).write_text("bad")
        os.utime(folder / name, (0, 0))
    before = sorted(os.listdir(folder))
    spool.settle([spool.keep(b"one")])
    assert inbox.flush() == 1
    assert (inbox.got, inbox.said, spool.unreadable()) == ([b"one"], [], [])
    assert sorted(os.listdir(folder)) == before
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755

    folder.chmod(0o775)
    with pytest.raises(OSError, match="name a folder of its own"):
        spool.keep(b"two")


def test_a_sticky_spool_is_shared_on_purpose(spool: Spool) -> None:
    os.makedirs(spool.folder)
    os.chmod(spool.folder, 0o1777)
    spool.keep(b"x")
    assert stat.S_IMODE(os.stat(spool.folder).st_mode) == 0o1777


def test_in_a_shared_spool_each_user_sends_his_own_and_root_sends_all(
    spool: Spool, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_root("A SPOOL OF ANOTHER USER WAS NOT TESTED")
    for folder in (spool.folder, spool.manifests):
        os.makedirs(folder)
        os.chmod(folder, 0o1777)
    for number, user in enumerate([NOBODY, NOBODY - 1]):
        [path] = spool.settle([spool.keep(b"%d" % number)])
        os.chown(path, user, user)
    with monkeypatch.context() as as_nobody:
        as_nobody.setattr(os, "geteuid", lambda: NOBODY)
        assert inbox.flush() == 1
    assert (inbox.got, inbox.said) == ([b"0"], [])
    assert inbox.flush() == 1
    assert spool.unreadable() == []


@pytest.mark.parametrize("end", ["", "/", "//", "/.", "/./"])
@pytest.mark.parametrize("mode", [0o755, 0o777, 0o1777])
def test_another_users_link_counts_where_only_he_can_make_it(
    tmp_path: Path, mode: int, end: str
) -> None:
    need_root("A LINK OF ANOTHER USER WAS NOT TESTED")
    parent, disk_of_node = tmp_path / "service", tmp_path / "disk"
    parent.mkdir()
    disk_of_node.mkdir()
    disk_of_node.chmod(0o755)
    (parent / "spool").symlink_to(disk_of_node)
    os.chown(parent / "spool", NOBODY, NOBODY, follow_symlinks=False)
    parent.chmod(mode)
    spool = Spool(f"{parent / 'spool'}{end}")

    if mode == 0o755:
        spool.settle([spool.keep(b"one")])
        inbox = Inbox(spool)
        assert inbox.flush() == 1
        assert inbox.got == [b"one"]
    else:
        with pytest.raises(PermissionError, match="it is a link of user 65534"):
            spool.keep(b"one")
    # What a link of another user leads to is not closed to others.
    assert stat.S_IMODE(disk_of_node.stat().st_mode) == 0o755


@pytest.mark.parametrize("folder", ["/", "//", "/.", ".", "./", "a", "a/b"])
def test_a_spool_keeps_its_place_whatever_its_path_ends_in(folder: str) -> None:
    assert os.path.realpath(Spool(folder).folder) == os.path.realpath(folder)
    assert Spool(folder).folder


def test_a_spool_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    spool = Spool(str(tmp_path / "spool"))
    with pytest.raises(NotADirectoryError):
        spool.keep(b"x")
    with pytest.raises(NotADirectoryError):
        spool.waiting()


def test_a_spool_that_is_a_fifo_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "spool")
    spool = Spool(str(tmp_path / "spool"))
    with pytest.raises(NotADirectoryError):
        spool.keep(b"x")
    with pytest.raises(NotADirectoryError):
        Inbox(spool).flush()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_spool_works_where_nothing_can_be_locked_or_synced(
    spool: Spool, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    monkeypatch.setattr("os.fsync", refuse)

    spool.settle([spool.keep(b"one")])

    assert inbox.flush() == 1
    assert inbox.got == [b"one"]


def test_what_macos_does_not_support_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errno, "ENOTSUP", 45)

    assert 45 in runpy.run_path(durable.__file__)["UNSUPPORTED"]


def test_two_processes_do_not_send_the_same_files(spool: Spool, inbox: Inbox) -> None:
    spool.settle([spool.keep(b"one")])
    entered, go_on = threading.Event(), threading.Event()
    slow = Inbox(spool)

    def wait(bodies: Sequence[bytes]) -> None:
        entered.set()
        assert go_on.wait(10)

    slow.push = wait  # type: ignore[method-assign]
    first = threading.Thread(target=slow.flush)
    first.start()
    assert entered.wait(10)
    assert inbox.flush() == 0  # a hook does not wait
    threading.Timer(0.1, go_on.set).start()
    assert inbox.flush(wait_s=10) == 0  # the command does: the file is gone then
    first.join()
    assert inbox.got == []
    assert spool.waiting() == []


def test_a_disk_that_is_full_keeps_no_half_request(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b"x" * 100_000
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            spool.keep(body)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(spool.folder) == []


def test_a_file_of_many_gigabytes_is_put_aside(spool: Spool, inbox: Inbox) -> None:
    [path] = spool.settle([spool.keep(b"")])
    os.truncate(path, MAX_BYTES + 1)
    assert inbox.flush() == 0
    assert "the maximum is" in inbox.said[0][1]


def test_nothing_is_lost_when_a_hook_is_killed_at_once(spool: Spool, inbox: Inbox) -> None:
    code = (
        "import os, sys; from tasks.intake.spool import Spool\n"
        "Spool(sys.argv[1]).keep(b'asked'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, spool.folder])
    assert done.returncode == -signal.SIGKILL
    [name] = os.listdir(spool.folder)
    left_behind(os.path.join(spool.folder, name))
    assert inbox.flush() == 1


def test_a_file_that_a_scanner_holds_open_is_renamed_a_moment_later(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "WINDOWS", True)
    calls: list[str] = []

    def busy(source: str, target: str) -> None:
        calls.append(source)
        if len(calls) < 3:
            raise PermissionError(13, "a scanner reads it")
        os.rename(source, target)

    monkeypatch.setattr(os, "replace", busy)
    [path] = spool.settle([spool.keep(b"x")])
    assert (len(calls), os.path.exists(path)) == (3, True)
