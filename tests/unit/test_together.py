"""One call for several uploads: one that makes ftrack slow is found, and holds up no other."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.stage.outcomes import Outcomes, Settling
from tasks.stage.together import call_together
from tasks.transfer.errors import GivenBackError
from tasks.transfer.models import Batch, Transfer
from tasks.transfer.pace import SlowCallError
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


def test_a_call_that_is_fast_is_the_only_one() -> None:
    service = Service([])
    assert set(call_together(service, FILES)) == {one.upload_id for one in FILES}
    assert service.sizes == [50]


def test_the_group_that_makes_ftrack_slow_is_claimed_one_by_one() -> None:
    service = Service([FILES[30]])

    outcomes = call_together(service, FILES)

    apart: Outcomes = {k: one for k, one in outcomes.items() if not isinstance(one, Transfer)}
    assert len(outcomes) == 50
    assert set(apart) == {one.upload_id for one in FILES[28:35]}
    assert service.sizes == [50, *[7] * 7, 1]
    settling = Settling("get_put_metadata", "w1", str, lambda _: {}, lambda _: {})
    settled = settling.settlements(Batch("a claim", tuple(FILES[28:35])), apart)
    assert {one.outcome for one in settled} == {"pending"}
    assert all(one.fields == {"exclusive": 1} for one in settled)


def test_a_lone_call_slow_by_chance_gives_no_upload_back() -> None:
    service = Service(FILES[:1], fast_calls=(2,))
    outcomes = call_together(service, FILES[:2])
    assert outcomes == {one.upload_id: one for one in FILES[:2]}


def test_a_slow_ftrack_is_waited_for_without_a_split() -> None:
    service = Service(FILES[10:], fast_calls=(5,))

    outcomes = call_together(service, FILES)

    assert outcomes == {one.upload_id: one for one in FILES}
    # The groups of the first ten, then all of the rest in one call.
    assert service.sizes == [50, 7, 7, 7, 43]


def test_one_upload_alone_may_be_slow() -> None:
    assert GivenBackError("1", True).alone
    service = Service([], fast_calls=())
    assert call_together(service, FILES[:1]) == {"0": FILES[0]}
    assert service.sizes == [1]
