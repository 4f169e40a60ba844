"""Another user of the machine: in the way of a fetch, in a spool, in the comment of a job."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tasks.intake.flush import flush
from tasks.intake.spool import Spool
from tasks.transfer.errors import FatalError
from tasks.transfer.get import get_file
from tasks.transfer.lookup import ComponentFile
from tasks.transfer.part_file import SILENT_S, BeingFetchedError, locked_part
from tasks.transfer.put import store_session
from tasks.transfer.targets import derived_id
from tests.helpers.skipping import skip_loudly
from tests.sandbox.process import CHECKOUT
from tests.unit.odd_server import OddServer, http

ID = derived_id("component")
CONTENT = b"what was fetched"


@pytest.fixture
def store() -> Iterator[OddServer]:
    with OddServer() as server:
        server.answers = [http(body=CONTENT, headers={"ETag": '"of-this-file"'})]
        yield server


def fetch(folder: Path, store: OddServer) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with store_session(1) as session:
            get_file(ComponentFile(ID, "f.exr"), opened, lambda _: f"{store.url}/key", session)
    finally:
        os.close(opened)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        folder = os.open(path.parent, os.O_RDONLY)
        try:  # the path of a socket may have 107 bytes
            one.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)


@pytest.mark.timeout(30)  # a FIFO that is opened to read it hangs
@pytest.mark.parametrize("name", [f".{ID}.part", f".{ID}.etag", "f.exr"])
@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        os.mkdir,
        make_socket,
        lambda path: os.symlink(path.parent.parent / "victim", path),
        lambda path: os.symlink("/dev/zero", path),
        # Where fs.protected_hardlinks is off, also to a file of the user who fetches.
        lambda path: os.link(path.parent.parent / "victim", path),
    ],
    ids=["fifo", "folder", "socket", "symlink", "device", "hard link"],
)
def test_a_fetch_neither_follows_nor_waits_on_what_lies_in_its_way(
    name: str, make: Callable[[Path], None], store: OddServer, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"a file of somebody else")
    folder = tmp_path / "into"
    folder.mkdir()
    make(folder / name)

    with suppress(FatalError):  # a folder of that name cannot be replaced
        fetch(folder, store)
        assert (folder / "f.exr").read_bytes() == CONTENT
        assert not (folder / "f.exr").is_symlink()
    assert victim.read_bytes() == b"a file of somebody else"


def test_a_spool_as_documented_is_closed_to_others(tmp_path: Path) -> None:
    page = (CHECKOUT / "deploy/farm/README.md").read_text(encoding="utf-8")
    modes = re.findall(r"install -d (?:-m (\d+))? ?.*?/var/spool/farmhaul", page)
    # A shared one is sticky: each user has files of his own, which nobody else reads.
    assert modes == ["700", "1777"]

    for mode in (0o755, 0o777, 0o750):
        folder = tmp_path / f"spool{mode}"
        folder.mkdir(mode)
        folder.chmod(mode)
        kept = Spool(str(folder)).keep(b"{}")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(os.stat(kept).st_mode) == 0o600


@pytest.mark.parametrize(
    "comment",
    [
        r"Farmhaul \n2026-11-25 forged line\c",
        "Farmhaul \x1b[2Jforged\nline",
        'farmhaul {"path": "/mnt/%99999999a.exr"}',
        "farmhaul $(touch victim) `touch victim` ; touch victim",
        "farmhaul %s%n%99a%99a",
        "Farmhaul \x9b2J \u202egnp \u2028 \u200b \ufeff",
    ],
)
@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_jobs_comment_is_one_line_of_the_controllers_log(
    comment: str, shell: str, tmp_path: Path
) -> None:
    log = tmp_path / "farmhaul.log"
    text = (CHECKOUT / "deploy/farm/slurm/slurmctld-hook.sh").read_text(encoding="utf-8")
    hook = tmp_path / "hook.sh"
    hook.write_text(
        re.sub(r"(?m)^LOG=.*", f"LOG={log}", re.sub(r"(?m)^HOOK=.*", "HOOK=/nonexistent", text))
    )
    env = {"SLURM_JOB_ID": "7", "SLURM_JOB_COMMENT": comment, "SLURM_JOB_EXIT_CODE2": "0:0"}
    for task in ({}, {"SLURM_ARRAY_TASK_ID": "3"}):
        run = subprocess.run(
            [shell, hook], env={**env, **task}, cwd=tmp_path, capture_output=True, timeout=30
        )
        assert run.returncode == 0
        assert run.stderr == b""

    lines = log.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert all(re.match(r"\d{4}-\d\d-\d\dT\S+ job 7: ", line) for line in lines)
    assert all(line.isprintable() for line in lines)
    assert not (tmp_path / "victim").exists()


@pytest.mark.timeout(60)  # it took minutes, while Slurm's controller waited
def test_a_jobs_comment_keeps_no_controller_busy(tmp_path: Path) -> None:
    log = tmp_path / "farmhaul.log"
    text = (CHECKOUT / "deploy/farm/slurm/slurmctld-hook.sh").read_text(encoding="utf-8")
    for name, value in {"LOG": log, "HOOK": "/nonexistent"}.items():
        text = re.sub(rf"(?m)^{name}=.*", f"{name}={value}", text)
    comment = "farmhaul " + "%99a" * 30_000  # Linux gives a variable no more than 128 kB
    env = {"SLURM_JOB_ID": "7", "SLURM_JOB_COMMENT": comment, "SLURM_ARRAY_TASK_ID": "3"}
    with subprocess.Popen(["dash", "-c", text], env=env, start_new_session=True) as run:
        try:
            assert run.wait(30) == 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
    assert len(log.read_bytes().splitlines()) == 1
    assert log.stat().st_size < 20_000


@pytest.mark.parametrize("squat", [None, os.mkfifo, os.mkdir, lambda path: path.symlink_to("/")])
def test_nobody_holds_up_a_shared_spool_by_its_lock(
    squat: Callable[[Path], None] | None, tmp_path: Path
) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    folder.chmod(0o1777)
    spool = Spool(str(folder))
    spool.settle([spool.keep(b"{}")])
    held = os.open(folder, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)  # as each user may whom the folder is shared with
    if squat:
        squat(folder / f".lock-{os.geteuid()}")
    sent: list[bytes] = []

    def build(_path: str, content: bytes, _at: float) -> tuple[list[bytes], int, list[Any]]:
        return [content], 1, []

    try:
        assert flush(spool, build, sent.extend, print) == 1
        assert sent == [b"{}"]
    finally:
        os.close(held)


#: Sends a spool as another user, once all is imported that this one cannot read.
SEND = """
import fcntl, os, sys
from tasks.intake.flush import flush
from tasks.intake.spool import Spool
os.setuid(65534)
spool = Spool(sys.argv[1])
spool.settle([spool.keep(b"ours"), spool.keep_manifest(b"too")])
sent = []
flush(spool, lambda path, content, at: ([content], 1, []), sent.extend, print)
print(*sent, *spool.unreadable())
"""


def make_folder(path: Path, _victim: Path) -> None:
    path.mkdir(0o700)


def make_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


@pytest.mark.parametrize(
    ("squat", "user"),
    [
        (make_folder, 65533),
        (make_link, 65533),
        (make_folder, 0),
        (make_link, 0),
        (make_link, 65534),
    ],
    ids=["folder", "link", "root's folder", "root's link", "own link"],
)
def test_nobody_holds_up_a_shared_spool_by_its_manifests(
    squat: Callable[[Path, Path], None], user: int
) -> None:
    if os.geteuid():
        skip_loudly("A FOLDER OF ANOTHER USER WAS NOT TESTED", "only root can make one")
    with tempfile.TemporaryDirectory() as text:  # others may not enter pytest's folders
        folder = Path(text)
        folder.chmod(0o755)
        spool, victim = folder / "spool", folder / "victim"
        spool.mkdir()
        victim.mkdir()
        spool.chmod(0o1777)
        precious = victim / "precious.jsonl"
        precious.write_text("no manifest")
        for ours in (victim, precious):
            os.chown(ours, 65534, 65534)
        mode = stat.S_IMODE(victim.stat().st_mode)
        squat(spool / "manifests", victim)
        os.chown(spool / "manifests", user, user, follow_symlinks=False)

        run = subprocess.run(
            [sys.executable, "-c", SEND, spool],
            # Without what measures the coverage: that user may not write its data.
            env={"PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
        )

        assert (run.stdout, run.stderr) == ("b'ours' b'too'\n", "")
        assert [*victim.iterdir()] == [precious]
        assert stat.S_IMODE(victim.stat().st_mode) == mode


@pytest.mark.timeout(30)
@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_no_fetch_waits_for_a_part_of_another_user(
    mode: int, store: OddServer, tmp_path: Path
) -> None:
    if os.geteuid():
        skip_loudly("A PART OF ANOTHER USER WAS NOT TESTED", "only root can make one")
    part = tmp_path / f".{ID}.part"
    part.touch()
    part.chmod(mode)
    os.chown(part, 65534, 65534)
    with part.open("r+b") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        fetch(tmp_path, store)
        theirs.write(b"other bytes")
    assert (tmp_path / "f.exr").read_bytes() == CONTENT


@pytest.mark.timeout(30)
def test_no_fetch_waits_for_whoever_may_read_its_part_and_locks_it(
    store: OddServer, tmp_path: Path
) -> None:
    part = tmp_path / f".{ID}.part"
    part.write_bytes(b"what a fetch has left that was interrupted")
    with part.open("rb") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        with pytest.raises(BeingFetchedError):  # by somebody, as far as one can know
            fetch(tmp_path, store)

        os.utime(part, (time.time() - SILENT_S - 1,) * 2)
        fetch(tmp_path, store)
    assert (tmp_path / "f.exr").read_bytes() == CONTENT
    # One that is fetched from now on says so.
    os.utime(part, (1, 1))
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with locked_part(folder, ID), pytest.raises(BeingFetchedError):
            fetch(tmp_path, store)
    finally:
        os.close(folder)
