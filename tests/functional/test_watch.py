"""``farmhaul watch``: uploads as they go on, on a terminal and in a pipe."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.farm import BIN, Farm, heed_sigint, wait_until
from tests.helpers.imports import loaded_by
from tests.helpers.redis_traffic import commands_done

COLUMNS, LINES = 80, 24
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Screen:
    """The command on a terminal of 80 columns and 24 lines."""

    def __init__(self, farm: Farm, *arguments: str, **env: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        environment = {**farm.environment(), "TERM": "xterm-256color", **env}
        environment.pop("COLUMNS", None)
        self.process = subprocess.Popen(
            [BIN / "farmhaul", "watch", *arguments],
            env=environment, stdin=slave, stdout=slave, stderr=slave, preexec_fn=heed_sigint,
        )  # fmt: skip
        os.close(slave)
        self.raw = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while block := os.read(self._master, 65536):
                self.raw += block
        except OSError:  # how Linux says that the other end is closed
            pass

    @property
    def text(self) -> str:
        # Each look begins at home, without the end of a line.
        shown = self.raw.decode(errors="replace").replace("\x1b[H", "\n").replace("\r", "")
        return CONTROLS.sub("", shown.replace("\x1b[?1049l", "\n"))

    @property
    def last(self) -> str:
        """The last look that was shown."""
        return self.text[self.text.rfind("state      file") :]

    def wait(self) -> int:
        code = self.process.wait(60)
        self._reader.join(10)
        os.close(self._master)
        return code

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.wait()


@contextmanager
def piped(farm: Farm, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [BIN / "farmhaul", "watch", *arguments],
        env=farm.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=heed_sigint,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def backlog(farm: Farm, count: int) -> None:
    pipeline = farm.redis.pipeline(transaction=False)
    for number in range(count):
        state = "active" if number % 2 else "pending"
        fields = {"state": state, "stage": 3, "size": 4000, "sent": 1000, "worker": "w1@node7"}
        pipeline.hset(f"farmhaul:upload:u{number}", mapping=fields)
        pipeline.zadd(f"farmhaul:state:{state}", {f"u{number}": number})
    pipeline.execute()


def test_the_table_shows_what_is_under_way_within_80_columns(hook: Farm) -> None:
    first = hook.upload().id
    hook.redis.hset(f"farmhaul:upload:{first}", mapping={"worker": "w1@node7.farm.example.com"})
    deep = hook.make_file("sh010_beauty_\N{CJK UNIFIED IDEOGRAPH-4E00}_v003.1001.exr", 10, "a" * 90)
    [upload] = hook.enqueue(deep, "--component-id", hook.sandbox.ftrack.add_component("x"))
    waiting = str(upload["upload_id"])
    hook.redis.hset(
        f"farmhaul:upload:{waiting}",
        mapping={
            "state": "retrying", "due": 1795531208, "error": "\x1b[2Jthe store is away",
            "tries:StoreAwayError": 2,
        },
    )  # fmt: skip
    hook.redis.zrem("farmhaul:state:pending", waiting)
    hook.redis.zadd("farmhaul:state:retrying", {waiting: 1})
    hook.redis.hset("farmhaul:gate:store", mapping={"until": 2, "since": 1795531208})
    backlog(hook, 6)
    screen = Screen(hook)
    wait_until(lambda: "gate closed" in screen.last, describe=lambda: screen.text)
    shown = screen.last

    assert screen.interrupt() == 130
    assert "put        " in shown
    assert "━━╌╌╌╌╌╌╌╌" in shown or "━━━" in shown
    assert "node7" in shown
    assert "try 3: ?[2Jth" in shown
    assert "…" in shown
    assert "_v003.1001.exr" in shown
    assert "4 pending, 3 active, 1 retrying" in shown
    assert "0 workers  gate closed: store since" in shown
    assert all(len(line.rstrip()) <= COLUMNS for line in screen.text.splitlines()), screen.text
    assert b"\x1b[?25h" in screen.raw  # the cursor is back


def test_no_color_is_heeded(hook: Farm) -> None:
    one = hook.upload().id
    hook.cli("cancel", one)
    hook.redis.hset(f"farmhaul:upload:{one}", "state", "failed")
    colour = re.compile(rb"\x1b\[(?:[0-9;]*;)?[349][0-7](?:;[0-9;]*)?m")

    plain, coloured = Screen(hook, one, NO_COLOR="1"), Screen(hook, one)

    assert (plain.wait(), coloured.wait()) == (4, 4)
    assert colour.search(coloured.raw)
    assert not colour.search(plain.raw)


def test_a_watch_of_ten_thousand_uploads_costs_few_commands(hook: Farm) -> None:
    backlog(hook, 10_000)
    screen = Screen(hook)
    wait_until(lambda: "5000 pending, 5000 active" in screen.last)
    looks = screen.text.count("5000 pending")
    before = commands_done(hook.redis)
    wait_until(lambda: screen.text.count("5000 pending") >= looks + 3)
    spent = commands_done(hook.redis) - before
    screen.interrupt()

    # Workers of other tests ask this Redis too; 10,000 rows would be 10,000 commands a look.
    assert spent <= 4 * (25 + LINES) + 400, spent


def test_named_uploads_are_told_by_lines_until_they_have_ended(farm: Farm) -> None:
    with farm.frozen():
        one = farm.upload().id
        with piped(farm, one) as process:
            assert process.stdout
            first = process.stdout.readline()
            for worker in farm.workers:
                worker.thaw()
            rest, err = process.communicate(timeout=60)

    assert re.fullmatch(rf"\d\d:\d\d:\d\d  pending +{one} .*main\.exr\n", first)
    assert f"located    {one}" in rest.splitlines()[-1]
    assert (process.returncode, err) == (0, "")


def test_an_encoding_that_fails_is_told_and_ends_watch_and_wait_with_4(hook: Farm) -> None:
    path = hook.make_file("cut.mov", 10)
    what = (path, "--version-id", hook.sandbox.ftrack.version_id, "--encode")
    one = str(hook.enqueue(*what)[0]["upload_id"])
    key = f"farmhaul:upload:{one}"
    hook.redis.hset(key, mapping={"state": "located", "jobs": "j", "job_state": "running"})
    with piped(hook, one) as process:
        assert process.stdout
        assert "encoding running" in process.stdout.readline()
        hook.redis.hset(key, "job_state", "failed")
        rest, _ = process.communicate(timeout=60)
    assert "encoding failed" in rest
    assert process.returncode == 4
    waited = hook.cli("enqueue", *what, "--wait")
    assert waited.returncode == 4
    assert f"farmhaul: {path}: located, but " in waited.stderr


def test_without_names_each_change_is_a_line_until_interrupted(hook: Farm) -> None:
    kept = hook.upload().id
    with piped(hook) as process:
        assert process.stdout
        assert process.stdout.readline().endswith("  1 pending\n")
        new = hook.upload().id
        hook.cli("cancel", kept)
        seen = process.stdout.readline() + process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)

    assert f"pending    {new}" in seen or f"cancelled  {kept}" in seen
    assert process.returncode == 130


def test_a_restart_of_redis_is_told_and_outlived(make_farm: Any, tmp_path: Path) -> None:
    farm: Farm = make_farm(workers=0)
    one = farm.upload().id
    with piped(farm, one) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        farm.sandbox.redis.stop()
        away = process.stderr.readline()
        farm.sandbox.redis.start()
        back = process.stderr.readline()
        farm.cli("cancel", one)
        rest, _ = process.communicate(timeout=60)

    assert "Redis is not reachable" in away
    assert back == "farmhaul: Redis is back\n"
    assert f"cancelled  {one}" in rest
    assert process.returncode == 4


def test_an_unknown_id_is_bad_input(hook: Farm) -> None:
    done = hook.cli("watch", "nobody")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("farmhaul: no upload nobody is known here")


def test_a_cold_start_of_the_command_does_not_import_rich() -> None:
    assert "rich" not in loaded_by("import workers.cli.watch")
