"""Someone who writes into Redis while people watch: the watch goes on, and shows other uploads."""

from __future__ import annotations

import fcntl
import math
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tasks.records import keys
from tests.farm import BIN, Farm, wait_until
from tests.functional.conftest import MakeFarm
from tests.helpers.screen import Screen

pytestmark = pytest.mark.slow


class Lines:
    """``farmhaul watch`` in a pipe."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.shown = b""
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            fcntl.fcntl(pipe, fcntl.F_SETFL, 0o4000)  # O_NONBLOCK

    @property
    def text(self) -> str:
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            self.shown += pipe.read() or b""
        return self.shown.decode()


@contextmanager
def lines(farm: Farm) -> Iterator[Lines]:
    pipe = subprocess.PIPE
    command = [str(BIN / "farmhaul"), "watch"]
    process = subprocess.Popen(command, env=farm.environment(), stdout=pipe, stderr=pipe)
    try:
        yield Lines(process)
    finally:
        process.kill()
        process.communicate()


def poison(farm: Farm) -> None:
    """Write what a watch reads, as somebody else would."""
    forged = "\x1b]0;title\x07\nforged line"
    for state in ("pending", "active", "located"):
        farm.redis.zadd(keys.state_key(state), {forged: math.inf, "later": 1e300, b"\xff": 2e9})
    farm.redis.hset(keys.upload_key(forged), mapping={"state": forged, "path": forged})
    odd = {"state": "active", "size": "9e15", "rate": "1e-300", "worker": b"\xff\x1b[2J\n@x"}
    farm.redis.hset(keys.upload_key("later"), mapping={**odd, "stage": "3", "due": "1e300"})
    farm.redis.hset(keys.gate_key("store"), mapping={"until": "x", "since": b"\xff"})
    farm.redis.hset(keys.PAUSED, mapping={b"\xff@\n": "{", "w@x": "[]"})
    farm.redis.delete(keys.ALIVE)
    farm.redis.set(keys.ALIVE, "x")


def test_a_watch_goes_on_whatever_somebody_writes(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=0)
    with Screen(farm) as screen, lines(farm) as watch:
        wait_until(lambda: watch.text and "gates open" in screen.text, 30, lambda: watch.text)
        poison(farm)
        wait_until(lambda: "holds what farmhaul does not put there" in watch.text)
        wait_until(lambda: "holds what" in screen.text, describe=lambda: screen.text)
        farm.redis.delete(keys.ALIVE)  # as a worker does
        upload = farm.upload()

        wait_until(lambda: upload.id in watch.text, 20, describe=lambda: watch.text)
        wait_until(lambda: upload.path.name in screen.last, 20, describe=lambda: screen.last)
        assert watch.process.poll() is None
        assert not any(line.startswith("forged") for line in watch.text.splitlines())
        assert "\x1b" not in watch.text
        assert screen.process.poll() is None
        assert b"\x1b]0;" not in screen.raw
