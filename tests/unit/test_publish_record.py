"""Publishes: their members come and go, and they end with them."""

from __future__ import annotations

import uuid

import pytest

from tasks.config.sealing import Codec
from tasks.intake.request import PublishRequest
from tasks.records import keys
from tasks.records.delivery import Settlement
from tasks.records.states import STAGES
from tasks.records.status import Status
from tasks.transfer.targets import Target
from tests.unit.records import SIZE, Farm, file_of, member_of, sequence_of


def store_all(farm: Farm) -> None:
    """Store every file that is pending."""
    for transfer in farm.deliver(claim=str(uuid.uuid4())):
        farm.store(transfer)


def fail_one(farm: Farm) -> str:
    """Let one of the pending files fail, and return its id; the others stay pending."""
    failed, *others = farm.deliver(claim=str(uuid.uuid4()))
    for other in others:
        farm.settle(other, "pending")
    farm.settle(failed, "failed", error="torn", error_kind="Torn")
    return failed.upload_id


def total(farm: Farm, publish_id: str) -> str:
    return farm.field(publish_id, "total")


def begun(farm: Farm, request: PublishRequest) -> str:
    """Let a hook die right after it has opened a publish."""
    farm.commands.write([farm.commands.new_record(request)])
    return request.upload_id


def test_a_publish_with_a_file_of_another_one_waits_for_it_too(farm: Farm) -> None:
    shared = member_of()
    sequence, movie = farm.enqueue(sequence_of(shared), sequence_of(shared, member_of()))
    assert farm.field(shared.upload_id, "publish") == f"{sequence},{movie}"

    store_all(farm)

    assert farm.states([sequence, movie]) == ["pending", "pending"]
    assert [farm.field(one, "sent") for one in (sequence, movie)] == [str(SIZE), str(2 * SIZE)]
    assert farm.counted("stored") == 2, "the shared file was sent once"


def test_the_last_file_of_a_publish_asks_for_a_wake_up(farm: Farm) -> None:
    farm.enqueue(sequence_of(2))
    first, second = farm.deliver()

    asked = [farm.record.settle([Settlement(one, "stored")]).to_wake for one in (first, second)]

    assert asked == [[], [""]]


def test_a_publish_shows_how_long_its_rest_takes(farm: Farm) -> None:
    [publish] = farm.enqueue(sequence_of(*[member_of() for _ in range(4)]))
    first, second, *_ = farm.deliver(claim="claim")
    farm.store(first)
    key = keys.upload_key(publish)
    farm.client.hset(key, "rate_at", float(farm.field(publish, "rate_at")) - 10)
    farm.store(second)

    [state] = Status(farm.client, Codec(())).find([publish])

    assert state is not None
    assert state.state == "storing"
    assert state.bytes_s == pytest.approx(SIZE / 10, rel=0.2, abs=1)
    assert state.left_s == pytest.approx(20, rel=0.5)


def test_a_publish_of_files_that_are_stored_is_pending_at_once(farm: Farm) -> None:
    shared = member_of()
    farm.enqueue(sequence_of(shared))
    store_all(farm)
    farm.client.expire(keys.upload_key(shared.upload_id), 60)
    request = sequence_of(shared)
    later = begun(farm, request)

    again = farm.commands.new_record(shared, later)
    assert farm.commands.write([again]) == [("stored", False)]
    farm.enqueue(request)

    assert farm.state(later) == "pending"
    assert farm.field(later, "sent") == str(SIZE)
    assert farm.client.ttl(keys.upload_key(shared.upload_id)) == pytest.approx(farm.ttl_s, abs=5)


def test_a_file_that_fails_ends_each_publish_that_waits_for_it(farm: Farm) -> None:
    shared = member_of()
    waiting = farm.enqueue(sequence_of(shared), sequence_of(shared))

    fail_one(farm)

    assert farm.states(waiting) == ["failed", "failed"]
    assert farm.counted("failed") == {"Torn": 3}


def test_a_cancelled_publish_leaves_the_files_of_another_one(farm: Farm) -> None:
    shared, own = member_of(), member_of()
    cancelled, other = farm.enqueue(sequence_of(own, shared), sequence_of(shared))

    assert farm.commands.cancel(cancelled) == "cancelled"

    assert farm.states([own.upload_id, shared.upload_id]) == ["cancelled", "pending"]
    assert farm.state(other) == "storing"
    assert farm.commands.cancel(shared.upload_id) == "cancelled"
    assert farm.state(other) == "failed"
    assert farm.field(other, "error") == "one of its files was cancelled"
    assert farm.field(other, "error_kind") == "cancelled"


