"""A small file waits for its turn on the line; until then, nothing of it is under way."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.stage import sending, threads
from tasks.stage.threads import Threads, Unfinished
from tasks.transfer.models import FileIdentity, Transfer
from tasks.transfer.targets import Target


class Line:
    """Lets one file begin when the test says so."""

    def __init__(self) -> None:
        self.waiting = threading.Semaphore(0)
        self.turn = threading.Semaphore(0)

    @contextmanager
    def transfer(self, _size: int, alive: Callable[[], object]) -> Iterator[Callable[[int], None]]:
        self.waiting.release()
        while not self.turn.acquire(timeout=0.01):
            alive()
        yield lambda _sent_bytes: None


def test_files_wait_for_their_turn_until_one_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then those that still wait go back, and that one is sent."""
    line, closed, looks = Line(), threading.Event(), [0]
    close, has_work = threads._Run.close, threads._Run.has_work

    def close_and_tell(run: threads._Run[Any, Any]) -> None:
        close(run)
        closed.set()

    def look_and_count(run: threads._Run[Any, Any]) -> bool:
        looks[0] += 1
        if looks[0] == 5:
            assert not closed.is_set(), "all wait"
            line.turn.release()
        return has_work(run)

    def put(
        _file: object, _store: object, _roots: object, on_progress: Callable[[int], None]
    ) -> None:
        on_progress(0)
        assert closed.wait(30)

    def all_wait() -> None:
        for _ in files:
            assert line.waiting.acquire(timeout=30)
        monkeypatch.setattr(threads, "GO_ON_S", 0.0)

    monkeypatch.setattr(threads, "SOON_S", 0.02)
    monkeypatch.setattr(threads, "GO_ON_S", math.inf)
    monkeypatch.setattr(threads._Run, "close", close_and_tell)
    monkeypatch.setattr(threads._Run, "has_work", look_and_count)
    monkeypatch.setattr(sending, "put_file", put)
    settings = SimpleNamespace(storage_roots=["/mnt"])
    clients: Any = SimpleNamespace(settings=settings, limits=line, store=None)
    heartbeat: Any = lambda *_: None  # noqa: E731
    identity = FileIdentity(5, 1, 2, 3)
    files = [Transfer(name, Target(name), f"/mnt/{name}", identity=identity) for name in "abc"]
    threading.Thread(target=all_wait, daemon=True).start()

    outcomes = Threads(3).run(
        files, lambda file: sending.send_file(clients, file, heartbeat), go_on=lambda _: None
    )

    assert sum(isinstance(one, Transfer) and one.stored for one in outcomes) == 1
    assert outcomes.count(Unfinished("given back", 0.0, is_running=False)) == 2
