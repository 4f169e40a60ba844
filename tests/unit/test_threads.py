"""The threads of a task: what hangs is left behind, what moves goes on, what is late is ended."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping

import pytest

from tasks.stage import shared, threads
from tasks.stage.threads import Threads, Unfinished, note_progress, note_waiting, pause
from tasks.transfer import pace
from tasks.transfer.http import send_raw
from tasks.transfer.put import store_session
from tests.helpers.raw_server import full_backlog, raw_server

LIMIT_S = 0.3


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {
        "POLL_S": 0.02,
        "SOON_S": 0.02,
        "WRAP_UP_S": 0.2,
        "LAST_S": 0.2,
        "STOP_S": 0.1,
    }.items():
        monkeypatch.setattr(threads, name, seconds)


@pytest.fixture
def answer() -> Iterator[threading.Event]:
    """Ends what hangs; at the latest, when the test has ended."""
    event = threading.Event()
    yield event
    event.set()


def limit_s(_item: object) -> float:
    return LIMIT_S


@pytest.mark.parametrize("allowed", [0, 1])
def test_a_node_that_allows_too_few_threads_waits_for_none_of_them(
    monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def start_few(thread: threading.Thread) -> None:
        if len(started) >= allowed:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_few)
    few = Threads(2)
    for _ in range(3):
        if allowed:
            assert few.run(range(5), str) == ["0", "1", "2", "3", "4"]
        else:
            with pytest.raises(RuntimeError):
                few.run(range(5), str)


def test_outcomes_come_in_the_order_of_the_items() -> None:
    assert Threads(3).run(range(50), lambda item: item * 2) == [2 * item for item in range(50)]
    assert Threads(3).run([], str) == []


def test_no_more_threads_work_than_allowed() -> None:
    at_work, most = [0], [0]
    lock = threading.Lock()

    def act(_item: int) -> None:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        time.sleep(0.005)
        with lock:
            at_work[0] -= 1

    pool = Threads(4)
    for _ in range(2):
        pool.run(range(20), act)
    assert most == [4]


def test_an_error_comes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        Threads(2).run([1, 0], lambda item: 1 / item)


def test_what_hangs_is_left_behind(answer: threading.Event) -> None:
    pool = Threads(2)
    hung, done = pool.run([True, False], lambda hangs: hangs and answer.wait(), limit_s)

    assert done is False
    assert isinstance(hung, Unfinished)
    assert (hung.why, hung.is_running) == ("file", True)
    assert hung.silent_s >= LIMIT_S
    assert len(pool.left_behind) == 1
    assert pool.run(range(9), str, limit_s) == [str(item) for item in range(9)]


def test_what_waits_for_the_store_reads_no_file(answer: threading.Event) -> None:
    def put(port: int) -> None:
        url = f"http://127.0.0.1:{port}/"
        send_raw(store_session(1), "PUT", url, {"Content-Length": "3"}, b"abc", service="store")

    with raw_server(lambda _: answer.wait(10)) as silent, full_backlog() as deaf:
        # One takes the bytes and does not answer; the other takes no connection.
        for hung in Threads(2).run([silent.port, deaf], put, limit_s):
            assert isinstance(hung, Unfinished)
            assert hung.why == "store"


def test_what_moves_is_not_left_behind() -> None:
    def act(_item: int) -> str:
        for _ in range(10):
            time.sleep(LIMIT_S / 5)
            note_progress()
        pause(2 * LIMIT_S)
        return "done"

    assert Threads(1).run([1], act, limit_s) == ["done"]


def test_what_is_done_goes_on_without_what_takes_longer(answer: threading.Event) -> None:
    steps: list[dict[int, bool]] = []

    def go_on(done: Mapping[int, bool]) -> None:
        steps.append(dict(done))
        answer.set()

    slow = [False, True, False]
    outcomes = Threads(3).run(slow, lambda item: item and answer.wait(), go_on=go_on)

    assert steps == [{0: False, 2: False}]
    assert outcomes == slow


def test_what_is_done_does_not_wait_for_ever_for_a_slow_line(
    answer: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "GO_ON_S", 0.0)
    monkeypatch.setattr(pace, "LEAST_S", math.inf)
    went_on: list[Mapping[int, bool]] = []

    def go_on(done: Mapping[int, bool]) -> None:
        went_on.append(done)
        answer.set()

    outcomes = Threads(2).run([0, 1], lambda item: item == 0 or answer.wait(30), go_on=go_on)

    assert outcomes == [True, True]
    assert went_on == [{0: True}]


GIVEN_BACK = Unfinished("given back", 0.0, is_running=False)


def wait_closed(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return what is set when a run begins no other item."""
    closed, close = threading.Event(), threads._Run.close

    def close_and_tell(run: threads._Run[object, object]) -> None:
        close(run)
        closed.set()

    monkeypatch.setattr(threads._Run, "close", close_and_tell)
    return closed


def ignore(_done: object) -> None:
    """Go on with nothing."""