def test_a_cancelled_publish_leaves_failed_files_as_they_are(farm: Farm) -> None:
    [publish_id] = farm.enqueue(sequence_of(2))
    failed = fail_one(farm)

    assert farm.commands.cancel(publish_id) == "cancelled"

    assert farm.state(failed) == "failed"
    assert farm.commands.cancel(failed) == farm.state(failed) == "cancelled"
    assert farm.commands.cancel("unknown") == ""


def test_a_newer_file_of_a_frame_leaves_the_publish_with_the_others(farm: Farm) -> None:
    frame = Target(str(uuid.uuid4()))
    older = member_of(frame)
    [publish_id] = farm.enqueue(sequence_of(older, member_of()))

    farm.enqueue(file_of(frame))

    assert farm.state(older.upload_id) == "superseded"
    assert (farm.state(publish_id), total(farm, publish_id)) == ("storing", "1")
    store_all(farm)
    assert farm.state(publish_id) == "pending"


def test_a_publish_whose_last_missing_file_has_a_newer_one_goes_on(farm: Farm) -> None:
    frame = Target(str(uuid.uuid4()))
    [publish_id] = farm.enqueue(sequence_of(member_of(), member_of(frame)))
    [first, second] = farm.deliver()
    stored, missing = (
        (second, first) if first.component_id == frame.component_id else (first, second)
    )
    farm.store(stored)
    farm.settle(missing, "pending")

    farm.enqueue(file_of(frame))

    assert farm.state(publish_id) == "pending"


def test_a_publish_whose_files_all_have_newer_ones_is_superseded(farm: Farm) -> None:
    frames = [Target(str(uuid.uuid4())) for _ in range(2)]
    [publish_id] = farm.enqueue(sequence_of(*map(member_of, frames)))

    farm.enqueue(*map(file_of, frames))

    assert farm.state(publish_id) == "superseded"
    assert farm.field(publish_id, "error") == "all of its files have newer ones"


def test_a_stored_frame_leaves_its_publish_for_a_newer_one(farm: Farm) -> None:
    frame = Target(str(uuid.uuid4()))
    older = member_of(frame)
    [publish_id] = farm.enqueue(sequence_of(older, member_of()))
    for transfer in farm.deliver():
        if transfer.upload_id == older.upload_id:
            farm.store(transfer)

    farm.enqueue(file_of(frame))

    assert total(farm, publish_id) == "1"
    assert farm.state(older.upload_id) == "stored", "it had ended before"


@pytest.mark.parametrize(("others", "state"), [(1, "storing"), (0, "superseded")])
def test_a_publish_that_comes_late_leaves_newer_files_alone(
    farm: Farm, others: int, state: str
) -> None:
    frames = [Target(str(uuid.uuid4())) for _ in range(2)]
    newer = farm.enqueue(*map(file_of, frames))
    files = [*map(member_of, frames), *(member_of() for _ in range(others))]
    late = sequence_of(*files)._replace(asked_at=farm.now() - 60)

    assert farm.commands.enqueue([late]) == [(state, True)]

    assert farm.states(newer) == ["pending", "pending"]
    assert farm.states([file.upload_id for file in files[:2]]) == ["superseded", "superseded"]
    assert total(farm, late.upload_id) == str(others)


def test_a_publish_that_has_ended_keeps_its_files(farm: Farm) -> None:
    frame = Target(str(uuid.uuid4()))
    [publish_id] = farm.enqueue(sequence_of(member_of(frame), member_of()))
    farm.commands.cancel(publish_id)

    farm.enqueue(file_of(frame))

    assert (farm.state(publish_id), total(farm, publish_id)) == ("cancelled", "2")


def test_a_hook_that_died_halfway_continues_its_publish(farm: Farm) -> None:
    request = sequence_of(2)
    publish_id = begun(farm, request)
    farm.commands.write([farm.commands.new_record(request.files[0], publish_id)])
    store_all(farm)
    assert farm.state(publish_id) == "storing", "one of its files is not recorded"
    assert farm.commands._complete(publish_id) == "storing"
    assert farm.client.zcard(keys.OPEN) == 1

    assert farm.commands.enqueue([request]) == [("storing", True)]

    assert farm.client.zcard(keys.OPEN) == 0
    assert farm.commands.enqueue([request]) == [("storing", False)], "complete: nothing to do"
    store_all(farm)
    assert farm.state(publish_id) == "pending"


