"""One call for several uploads: one that makes ftrack slow is found, and holds up no other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from tasks.config.sealing import Codec, Signer
from tasks.records.form import RecordForm
from tasks.stage.outcomes import Settling
from tasks.stage.threads import Threads
from tasks.stage.together import call_together
from tasks.transfer.errors import GivenBackError
from tasks.transfer.models import Batch, Outcomes, Transfer
from tasks.transfer.pace import FEWEST, LEAST_S, REMEMBERED, Pace, SlowCallError, hurried
from tasks.transfer.targets import Target

FILES = [Transfer(f"{n}", Target(f"component {n}"), f"/mnt/{n}.exr") for n in range(50)]


class Service:
    """Makes a hurried call slow for these uploads, and answers all others."""

    def __init__(self, slow: Sequence[Transfer], *, fast_calls: Sequence[int] = ()) -> None:
        self.slow = slow
        self.fast_calls = fast_calls
        self.sizes: list[int] = []

    def __call__(self, transfers: Sequence[Transfer]) -> Outcomes:
        self.sizes.append(len(transfers))
        is_slow = any(one in self.slow for one in transfers)
        if is_slow and len(self.sizes) not in self.fast_calls:
            raise SlowCallError
        return {one.upload_id: one for one in transfers}


def apart(outcomes: Outcomes) -> Outcomes:
    """Return those that are to go on alone."""
    return {k: one for k, one in outcomes.items() if not isinstance(one, Transfer)}


def test_a_call_that_is_fast_is_the_only_one() -> None:
    service = Service([])
    assert set(call_together(service, FILES, Threads(4))) == {one.upload_id for one in FILES}
    assert service.sizes == [50]


def test_only_the_upload_that_makes_ftrack_slow_goes_on_alone() -> None:
    service = Service([FILES[30]])

    outcomes = call_together(service, FILES, Threads(4))

    assert len(outcomes) == 50
    assert set(apart(outcomes)) == {FILES[30].upload_id}
    assert sorted(service.sizes) == [*[1] * 8, *[7] * 7, 50]
    settling = Settling("get_put_metadata", "w1", RecordForm(Codec([]), (), Signer(())))
    settled = settling.settlements(Batch("a claim", (FILES[30],)), apart(outcomes))
    assert [(one.outcome, one.fields) for one in settled] == [("pending", {"exclusive": 1})]


def test_two_uploads_that_make_ftrack_slow_hold_up_no_other() -> None:
    outcomes = call_together(Service([FILES[0], FILES[30]]), FILES, Threads(4))

    assert set(apart(outcomes)) == {FILES[0].upload_id, FILES[30].upload_id}


def test_of_two_uploads_the_one_that_is_slow_goes_on_alone() -> None:
    outcomes = call_together(Service(FILES[:1]), FILES[:2], Threads(4))

    assert set(outcomes) == {"0", "1"}
    assert set(apart(outcomes)) == {"0"}


def test_a_lone_call_slow_by_chance_gives_no_upload_back() -> None:
    service = Service(FILES[:1], fast_calls=(2, 3))
    outcomes = call_together(service, FILES[:2], Threads(4))
    assert outcomes == {one.upload_id: one for one in FILES[:2]}


def test_a_slow_ftrack_is_waited_for_in_one_call() -> None:
    # The first call, eight groups, and the call for all that were in slow ones.
    service = Service(FILES[14:], fast_calls=(10,))

    outcomes = call_together(service, FILES, Threads(4))

    assert outcomes == {one.upload_id: one for one in FILES}
    assert service.sizes[-1] == 36
    assert len(service.sizes) == 10


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


class SlowService:
    """Takes a fiftieth of a second for a call, and a minute if it is for one of these uploads."""

    def __init__(self, clock: Clock, *slow: Transfer) -> None:
        self.clock = clock
        self.slow = slow
        self.pace = Pace()
        self.calls = 0

    def __call__(self, transfers: Sequence[Transfer]) -> Outcomes:
        self.calls += 1
        is_slow = any(one in self.slow for one in transfers)
        needed_s = 60.0 if is_slow else self.needed_s(transfers)
        with self.pace.of(len(transfers)) as limit_s:
            self.clock.now_s += min(needed_s, limit_s)
            if needed_s > limit_s:
                raise SlowCallError
        return {one.upload_id: one for one in transfers}

    def needed_s(self, _transfers: Sequence[Transfer]) -> float:
        return 0.02


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("tasks.transfer.pace.time", clock)
    monkeypatch.setattr("tasks.stage.together.time", clock)
    return clock


def test_others_wait_for_a_slow_upload_for_seconds_only(clock: Clock) -> None:
    service = SlowService(clock, FILES[30])
    for _ in range(FEWEST):
        service(FILES[:20])
    begun_s = clock.now_s

    outcomes = call_together(service, FILES, Threads(1))

    assert sum(isinstance(one, GivenBackError) for one in outcomes.values()) == 1
    # The least limit three times, and seven groups and six uploads that are fast; here one after
    # the other. All 50 would have had more time if ftrack were far.
    assert clock.now_s - begun_s == pytest.approx(3 * LEAST_S + (7 + 6) * 0.02)


def test_groups_get_the_time_that_a_far_ftrack_needs(clock: Clock) -> None:
    """New connections take longer than calls on open ones: three round trips more."""

    class FarService(SlowService):
        def needed_s(self, transfers: Sequence[Transfer]) -> float:
            return 1.2 if len(transfers) <= 7 else 0.3

    service = FarService(clock, FILES[30])
    for _ in range(FEWEST):
        service([one for one in FILES if one is not FILES[30]])

    outcomes = call_together(service, FILES, Threads(1))

    assert len(apart(outcomes)) == 1


def test_a_process_soon_knows_that_ftrack_itself_is_slow(clock: Clock) -> None:
    service = SlowService(clock, *FILES[20:])
    for _ in range(REMEMBERED):
        service(FILES[:20])
    before = service.calls

    for _ in range(6):
        outcomes = call_together(service, FILES[20:], Threads(1))
        assert all(isinstance(one, Transfer) for one in outcomes.values())

    # Twice a call for all, six for groups, and one without a limit. Then most calls that the
    # process remembers were slow, and each call is made once.
    assert service.calls - before == 2 * (1 + 6 + 1) + 4


def test_nothing_is_slow_before_a_few_calls_were_made(clock: Clock) -> None:
    service = SlowService(clock, FILES[0])
    for _ in range(FEWEST):
        assert FILES[0].upload_id in call_together(service, FILES[:2], Threads(1))
    assert clock.now_s == pytest.approx(60 * FEWEST)


def test_a_pause_of_ftrack_ends_no_hurried_call(clock: Clock) -> None:
    pace = Pace()
    for _ in range(FEWEST):
        with pace.of(10):
            clock.now_s += 0.01
    with hurried(), pace.of(10) as limit_s:
        assert limit_s == LEAST_S
    with pace.of(10) as limit_s:
        assert limit_s == math.inf


def test_one_upload_alone_may_be_slow() -> None:
    assert GivenBackError("1", True).alone
    service = Service([], fast_calls=())
    assert call_together(service, FILES[:1], Threads(1)) == {"0": FILES[0]}
    assert service.sizes == [1]
