"""Enqueueing: which upload a component gets, and what is kept of earlier ones."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from tasks.config.sealing import Codec
from tasks.intake.fields import MAX_FILES, MAX_NUMBER
from tasks.intake.request import Request, UploadRequest
from tasks.records import keys, states
from tasks.records.states import STAGES
from tasks.records.status import Status
from tasks.transfer.targets import Target
from tests.unit.records import SIZE, Farm, file_of, member_of, sequence_of


@pytest.fixture
def component() -> Target:
    return Target(str(uuid.uuid4()))


def locate(farm: Farm, request: UploadRequest) -> str:
    """Bring an upload to its end, and return its id."""
    [upload_id] = farm.enqueue(request)
    [transfer] = farm.pass_stages(STAGES[-1], claim=str(uuid.uuid4()))
    farm.settle(transfer, "located", file="f", stored="s")
    return upload_id


def since(farm: Farm, component: Target) -> float:
    return float(farm.client.hget(keys.COMPONENT + component.component_id, "since"))


def test_each_file_counts_as_enqueued_and_a_publish_by_its_files(farm: Farm) -> None:
    publish = sequence_of(2)

    for _ in range(2):
        farm.enqueue(file_of(), publish)

    assert farm.counted("enqueued") == 4


def test_a_file_that_nobody_looked_at_is_uploaded_again(farm: Farm) -> None:
    request = file_of(size=None)
    locate(farm, request)

    assert farm.commands.enqueue([request]) == [("pending", True)]


def test_a_newer_file_supersedes_one_on_its_way(farm: Farm, component: Target) -> None:
    [older] = farm.enqueue(file_of(component))

    [newer] = farm.enqueue(file_of(component))

    assert farm.states([older, newer]) == ["superseded", "pending"]
    assert farm.field(older, "error") == f"superseded by {newer}"


def test_a_newer_file_leaves_one_that_has_ended_as_it_is(farm: Farm, component: Target) -> None:
    older = locate(farm, file_of(component))

    farm.enqueue(file_of(component))

    assert farm.state(older) == "located"


def test_a_file_that_comes_back_is_sent_again(farm: Farm, component: Target) -> None:
    request = file_of(component)
    first = locate(farm, request)
    locate(farm, file_of(component))

    assert farm.commands.enqueue([request]) == [("pending", True)]

    names = ("file", "stored", "located")
    assert {name: farm.field(first, name) for name in names} == dict.fromkeys(names, "")


def test_the_same_file_again_keeps_what_is_known_of_it(farm: Farm) -> None:
    request = file_of()
    [upload_id] = farm.enqueue(request)
    [transfer] = farm.pass_stages(STAGES[-1])
    created = farm.field(upload_id, "created")
    assert float(created) == pytest.approx(farm.now(), abs=5)
    farm.settle(transfer, "failed", error="no", error_kind="Refused", file="f", stored="s")
    farm.client.hset(keys.upload_key(upload_id), mapping={"tries:X": 1, "deliveries:1": 1})

    assert farm.commands.enqueue([request]) == [("pending", True)]

    assert [farm.field(upload_id, name) for name in ("file", "stored")] == ["f", "s"]
    assert farm.field(upload_id, "created") == created
    gone = ("error", "error_kind", "stage", "worker", "tries:X", "deliveries:1", "claim")
    assert {name: farm.field(upload_id, name) for name in gone} == dict.fromkeys(gone, "")
    assert farm.client.ttl(keys.upload_key(upload_id)) == -1
    score = farm.client.zscore(keys.PENDING, upload_id)
    assert score == float(farm.field(upload_id, "score"))
    assert states.enqueued_at(score) == pytest.approx(farm.now(), abs=5)


def request_in(farm: Farm, upload_id: str) -> str:
    return farm.record.form.read(upload_id, farm.field(upload_id, "request")).target.also_in


def test_a_later_request_for_the_same_file_adds_a_location(farm: Farm, component: Target) -> None:
    file = file_of(component)
    [upload_id] = farm.enqueue(file._replace(asked_at=farm.now() - 20))
    both = component._replace(also_in="disk")

    assert farm.enqueue(file._replace(target=both, asked_at=farm.now() - 10)) == [upload_id]
    assert request_in(farm, upload_id) == "disk"

    for late in ({"asked_at": farm.now() - 30}, {"asked_at": farm.now(), "host": "node7"}):
        farm.enqueue(file._replace(**late))
        assert request_in(farm, upload_id) == "disk"
    assert farm.field(upload_id, "host") == ""


def test_a_stored_member_follows_a_later_request(farm: Farm, component: Target) -> None:
    member = member_of(component)
    publish = sequence_of(member)
    [publish_id] = farm.enqueue(publish._replace(asked_at=farm.now() - 20))
    [transfer] = farm.deliver()
    farm.store(transfer)
    [last] = farm.pass_stages(STAGES[-1], claim="last")
    farm.settle(last, "located")
    farm.client.hset(keys.upload_key(member.upload_id), "seen", farm.now())  # no look is due
    again = member._replace(target=component._replace(also_in="disk"))

    farm.enqueue(publish._replace(files=(again,), asked_at=farm.now() - 10))

    assert farm.state(publish_id) == "pending"
    assert request_in(farm, member.upload_id) == "disk"


def test_what_a_component_has_is_known_for_two_weeks(farm: Farm, component: Target) -> None:
    [upload_id] = farm.enqueue(file_of(component))

    key = keys.COMPONENT + component.component_id
    assert farm.client.hget(key, "current") == upload_id
    assert since(farm, component) == pytest.approx(farm.now(), abs=5)
    assert farm.client.ttl(key) == pytest.approx(farm.ttl_s, abs=5)


class TestARequestThatComesLate:
    """A spool is sent late: what was asked for last wins, not what arrives last."""

    def test_does_not_replace_a_newer_file(self, farm: Farm, component: Target) -> None:
        newer = locate(farm, file_of(component))
        late = file_of(component, host="node7", asked_at=farm.now() - 60)

        assert farm.commands.enqueue([late]) == [("superseded", False)]

        assert farm.field(late.upload_id, "error") == f"superseded by {newer}"
        assert farm.field(late.upload_id, "host") == "node7"
        assert float(farm.field(late.upload_id, "created")) == pytest.approx(farm.now(), abs=5)
        lifetime = farm.client.ttl(keys.upload_key(late.upload_id))
        assert lifetime == pytest.approx(farm.ttl_s, abs=5)
        assert farm.client.zcard(keys.state_key("superseded")) == 1

    def test_leaves_an_upload_that_has_ended_as_it_is(self, farm: Farm, component: Target) -> None:
        request = file_of(component)
        farm.enqueue(request)
        farm.commands.cancel(request.upload_id)
        locate(farm, file_of(component))
        late = request._replace(asked_at=farm.now() - 60)

        assert farm.commands.enqueue([late]) == [("cancelled", False)]
        assert farm.field(late.upload_id, "error") == ""

    def test_replaces_an_older_file(self, farm: Farm, component: Target) -> None:
        farm.enqueue(file_of(component, asked_at=farm.now() - 120))
        late = file_of(component, asked_at=farm.now() - 60)

        assert farm.commands.enqueue([late]) == [("pending", True)]
        assert since(farm, component) == pytest.approx(late.asked_at, abs=0.01)

    def test_replaces_one_that_was_asked_for_at_the_same_time(
        self, farm: Farm, component: Target
    ) -> None:
        asked_at = 1_795_000_000
        farm.enqueue(file_of(component, asked_at=asked_at))
        second = file_of(component, asked_at=asked_at)

        assert farm.commands.enqueue([second]) == [("pending", True)]


@pytest.mark.parametrize(("ended", "state"), [("failed", "superseded"), ("cancelled", "cancelled")])
def test_a_retry_does_not_go_back_to_an_older_file(
    farm: Farm, component: Target, ended: str, state: str
) -> None:
    [older] = farm.enqueue(file_of(component))
    if ended == "failed":
        farm.settle(farm.deliver()[0], "failed", error="no", error_kind="Refused")
    else:
        farm.commands.cancel(older)
    [newer] = farm.enqueue(file_of(component))

    assert farm.commands.retry(older) == ("", state, False)

    assert farm.states([older, newer]) == [state, "pending"]
    if ended == "failed":
        assert farm.field(older, "error") == f"superseded by {newer}"


def test_a_located_upload_that_is_retried_is_sent_again(farm: Farm) -> None:
    upload_id = locate(farm, file_of(host=""))

    assert farm.commands.retry(upload_id) == ("", "pending", True)


def test_a_retry_of_an_upload_without_a_record_writes_none(farm: Farm) -> None:
    before = farm.client.keys()

    assert farm.commands.retry(str(uuid.uuid4())) == ("", "", False)

    assert farm.client.keys() == before


@pytest.mark.parametrize("size", [SIZE, None])
def test_a_retry_knows_the_size_as_before(farm: Farm, size: int | None) -> None:
    [upload_id] = farm.enqueue(file_of(size=size))
    before = farm.field(upload_id, "size")
    farm.commands.cancel(upload_id)

    assert farm.commands.retry(upload_id).is_new

    assert farm.field(upload_id, "size") == before


def test_a_publish_supersedes_no_other(farm: Farm) -> None:
    first, second = sequence_of(1), sequence_of(1)
    second = second._replace(component_id=first.component_id)

    farm.enqueue(first, second)

    assert farm.states([first.upload_id, second.upload_id]) == ["storing", "storing"]


@pytest.mark.parametrize("make", [file_of, lambda **asked: sequence_of(1)._replace(**asked)])
def test_a_request_that_is_taken_in_twice_starts_once(
    farm: Farm, make: Callable[..., Request]
) -> None:
    request = make(asked_at=farm.now() - 5)
    farm.enqueue(request)
    farm.commands.cancel(request.upload_id)

    assert farm.commands.enqueue([request]) == [("cancelled", False)]

    asked_again = request._replace(asked_at=farm.now())
    assert farm.commands.enqueue([asked_again])[0].is_new


def test_a_clock_that_is_ahead_does_not_hold_back_later_files(
    farm: Farm, component: Target
) -> None:
    farm.enqueue(file_of(component, asked_at=farm.now() + 3600))

    assert since(farm, component) == pytest.approx(farm.now(), abs=5)
    assert farm.commands.enqueue([file_of(component)]) == [("pending", True)]


@pytest.mark.parametrize(("stored", "state"), [("s", "located"), ("", "cancelled")])
def test_a_cancelled_retry_leaves_a_stored_upload_located(
    farm: Farm, stored: str, state: str
) -> None:
    upload_id = locate(farm, file_of())
    farm.commands.retry(upload_id)
    farm.client.hset(keys.upload_key(upload_id), "stored", stored)

    assert farm.commands.cancel(upload_id) == state
    assert farm.client.zcard(keys.state_key(state)) == 1


def test_a_cancelled_retry_leaves_a_stored_sequence_located(farm: Farm) -> None:
    sequence = sequence_of(2)
    [publish_id] = farm.enqueue(sequence)
    for transfer in farm.deliver():
        farm.store(transfer)
    [publish] = farm.pass_stages(STAGES[-1], claim="publish")
    farm.settle(publish, "located")
    assert farm.commands.retry(publish_id).is_new

    assert farm.commands.cancel(publish_id) == "located"


def test_the_largest_size_that_may_be_asked_for_is_no_fault(farm: Farm) -> None:
    """Otherwise an operator would look for somebody who writes in Redis."""
    [upload_id] = farm.enqueue(file_of(size=MAX_FILES * MAX_NUMBER))

    [state] = Status(farm.client, Codec([])).find([upload_id])

    assert state is not None
    assert state.error == ""