def test_a_publish_is_open_from_its_enqueue(farm: Farm) -> None:
    publish_id = begun(farm, sequence_of(1))

    assert farm.client.zscore(keys.OPEN, publish_id) == pytest.approx(farm.now(), abs=5)
    assert (farm.field(publish_id, "sent"), total(farm, publish_id)) == ("0", "1")
    farm.client.zadd(keys.OPEN, {publish_id: 1})
    farm.record.apply_due()
    assert farm.field(publish_id, "error_kind") == "NotAllEnqueued"
    assert farm.field(publish_id, "error").startswith("only 0 of its 1 files were recorded")
    assert farm.client.zcard(keys.OPEN) == 0


def test_a_file_comes_too_late_for_a_publish_that_is_complete(farm: Farm) -> None:
    [publish_id] = farm.enqueue(sequence_of(2))
    late = farm.commands.new_record(member_of(), publish_id)
    assert farm.commands.write([late]) == [("storing", False)]
    farm.commands.cancel(publish_id)
    assert farm.commands.write([late]) == [("cancelled", False)]

    assert farm.client.scard(keys.files_key(publish_id)) == 2
    assert farm.state(late.id) == ""


def test_a_publish_fails_if_a_file_failed_before_it_was_complete(farm: Farm) -> None:
    request = sequence_of(2)
    publish_id = begun(farm, request)
    farm.commands.write(farm.commands.new_record(file, publish_id) for file in request.files)
    farm.client.hset(keys.upload_key(request.files[0].upload_id), "state", "failed")

    assert farm.commands._complete(publish_id) == "failed"


def test_a_stored_publish_that_nobody_told_is_found(farm: Farm) -> None:
    [publish_id] = farm.enqueue(sequence_of(2))
    assert farm.record.find_lost() == 0
    # Somebody broke the record while its last file was settled.
    farm.client.delete(keys.left_key(publish_id))

    assert farm.record.find_lost() == 1

    assert farm.state(publish_id) == "pending"


