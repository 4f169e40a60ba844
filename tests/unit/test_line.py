"""The line out: transfers follow each other on a slow one, and none waits on a fast one."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from tasks.stage import line as module
from tasks.stage.line import LEAST_BYTES, STALLED_S, WHOLE_STALLED_S, Flight, Line

MIB = 1 << 20
PART = 8 * MIB


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class WaitsError(Exception):
    """The transfer has not begun at once."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(module, "LOOK_S", 0.001)
    return Clock()


@pytest.fixture
def line(clock: Clock) -> Line:
    return Line(clock)


def begin(line: Line, size_bytes: int = PART) -> Flight:
    """Begin a transfer that does not wait."""

    def alive() -> None:
        raise WaitsError

    return line.begin(size_bytes, alive=alive)


def in_flight(line: Line) -> int:
    """Begin parts until one has to wait; return how many have begun."""
    count = 0
    try:
        while count < 100:
            begin(line)
            count += 1
    except WaitsError:
        pass
    return count


def send_at(line: Line, clock: Clock, bytes_s: float, seconds: int) -> None:
    """Send parts one after the other at a rate."""
    for _ in range(seconds):
        flight = begin(line, int(bytes_s))
        clock.now += 1
        line.moved(flight, int(bytes_s))
        line.end(flight)


def test_a_process_begins_with_one_part_or_with_many_small_files(line: Line) -> None:
    small = [begin(line, 200_000) for _ in range(LEAST_BYTES // 200_000)]
    for flight in small:
        line.end(flight)
    assert in_flight(line) == 1


def small_in_flight(line: Line) -> list[Flight]:
    """Begin small files until one has to wait."""
    begun: list[Flight] = []
    with suppress(WaitsError):
        while len(begun) < 100:
            begun.append(begin(line, 200_000))
    return begun


@pytest.mark.parametrize(("bytes_s", "most"), [(1e5, 6), (5e5, 6), (2e6, 21), (40e6, 190)])
def test_small_files_in_flight_follow_the_speed(
    line: Line, clock: Clock, bytes_s: float, most: int
) -> None:
    """All bytes of one are in a block that counts when the store has answered."""
    flights = small_in_flight(line)
    assert len(flights) == LEAST_BYTES // 200_000
    for _ in range(600):
        clock.now += 200_000 / bytes_s
        line.end(flights.pop(0), is_sent=True)
        if len(flights) < 100:
            flights += small_in_flight(line)
    assert min(most / 2, 50) <= len(flights) <= most


def test_a_small_file_that_hangs_does_not_hold_up_the_others(line: Line, clock: Clock) -> None:
    send_at(line, clock, 1e5, 6)
    assert small_in_flight(line)
    clock.now += WHOLE_STALLED_S
    begin(line, 200_000)


@pytest.mark.parametrize(
    ("bytes_s", "least", "most"), [(1e5, 1, 1), (1e6, 1, 1), (5e6, 2, 3), (500e6, 80, 100)]
)
def test_parts_in_flight_follow_the_speed_of_the_line(
    line: Line, clock: Clock, bytes_s: float, least: int, most: int
) -> None:
    send_at(line, clock, bytes_s, 6)
    assert least <= in_flight(line) <= most


def test_a_fast_line_stays_known_while_it_has_nothing_to_do(line: Line, clock: Clock) -> None:
    send_at(line, clock, 500e6, 2)
    clock.now += 3600
    assert in_flight(line) > 20


def test_what_the_kernel_takes_at_once_does_not_look_like_speed(line: Line, clock: Clock) -> None:
    flight = begin(line)
    clock.now += 0.01
    line.moved(flight, MIB)
    with pytest.raises(WaitsError):
        begin(line)


def test_the_next_part_begins_when_the_last_one_ends_soon(line: Line, clock: Clock) -> None:
    """However large parts are, one connection may be slower than the line."""
    size_bytes = 32 * MIB
    flight = begin(line, size_bytes)
    for sent_bytes in range(0, 24 * MIB, 4 * MIB):
        with pytest.raises(WaitsError):
            begin(line, size_bytes)
        clock.now += 1
        line.moved(flight, sent_bytes + 4 * MIB)
    begin(line, size_bytes)


def test_a_line_that_has_become_slow_holds_the_next_parts_back(line: Line, clock: Clock) -> None:
    send_at(line, clock, 500e6, 2)
    flight = begin(line)
    for second in range(1, 7):
        clock.now += 1
        line.moved(flight, second * 1000)
    with pytest.raises(WaitsError):
        begin(line)


def test_a_transfer_that_hangs_does_not_hold_up_the_others(line: Line, clock: Clock) -> None:
    begin(line)
    with pytest.raises(WaitsError):
        begin(line)
    clock.now += STALLED_S
    moving = begin(line)
    line.moved(moving, PART - 1)
    begin(line)


def test_the_next_transfer_begins_when_one_ends(line: Line) -> None:
    first, begun = begin(line), threading.Event()

    def second() -> None:
        line.begin(PART)
        begun.set()

    thread = threading.Thread(target=second, daemon=True)
    thread.start()
    assert not begun.wait(0.05)
    line.end(first)
    assert begun.wait(10)
    thread.join(10)


def test_a_transfer_that_is_stopped_while_it_waits_lets_others_pass(line: Line) -> None:
    first = begin(line)
    with pytest.raises(WaitsError):
        begin(line)
    line.end(first)
    begin(line)
