"""Deliveries: what a claim takes, what passes a gate, and who may send bytes to a component."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from tasks.records import keys
from tasks.records.record import MAX_DELIVERIES
from tasks.records.states import STAGES
from tasks.transfer.models import LARGE_BYTES, FileIdentity
from tasks.transfer.targets import Target
from tests.unit.records import LEASE_S, SIZE, Farm, file_of, member_of, sequence_of

CHECKSUM, SIGN, PUT, REGISTER = STAGES


def test_a_delivery_shows_who_runs_which_stage(farm: Farm) -> None:
    [upload_id] = farm.enqueue(file_of())

    farm.pass_stages(SIGN)

    assert [farm.field(upload_id, name) for name in ("stage", "worker")] == ["2", "w1"]


def test_a_later_stage_is_told_what_is_known_of_the_file(farm: Farm) -> None:
    sized, unsized = farm.enqueue(file_of(), file_of(size=None))
    identity = FileIdentity(SIZE, 1, 2, 3)
    delivery = farm.record.deliver("claim", CHECKSUM, "w1")
    assert delivery.unsized == {unsized}
    for transfer in delivery.transfers:
        known = replace(transfer, identity=identity, checksum="x")
        stored = "x" if transfer.upload_id == sized else ""
        farm.settle(transfer, "advanced", file=farm.record.form.file_field(known), stored=stored)

    transfers = {transfer.upload_id: transfer for transfer in farm.deliver(SIGN)}

    assert [transfers[one].identity for one in (sized, unsized)] == [identity, identity]
    assert [transfers[one].stored for one in (sized, unsized)] == [True, False]


def test_a_record_that_cannot_be_read_holds_no_other_back(farm: Farm) -> None:
    odd, *others = sorted(farm.enqueue(file_of(), file_of(), file_of()))
    farm.client.zadd(keys.PENDING, {odd: 0})  # it is delivered first
    farm.client.hset(keys.upload_key(odd), "request", "no JSON")

    delivery = farm.record.deliver("claim", CHECKSUM, "w1")

    assert sorted(transfer.upload_id for transfer in delivery.transfers) == others
    [refused] = delivery.refused
    assert refused.transfer.upload_id == odd
    assert farm.record.settle(delivery.refused) == {odd: "failed"}


def test_only_a_message_that_comes_again_counts_as_redelivered(farm: Farm) -> None:
    farm.enqueue(file_of())
    farm.pass_stages(SIGN)
    assert farm.counted("redelivered") == 0

    farm.deliver(SIGN)

    assert farm.counted("redelivered") == 1


@pytest.mark.parametrize("stage", [CHECKSUM, REGISTER])
def test_a_stage_is_delivered_neither_after_its_turn_nor_before(farm: Farm, stage: str) -> None:
    farm.enqueue(file_of())
    [transfer] = farm.pass_stages(SIGN)

    assert farm.deliver(stage) == []
    assert farm.deliver(SIGN)[0].fence == transfer.fence + 1


def test_a_later_stage_waits_for_the_first_one_of_its_claim(farm: Farm) -> None:
    """Its message may be one of an older claim, which was made again under its id."""
    farm.enqueue(file_of())
    [transfer] = farm.deliver()

    assert farm.deliver(SIGN) == []
    assert farm.settle(transfer, "advanced") == "active"


def test_a_claim_lasts_two_leases_and_is_forgotten_after_a_week(farm: Farm) -> None:
    farm.enqueue(file_of())
    farm.deliver()

    assert farm.client.zscore(keys.CLAIMS, "claim") == pytest.approx(
        farm.now() + 0.75 * LEASE_S, abs=2
    )
    assert farm.client.ttl(keys.CLAIM + "claim") == pytest.approx(7 * 86400, abs=5)


def test_an_empty_delivery_leaves_no_claim(farm: Farm) -> None:
    assert farm.deliver() == []

    assert farm.client.zcard(keys.CLAIMS) == 0


@pytest.mark.parametrize(("size", "together"), [(LARGE_BYTES, True), (LARGE_BYTES + 1, False)])
def test_a_file_shares_its_claim_up_to_the_large_size(
    farm: Farm, size: int, together: bool
) -> None:
    farm.enqueue(file_of(size=size, priority="urgent"), file_of())

    assert len(farm.deliver()) == (2 if together else 1)


def test_a_publish_that_is_stored_has_a_claim_of_its_own(farm: Farm) -> None:
    publish = sequence_of(1)
    [publish_id] = farm.enqueue(publish)
    [frame] = farm.deliver()
    farm.store(frame)
    farm.enqueue(file_of(priority="low"))

    assert [transfer.upload_id for transfer in farm.deliver()] == [publish_id]


def test_a_node_claims_only_what_it_sees(farm: Farm) -> None:
    everywhere, local = farm.enqueue(file_of(), file_of(host="node7"))

    assert [one.upload_id for one in farm.deliver(claim="a", host="node8")] == []
    assert [one.upload_id for one in farm.deliver(claim="b", host="node7")] == [local]
    assert [one.upload_id for one in farm.deliver(claim="c")] == [everywhere]


def test_an_upload_keeps_its_deliveries_when_its_batch_is_split(farm: Farm) -> None:
    upload_id, _ = farm.enqueue(file_of(priority="urgent"), file_of())
    for _ in range(3):  # twice it was carried out, then the batch was taken apart
        farm.deliver()

    for _ in range(MAX_DELIVERIES - 2):
        assert [one.upload_id for one in farm.deliver(claim="alone")] == [upload_id]
    assert farm.deliver(claim="alone") == []
    assert farm.field(upload_id, "error_kind") == "WorkerKilled"


def test_who_held_a_batch_that_was_split_is_locked_out(farm: Farm) -> None:
    farm.enqueue(file_of(), file_of())
    farm.deliver()
    held = farm.deliver()

    farm.deliver()
    assert not farm.client.exists(keys.CLAIM + "claim", keys.CLAIMS)
    farm.deliver(claim="another")

    assert {farm.settle(transfer, "advanced") for transfer in held} == {"lost"}


def test_a_gate_that_is_open_needs_no_probe(farm: Farm) -> None:
    gate = keys.gate_key("store")
    farm.client.hset(gate, mapping={"strikes": 1, "since": 1})
    farm.enqueue(file_of())

    assert farm.deliver()
    assert farm.client.hget(gate, "probed") is None


def test_a_probe_without_an_answer_is_repeated_after_the_lease(farm: Farm) -> None:
    gate = keys.gate_key("store")
    farm.client.hset(gate, mapping={"strikes": 3, "until": 1})
    farm.enqueue(file_of())
    assert farm.deliver(claim="probe")
    assert float(farm.client.hget(gate, "probed")) == pytest.approx(farm.now() + LEASE_S, abs=5)
    farm.enqueue(file_of())
    assert farm.deliver(claim="behind it") == []

    farm.client.hset(gate, "probed", farm.now() - 1)

    assert farm.deliver(claim="the next probe")


def test_a_probe_that_found_nothing_to_do_is_not_used_up(farm: Farm) -> None:
    farm.client.hset(keys.gate_key("store"), mapping={"strikes": 3, "until": 1})
    assert farm.deliver(claim="too early") == []
    farm.enqueue(file_of())

    assert farm.deliver(claim="probe")


class TestAnOlderUploadThatIsStillSending:
    """A newer upload waits with its bytes: the store keeps those that come last."""

    @pytest.fixture
    def component(self) -> Target:
        return Target(str(uuid.uuid4()))

    @pytest.fixture
    def older(self, farm: Farm, component: Target) -> str:
        [older] = farm.enqueue(file_of(component))
        farm.pass_stages(PUT, "older")
        return older

    @pytest.mark.usefixtures("older")
    def test_holds_back_a_newer_one_of_the_component(self, farm: Farm, component: Target) -> None:
        [newer] = farm.enqueue(file_of(component))

        assert farm.pass_stages(SIGN, "newer")
        farm.settle(farm.deliver(SIGN, "newer")[0], "advanced")
        assert farm.deliver(PUT, "newer") == []

        assert farm.state(newer) == "retrying"
        assert "older upload" in farm.field(newer, "retry_reason")
        due, updated = (float(farm.field(newer, name)) for name in ("due", "updated"))
        assert due - updated == pytest.approx(2, abs=0.001)
        assert farm.counted("retried") == 0, "it is no error of its own"
        assert not farm.client.exists(keys.CLAIM + "newer")

    @pytest.mark.usefixtures("older")
    def test_holds_back_a_newer_one_as_long_as_it_takes(
        self, farm: Farm, component: Target
    ) -> None:
        [newer] = farm.enqueue(file_of(component))
        for number in range(MAX_DELIVERIES + 1):
            assert farm.pass_stages(PUT, f"try {number}") == []
            assert farm.state(newer) == "retrying"
            farm.make_due()

        assert farm.state(newer) == "pending"
        assert farm.counted("failed") == 0

    @pytest.mark.usefixtures("older")
    @pytest.mark.parametrize("size", [LARGE_BYTES, LARGE_BYTES + 1])
    def test_holds_back_the_last_stage_of_a_large_file_alone(
        self, farm: Farm, component: Target, size: int
    ) -> None:
        putting = keys.COMPONENT + component.component_id
        held = farm.client.hgetall(putting)
        farm.enqueue(file_of(component, size=size))
        farm.client.hdel(putting, "putting")
        [transfer] = farm.pass_stages(PUT, "newer")
        farm.settle(transfer, "advanced")
        farm.client.hset(putting, mapping=held)

        assert bool(farm.deliver(REGISTER, "newer")) is (size == LARGE_BYTES)

    def test_that_is_silent_for_its_lease_has_stopped(
        self, farm: Farm, component: Target, older: str
    ) -> None:
        putting = keys.COMPONENT + component.component_id
        assert farm.client.hget(putting, "putting") == older
        until = float(farm.client.hget(putting, "putting_until"))
        assert until == pytest.approx(farm.now() + LEASE_S, abs=5)
        farm.enqueue(file_of(component))
        farm.client.hset(putting, "putting_until", farm.now() - 0.1)

        assert farm.pass_stages(PUT, "newer")

    def test_frees_the_component_when_it_says_that_it_has_stopped(
        self, farm: Farm, component: Target
    ) -> None:
        farm.enqueue(file_of(component))
        [sender] = farm.pass_stages(PUT, "older")
        farm.enqueue(file_of(component))

        assert farm.settle(sender, "advanced") == "lost"

        assert farm.pass_stages(PUT, "newer")

    def test_keeps_the_component_while_its_heart_beats(self, farm: Farm, component: Target) -> None:
        [older] = farm.enqueue(file_of(component))
        [sender] = farm.pass_stages(PUT, "older")
        farm.enqueue(file_of(component))
        putting = keys.COMPONENT + component.component_id
        farm.client.hset(putting, "putting_until", farm.now() - 0.1)

        assert farm.record.heartbeat("older", {older: (sender.fence, 5)}) == {older}

        until = float(farm.client.hget(putting, "putting_until"))
        assert until == pytest.approx(farm.now() + LEASE_S, abs=5)
        assert farm.pass_stages(PUT, "newer") == []

    def test_a_delivery_that_was_replaced_holds_nothing(
        self, farm: Farm, component: Target
    ) -> None:
        farm.enqueue(file_of(component))
        [replaced] = farm.pass_stages(PUT)
        farm.deliver(PUT)

        farm.settle(replaced, "advanced")

        assert farm.client.hget(keys.COMPONENT + component.component_id, "putting")


def test_the_last_stage_of_a_publish_waits_for_another_sender(farm: Farm) -> None:
    publish = sequence_of(member_of())
    farm.enqueue(publish)
    [frame] = farm.deliver()
    farm.store(frame)
    for stage in STAGES[:-1]:
        [transfer] = farm.deliver(stage, "publish")
        farm.settle(transfer, "advanced")
    putting = {"putting": "another", "putting_fence": 1, "putting_until": farm.now() + 60}
    farm.client.hset(keys.COMPONENT + publish.component_id, mapping=putting)

    assert farm.deliver(REGISTER, "publish") == []


def test_a_heartbeat_notes_progress_and_keeps_the_claim(farm: Farm) -> None:
    [upload_id] = farm.enqueue(file_of())
    [transfer] = farm.pass_stages(PUT)
    farm.client.zadd(keys.CLAIMS, {"claim": 1})
    farm.client.hset(keys.upload_key(upload_id), "updated", 1)

    for sent_bytes, shown in ((0, "0"), (5, "5"), (-1, "5")):
        assert farm.record.heartbeat("claim", {upload_id: (transfer.fence, sent_bytes)}) == set()
        assert farm.field(upload_id, "sent") == shown
    assert float(farm.field(upload_id, "updated")) == pytest.approx(farm.now(), abs=5)

    assert farm.client.zscore(keys.CLAIMS, "claim") == pytest.approx(
        farm.now() + 0.75 * LEASE_S, abs=2
    )
    farm.record.heartbeat("a claim that has ended", {})
    assert farm.client.zcard(keys.CLAIMS) == 1


def test_a_worker_renews_the_messages_and_claims_that_it_holds(farm: Farm) -> None:
    farm.client.zadd(keys.CLAIMS, {"held": 1, "another's": 1})
    farm.client.zadd(keys.LUA_KEYS["unacked_index"], {"tag": 1})

    farm.record.renew(1234.5, ["tag", "gone"], ["held", "gone"])

    assert farm.client.zrange(keys.LUA_KEYS["unacked_index"], 0, -1, withscores=True) == [
        ("tag", 1234.5)
    ]
    other, held = farm.client.zrange(keys.CLAIMS, 0, -1, withscores=True)
    assert other == ("another's", 1)
    assert held == ("held", pytest.approx(farm.now() + 0.75 * LEASE_S, abs=5))
