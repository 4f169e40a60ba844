"""Many files compared at once, of which one hangs."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import requests

from tasks.config.settings import FtrackSettings
from tasks.stage import comparison, threads
from tasks.stage.threads import Threads
from tasks.transfer.compare import Compared, Pair

FTRACK = FtrackSettings("https://studio.example", "user", "key")


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What hangs until this is set; it takes short limits to notice that."""
    monkeypatch.setattr(threads, "POLL_S", 0.02)
    monkeypatch.setattr(threads, "WRAP_UP_S", 0.1)
    monkeypatch.setattr(threads, "LAST_S", 0.1)
    monkeypatch.setattr(comparison, "STALLED_S", 0.3)
    ended = threading.Event()
    yield ended
    ended.set()


def test_a_file_that_hangs_settles_no_other_one(
    hang: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker tells nothing of the others, so another one gets them."""

    def compare(pair: Pair, *_: object, **__: object) -> Compared:
        if pair.path == "hung":
            hang.wait(30)
        return Compared("same")

    monkeypatch.setattr(comparison, "compare", compare)
    results: dict[int, Compared] = {}

    comparison.compare_all(
        {number: Pair(path) for number, path in enumerate(("good", "hung", "other"))},
        Threads(1),
        FTRACK,
        requests.Session(),
        roots=["/"],
        download=False,
        stop=threading.Event(),
        on_result=results.__setitem__,
    )

    assert {number: result.state for number, result in results.items()} == {
        0: "same",
        1: "not readable",
    }
    assert "reading it hangs" in results[1].why
