"""Syncs of a folder that many threads ask for."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.transfer.shared_sync import SharedSync


class Disk:
    """Takes names when it is let; ``begun`` counts its syncs."""

    def __init__(self) -> None:
        self.begun = 0
        self.begins = threading.Semaphore(0)
        self.let = threading.Semaphore(0)
        self.fails: set[int] = set()

    def sync(self, _descriptor: int) -> None:
        self.begun += 1
        number = self.begun
        self.begins.release()
        assert self.let.acquire(timeout=60)
        if number in self.fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr("os.fsync", made.sync)
    return made


class Asking(SharedSync):
    """Tells when a thread has asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Semaphore(0)
        self._syncing = _Told(self.asked)  # type: ignore[assignment]


class _Told:
    def __init__(self, asked: threading.Semaphore) -> None:
        self._lock = threading.Lock()
        self._asked = asked

    def acquire(self, timeout: float) -> bool:
        self._asked.release()
        return self._lock.acquire(timeout=4 * timeout)

    def release(self) -> None:
        self._lock.release()


def test_all_who_ask_during_a_sync_share_the_next_one(disk: Disk) -> None:
    sync = Asking()
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(sync, 0)
        assert disk.begins.acquire(timeout=60)
        others = [pool.submit(sync, 0) for _ in range(5)]
        for _ in range(6):
            assert sync.asked.acquire(timeout=60)

        disk.let.release()
        first.result(60)
        assert disk.begins.acquire(timeout=60)
        assert not any(one.done() for one in others)  # the first one began before they asked
        disk.let.release()
        for one in others:
            one.result(60)

    assert disk.begun == 2


def test_a_sync_that_fails_counts_for_nobody_else(disk: Disk) -> None:
    sync = Asking()
    disk.fails = {2}
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(sync, 0)
        assert disk.begins.acquire(timeout=60)
        others = [pool.submit(sync, 0) for _ in range(2)]
        for _ in range(3):
            assert sync.asked.acquire(timeout=60)
            disk.let.release()
        first.result(60)
        failed = [one.exception(60) is not None for one in others]

    assert sorted(failed) == [False, True]
    assert disk.begun == 3


def test_each_sync_after_another_is_one_of_its_own(tmp_path: Path) -> None:
    sync = SharedSync()
    folder = os.open(tmp_path, os.O_RDONLY)
    sync(folder)
    sync(folder)
    os.close(folder)

    assert sync._begun == 2


def test_nobody_waits_for_ever_for_a_sync_that_hangs(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.transfer.shared_sync.ALONE_S", 0.1)
    sync = SharedSync()
    with ThreadPoolExecutor(2) as pool:
        pool.submit(sync, 0)
        assert disk.begins.acquire(timeout=60)
        other = pool.submit(sync, 0)
        assert disk.begins.acquire(timeout=60)  # the first one still holds the lock
        disk.let.release(2)
        other.result(60)

    assert disk.begun == 2