def test_on_a_slow_line_what_has_not_begun_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "GO_ON_S", 0.0)
    closed = wait_closed(monkeypatch)

    def send(item: int) -> int:
        if item == 0:
            assert closed.wait(30), "what is under way ends"
            return item
        while True:  # for its turn, which does not come
            note_waiting()
            time.sleep(0.01)

    assert Threads(2).run(range(4), send, go_on=ignore) == [0, *[GIVEN_BACK] * 3]


def test_without_a_step_for_what_is_done_no_item_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "GO_ON_S", 0.0)
    monkeypatch.setattr(threads._Run, "close", lambda _run: pytest.fail("it was closed"))
    assert Threads(1).run([0.05] * 3, time.sleep) == [None] * 3


def test_nothing_goes_back_while_all_wait_for_their_turn() -> None:
    """It would be signed again and again, and nothing would be sent."""
    first, second = threads._Job("first", 60.0), threads._Job("second", 60.0)
    run: threads._Run[str, object] = threads._Run(str, [first, second])
    assert not run.has_work()

    first.ident = second.ident = 1
    first.waits = second.waits = True
    assert not run.has_work()
    for outcome in (GIVEN_BACK, ValueError("the store has refused it")):
        first.is_done, first.outcome = True, outcome
        assert not run.has_work()

    first.outcome = "sent"
    assert run.has_work()
    first.is_done = first.waits = False
    assert run.has_work(), "it is being sent"


def test_what_was_stopped_while_it_waited_does_not_go_on(
    answer: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "GO_ON_S", 0.0)
    went_on: dict[int, object] = {}

    def go_on(done: Mapping[int, object]) -> None:
        went_on.update(done)
        answer.set()

    def send(item: int) -> object:
        if item == 0:
            return item
        if item == 1:
            return answer.wait(30)  # under way, until the first has gone on
        while True:
            note_waiting()
            time.sleep(0.01)

    outcomes = Threads(3).run([0, 1, 2], send, go_on=go_on)

    assert outcomes == [0, True, GIVEN_BACK]
    assert GIVEN_BACK not in went_on.values()


def test_items_of_mixed_sizes_do_not_go_on_one_by_one() -> None:
    steps: list[int] = []

    def go_on(done: Mapping[int, None]) -> None:
        steps.append(len(done))

    # Each of the later ones takes longer than the half second after which the first go on.
    Threads(16).run(range(16), lambda item: time.sleep(max(item - 9, 0) * 0.6), go_on=go_on)

    assert len(steps) <= 4


def test_a_step_that_fails_leaves_no_item_unwatched(answer: threading.Event) -> None:
    def go_on(_done: Mapping[int, bool]) -> None:
        answer.set()
        raise ValueError("no")

    slow = [False, True, False]
    outcomes = Threads(3).run(slow, lambda item: item and answer.wait(), go_on=go_on)

    assert outcomes == slow


def test_an_item_that_failed_or_was_stopped_does_not_go_on(answer: threading.Event) -> None:
    steps: list[dict[int, float]] = []

    def go_on(done: Mapping[int, float]) -> None:
        steps.append(dict(done))
        answer.set()

    def act(item: int) -> float:
        return answer.wait() if item == 1 else 1 / item

    with pytest.raises(ZeroDivisionError):
        Threads(3).run([0, 1, 2], act, go_on=go_on)
    assert steps == [{2: 0.5}]


def test_without_a_limit_an_item_may_be_silent() -> None:
    assert Threads(1).run([1], lambda _: time.sleep(0.4)) == [None]


def test_once_one_hangs_no_other_begins(answer: threading.Event) -> None:
    begun = []

    def act(item: int) -> None:
        begun.append(item)
        answer.wait()

    outcomes = Threads(2).run(range(4), act, limit_s)

    assert sorted(begun) == [0, 1]
    whys = [outcome.why for outcome in outcomes if outcome]
    assert whys == ["file", "file", "given back", "given back"]


def test_a_thread_that_was_left_behind_stops_when_it_wakes(answer: threading.Event) -> None:
    went_on, woke = [], threading.Event()

    def act(_item: int) -> None:
        answer.wait()
        woke.set()
        note_progress()
        went_on.append(True)

    pool = Threads(1)
    pool.run([1], act, limit_s)
    answer.set()
    assert woke.wait(5)
    while pool.left_behind:
        time.sleep(0.01)

    assert went_on == []


def work_until_stopped(_item: int) -> None:
    for _ in range(1000):
        time.sleep(0.01)
        note_progress()
    raise AssertionError("it was not stopped")


def test_at_the_time_limit_the_rest_is_given_back() -> None:
    outcomes = Threads(2).run(range(5), work_until_stopped, limit_s, begin_limit_s=0.2)
    assert outcomes == [Unfinished("given back", 0.0, is_running=False)] * 5


def test_when_the_worker_stops_the_rest_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "is_stopping", lambda: True)
    outcomes = Threads(2).run(range(5), work_until_stopped, limit_s)
    assert outcomes == [Unfinished("given back", 0.0, is_running=False)] * 5