class TestARetry:
    """What ``farmhaul retry`` does with a publish."""

    def test_begins_with_a_clean_record(self, farm: Farm) -> None:
        [publish_id] = farm.enqueue(sequence_of(2))
        fail_one(farm)
        key = keys.upload_key(publish_id)
        farm.client.hset(key, mapping={"tries:Refused": 3, "deliveries:1": 4, "stage": 2})
        assert farm.client.ttl(key) > 0

        assert farm.commands.retry(publish_id) == ("", "storing", True)

        names = ("error", "error_kind", "stage", "worker", "tries:Refused", "deliveries:1")
        assert {name: farm.field(publish_id, name) for name in names} == dict.fromkeys(names, "")
        lasting = (key, keys.files_key(publish_id), keys.left_key(publish_id))
        assert [farm.client.ttl(one) for one in lasting] == [-1, -1, -1]

    def test_is_open_until_its_files_are_enqueued_again(self, farm: Farm) -> None:
        [publish_id] = farm.enqueue(sequence_of(2))
        failed = fail_one(farm)
        run = farm.record.scripts.run

        state, left = run("retry_publish", id=publish_id, ttl_s=60)

        assert (state, len(left)) == ("storing", 2)
        assert farm.client.zscore(keys.OPEN, publish_id) == pytest.approx(farm.now(), abs=5)
        # Its command was killed here.
        assert farm.commands.retry(publish_id) == ("", "storing", True)
        assert farm.state(failed) == "pending"
        assert farm.client.zcard(keys.OPEN) == 0
        assert farm.commands.retry(publish_id).state == "storing"

    def test_looks_at_stored_files_again(self, farm: Farm) -> None:
        [publish_id] = farm.enqueue(sequence_of(2))
        store_all(farm)
        farm.commands.cancel(publish_id)

        assert farm.commands.retry(publish_id) == ("", "storing", True)

        assert farm.field(publish_id, "sent") == "0"
        first, second = farm.deliver(claim="another")
        assert [first.stored, second.stored] == [True, True], "what is stored is known"
        for one in (first, second):
            farm.store(one)
        assert farm.state(publish_id) == "pending"
        assert farm.field(publish_id, "sent") == str(2 * SIZE)

    @pytest.mark.parametrize(("changed", "state"), [(False, "located"), (True, "cancelled")])
    def test_of_a_located_publish_can_be_cancelled(
        self, farm: Farm, state: str, *, changed: bool
    ) -> None:
        [publish_id] = farm.enqueue(sequence_of(2))
        store_all(farm)
        for stage in STAGES:
            [transfer] = farm.deliver(stage)
            farm.settle(transfer, "located" if stage == STAGES[-1] else "advanced")
        farm.commands.retry(publish_id)
        members = farm.client.smembers(keys.files_key(publish_id))
        if changed:
            one, _ = farm.deliver(claim="another")
            farm.settle(one, "advanced", stored="")

        assert farm.commands.cancel(publish_id) == state

        assert farm.states([*members]) == ["cancelled", "cancelled"], "none is sent any more"

    def test_of_a_file_retries_its_publish(self, farm: Farm) -> None:
        shared = member_of()
        first, latest = farm.enqueue(sequence_of(shared), sequence_of(shared))
        fail_one(farm)

        assert farm.commands.retry(shared.upload_id).state == "storing"

        assert farm.states([first, latest]) == ["failed", "storing"]
        assert farm.state(shared.upload_id) == "pending"

    def test_of_an_unknown_publish_changes_nothing(self, farm: Farm) -> None:
        run = farm.record.scripts.run

        assert run("retry_publish", id="unknown", ttl_s=60) == ["", []]
        assert farm.client.keys("*") == []

    def test_of_a_publish_on_its_way_changes_nothing(self, farm: Farm) -> None:
        [publish_id] = farm.enqueue(sequence_of(1))
        store_all(farm)

        assert farm.commands.retry(publish_id) == ("", "pending", False)

    def test_drops_even_a_stored_file_that_has_a_newer_one(self, farm: Farm) -> None:
        frame = Target(str(uuid.uuid4()))
        older, torn = member_of(frame), member_of()
        [publish_id] = farm.enqueue(sequence_of(older, torn))
        one, two = farm.deliver()
        stored, failing = (one, two) if one.upload_id == older.upload_id else (two, one)
        farm.store(stored)
        farm.settle(failing, "failed", error="torn", error_kind="Torn")
        farm.enqueue(file_of(frame))

        assert farm.commands.retry(publish_id).state == "storing"

        assert farm.client.smembers(keys.files_key(publish_id)) == {torn.upload_id}
        assert total(farm, publish_id) == "1"

    def test_of_a_publish_whose_files_all_have_newer_ones_supersedes_it(self, farm: Farm) -> None:
        frame = Target(str(uuid.uuid4()))
        [publish_id] = farm.enqueue(sequence_of(member_of(frame)))
        farm.commands.cancel(publish_id)
        farm.enqueue(file_of(frame))

        assert farm.commands.retry(publish_id) == ("", "superseded", False)

    def test_makes_the_publish_the_current_one_of_its_component(self, farm: Farm) -> None:
        request = sequence_of(1)
        [publish_id] = farm.enqueue(request)
        farm.commands.cancel(publish_id)
        component = keys.COMPONENT + request.component_id
        farm.client.hset(component, mapping={"current": "another", "since": 1})
        farm.client.expire(component, 60)

        farm.commands.retry(publish_id)

        assert farm.client.hget(component, "current") == publish_id
        assert float(farm.client.hget(component, "since")) == pytest.approx(farm.now(), abs=5)
        assert farm.client.ttl(component) == pytest.approx(farm.ttl_s, abs=5)


def test_a_publish_enqueued_again_after_it_ended_begins_anew(farm: Farm) -> None:
    request = sequence_of(2)
    [publish_id] = farm.enqueue(request)
    store_all(farm)
    for stage in STAGES:
        [transfer] = farm.deliver(stage)
        farm.settle(transfer, "located" if stage == STAGES[-1] else "advanced")
    farm.client.hset(keys.upload_key(publish_id), "state", "failed")
    for member in request.files:  # no look is due
        farm.client.hset(keys.upload_key(member.upload_id), "seen", farm.now())

    assert farm.commands.enqueue([request]) == [("pending", True)], "its files are stored"
    assert farm.field(publish_id, "sent") == str(2 * SIZE)


def test_a_file_that_is_stored_in_the_end_has_no_error(farm: Farm) -> None:
    farm.enqueue(sequence_of(1))
    [file] = farm.deliver()
    farm.retry_later(file)
    farm.make_due()
    assert farm.field(file.upload_id, "error")

    store_all(farm)

    assert farm.field(file.upload_id, "error") + farm.field(file.upload_id, "error_kind") == ""
