"""Gates: they close on an outage, and no upload that fails alone closes them or holds up others."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable

import pytest

from tasks.records import keys
from tasks.records.delivery import Settlement
from tasks.records.states import SERVICES, STAGES
from tasks.stage.retry_policy import MAX_ALONE, MAX_URLS_REFUSED, SPLIT_S, retry_plan
from tasks.transfer import errors
from tasks.transfer.models import Transfer
from tests.unit.records import Farm, file_of, sequence_of

CHECKSUM, SIGN, PUT, REGISTER = STAGES
ERRORS = {
    "ftrack": errors.ServiceUnavailableError("ftrack", "503"),
    "store": errors.ServiceUnavailableError("store", "503"),
    "credentials": errors.CredentialsRefusedError("https://a", "no"),
}
#: An error that may be the node's own is handed over first, see test_tried.py.
TRIED_BY_ALL = {"own": ""}
each_service = pytest.mark.parametrize("service", SERVICES)


def claim_on(farm: Farm, node: str) -> list[Transfer]:
    """Claim what is pending, and bring it to the stage in which ftrack signs."""
    claim = str(uuid.uuid4())
    transfers = farm.deliver(CHECKSUM, claim, worker=node)
    farm.record.settle([Settlement(transfer, "advanced") for transfer in transfers])
    return farm.deliver(SIGN, claim, worker=node) if transfers else []


def settle(
    farm: Farm, failing: Iterable[Transfer], service: str, passing: Iterable[Transfer] = ()
) -> dict[str, str]:
    """End the stage of a batch, as a stage does; all that fails is tried again at once."""
    good = list(passing)
    plan = retry_plan(ERRORS[service]) | TRIED_BY_ALL | {"jitter": 0, "at_least_s": 0}
    rows = [Settlement(transfer, "retrying", {}, plan) for transfer in failing]
    rows += [Settlement(transfer, "advanced") for transfer in good]
    return farm.record.settle(rows, [service] if good else [], len(good))


def fail_one(farm: Farm, node: str, service: str) -> None:
    """Let a new upload fail on a node, which had claimed it before the gate closed."""
    gates = {name: farm.client.hgetall(keys.gate_key(name)) for name in SERVICES}
    farm.client.delete(*map(keys.gate_key, SERVICES))
    farm.enqueue(file_of())
    transfers = claim_on(farm, node)
    for name, gate in gates.items():
        if gate:
            farm.client.hset(keys.gate_key(name), mapping=gate)
    plan = retry_plan(ERRORS[service]) | TRIED_BY_ALL | {"jitter": 1, "delay_s": 30, "cap_s": 30}
    farm.record.settle([Settlement(transfer, "retrying", {}, plan) for transfer in transfers])


def closed(farm: Farm, service: str) -> bool:
    return float(farm.client.hget(keys.gate_key(service), "until") or 0) > farm.now()


@each_service
def test_three_uploads_on_two_nodes_close_a_gate(farm: Farm, service: str) -> None:
    farm.take_tasks("w1", "w2")
    fail_one(farm, "w1", service)
    fail_one(farm, "w1", service)
    assert not closed(farm, service)

    fail_one(farm, "w2", service)

    assert closed(farm, service)
    farm.enqueue(file_of())
    assert claim_on(farm, "w1") == claim_on(farm, "w2") == []


@each_service
def test_three_uploads_on_the_only_node_close_a_gate(farm: Farm, service: str) -> None:
    farm.take_tasks("w1")
    for _ in range(3):
        assert not closed(farm, service)
        fail_one(farm, "w1", service)

    assert closed(farm, service)


@pytest.fixture
def due_probe(farm: Farm) -> None:
    """A gate that two nodes of three have closed, and that is to be probed now."""
    farm.take_tasks("w1", "w2", "w3")
    for node in ("w1", "w1", "w2"):
        fail_one(farm, node, "ftrack")
    farm.client.hset(keys.gate_key("ftrack"), "until", farm.now() - 1)


@pytest.mark.usefixtures("due_probe")
def test_a_probe_is_left_to_a_node_that_has_not_failed(farm: Farm) -> None:
    """The others may be behind the same proxy, and are idle first."""
    farm.enqueue(file_of())
    assert farm.record.deliver("in vain", CHECKSUM, "w1").left_to == "w3"

    [probe] = farm.deliver(CHECKSUM, "probe", worker="w3")
    farm.settle(probe, "advanced", node="w3")

    assert farm.record.deliver("probe", SIGN, "w2").left_to == "w3"
    assert farm.deliver(SIGN, "probe", worker="w3")


@pytest.mark.usefixtures("due_probe")
def test_a_probe_is_not_left_to_others_for_long(farm: Farm) -> None:
    """They may be busy."""
    farm.client.hset(keys.gate_key("ftrack"), "until", farm.now() - 11)
    farm.enqueue(file_of())

    assert len(claim_on(farm, "w1")) == 1


@pytest.mark.usefixtures("due_probe")
def test_a_probe_of_what_one_host_alone_sees_is_left_to_nobody(farm: Farm) -> None:
    farm.enqueue(file_of(host="node7"))
    [probe] = farm.deliver(CHECKSUM, "probe", worker="w1", host="node7")
    farm.settle(probe, "advanced", node="w1")

    assert farm.deliver(SIGN, "probe", worker="w1")


@each_service
def test_what_one_node_of_two_meets_holds_that_node_alone(farm: Farm, service: str) -> None:
    farm.take_tasks("w1", "w2")
    for _ in range(5):
        fail_one(farm, "w1", service)
    farm.enqueue(file_of())

    assert not closed(farm, service)
    assert claim_on(farm, "w1") == []
    [passing] = claim_on(farm, "w2")

    settle(farm, [], service, [passing])

    farm.enqueue(file_of())
    assert claim_on(farm, "w1"), "a good answer on any node lets it go on"


@each_service
def test_a_second_node_may_meet_it_with_the_same_uploads(farm: Farm, service: str) -> None:
    farm.take_tasks("w1", "w2")
    for _ in range(3):
        fail_one(farm, "w1", service)
    assert not closed(farm, service)
    farm.make_due()

    settle(farm, claim_on(farm, "w2"), service)  # without a delay

    assert farm.client.hexists(keys.gate_key(service), "until")


@each_service
def test_a_node_that_was_held_tries_one_upload(farm: Farm, service: str) -> None:
    farm.take_tasks("w1", "w2")
    for _ in range(3):
        fail_one(farm, "w1", service)
    farm.enqueue(*(file_of() for _ in range(9)))
    farm.client.hset(keys.gate_key(service), "until:w1", farm.now() - 1)

    [probe] = claim_on(farm, "w1")
    assert len(farm.deliver(CHECKSUM, "another", worker="w2")) > 1, "the others need no probe"

    settle(farm, [], service, [probe])
    farm.enqueue(*(file_of() for _ in range(9)))
    assert len(claim_on(farm, "w1")) > 1


@each_service
def test_one_upload_that_fails_often_closes_no_gate(farm: Farm, service: str) -> None:
    farm.enqueue(file_of())
    for node in ("w1", "w2", "w1", "w1", "w2"):
        [transfer] = claim_on(farm, node)
        settle(farm, [transfer], service)
        farm.make_due()

    assert not closed(farm, service)


def test_the_uploads_of_one_failed_call_are_one_strike(farm: Farm) -> None:
    farm.enqueue(*(file_of() for _ in range(6)))
    transfers = claim_on(farm, "w1")
    ids = [transfer.upload_id for transfer in transfers]
    plan = retry_plan(ERRORS["ftrack"], ids)
    farm.record.settle([Settlement(transfer, "retrying", {}, plan) for transfer in transfers])

    assert not closed(farm, "ftrack")
    assert farm.client.hget(keys.gate_key("ftrack"), "strikes") == "1"
    farm.make_due()
    assert [len(claim_on(farm, "w1")) for _ in range(6)] == [1] * 6, "each is claimed alone"


@pytest.mark.parametrize(
    ("service", "strikes"), [("ftrack", "1"), ("credentials", "1"), ("store", "6")]
)
def test_the_files_of_a_publish_are_one_strike(farm: Farm, service: str, strikes: str) -> None:
    """All call ftrack for the same version, but each is sent by itself."""
    farm.enqueue(sequence_of(6))

    settle(farm, claim_on(farm, "w1"), service)

    assert farm.client.hget(keys.gate_key(service), "strikes") == strikes


def test_the_files_of_a_publish_that_failed_are_claimed_apart(farm: Farm) -> None:
    for request in (file_of(), sequence_of(3), sequence_of(2), file_of()):
        farm.enqueue(request)
        time.sleep(0.002)  # the oldest is first, by milliseconds
    transfers = claim_on(farm, "w1")
    plan = retry_plan(ERRORS["ftrack"], [transfer.upload_id for transfer in transfers])
    farm.record.settle([Settlement(transfer, "retrying", {}, plan) for transfer in transfers])
    farm.enqueue(file_of())
    farm.make_due()

    assert sorted(len(claim_on(farm, "w1")) for _ in range(5)) == [1, 1, 1, 2, 3]


def test_a_publish_that_fails_while_others_pass_is_no_sign(farm: Farm) -> None:
    for _ in range(3):
        farm.enqueue(sequence_of(4))
        settle(farm, claim_on(farm, "w1"), "ftrack")
    farm.client.delete(keys.gate_key("ftrack"))
    farm.enqueue(file_of())
    settle(farm, [], "ftrack", claim_on(farm, "w1"))
    farm.make_due()
    for _ in range(3):
        transfers = claim_on(farm, "w1")
        assert len(transfers) == 4
        settle(farm, transfers, "ftrack")

    assert farm.client.exists(keys.gate_key("ftrack")) == 0


def test_a_publish_that_fails_again_waits_longer_and_stays_together(farm: Farm) -> None:
    """Nobody tells a poison from an outage that nothing else meets."""
    farm.enqueue(sequence_of(4))
    delays = []
    for _ in range(4):
        transfers = claim_on(farm, "w1")
        ids = [transfer.upload_id for transfer in transfers]
        plans = [retry_plan(ERRORS["ftrack"], ids) | TRIED_BY_ALL for _ in ids]
        plans[0]["jitter"] = 1  # each has its own
        rows = zip(transfers, plans, strict=True)
        farm.record.settle([Settlement(one, "retrying", {}, plan) for one, plan in rows])
        due = {score for _, score in farm.client.zrange(keys.RETRYING, 0, -1, withscores=True)}
        delays.append(due.pop() - farm.now())
        assert delays[0] <= SPLIT_S or not due
        farm.make_due()

    assert delays[1:] == pytest.approx([4, 8, 16], abs=1)


@each_service
@pytest.mark.parametrize(("away_s", "is_due"), [(11, True), (5, False)])
def test_what_an_outage_failed_is_due_when_it_ends(
    farm: Farm, service: str, *, away_s: int, is_due: bool
) -> None:
    """An overloaded service fails some, too, and needs the backoff."""
    gate = keys.gate_key(service)
    farm.enqueue(file_of(), file_of())
    failing, missing = claim_on(farm, "w1")
    plan = retry_plan(ERRORS[service]) | TRIED_BY_ALL | {"jitter": 1, "cap_s": 300}
    plan |= {"at_least_s": 200}
    for transfer, gate_of in ((failing, service), (missing, "")):
        farm.record.settle([Settlement(transfer, "retrying", {}, plan | {"gate": gate_of})])
    farm.client.hset(gate, "since", farm.now() - away_s)
    farm.enqueue(file_of())

    settle(farm, [], service, claim_on(farm, "w2"))

    farm.record.apply_due()
    states = farm.states([failing.upload_id, missing.upload_id])
    assert states == ["pending" if is_due else "retrying", "retrying"]
    assert not farm.client.exists(gate)


def test_what_failed_alone_waits_out_its_backoff_after_an_outage(farm: Farm) -> None:
    [bad] = farm.enqueue(file_of())
    for _ in range(3):
        settle(farm, claim_on(farm, "w1"), "ftrack")
        farm.enqueue(*(file_of() for _ in range(2)))
        settle(farm, [], "ftrack", claim_on(farm, "w1"))
        farm.make_due()
    assert farm.field(bad, "failed_alone")
    [transfer] = claim_on(farm, "w1")
    plan = retry_plan(ERRORS["ftrack"]) | TRIED_BY_ALL | {"jitter": 1}
    farm.record.settle([Settlement(transfer, "retrying", {}, plan)])
    fail_one(farm, "w1", "ftrack")
    farm.client.hset(keys.gate_key("ftrack"), "since", farm.now() - 60)
    farm.enqueue(file_of())

    settle(farm, [], "ftrack", claim_on(farm, "w1"))

    farm.record.apply_due()
    assert farm.state(bad) == "retrying"


def longest_delay_of_a_batch(farm: Farm, error: errors.RetryableError) -> float:
    """Let one call fail for a batch, and return the delay of the upload that waits longest."""
    transfers = claim_on(farm, "w1")
    plan = retry_plan(error, [transfer.upload_id for transfer in transfers]) | TRIED_BY_ALL
    farm.record.settle([Settlement(transfer, "retrying", {}, plan) for transfer in transfers])
    [(_, due)] = farm.client.zrange(keys.RETRYING, -1, -1, withscores=True)
    return float(due - farm.now())


def test_what_one_call_failed_for_is_tried_alone_soon(farm: Farm) -> None:
    """A refused key waits a minute, but one upload must not delay those of its batch by that."""
    farm.enqueue(*(file_of() for _ in range(6)))
    assert longest_delay_of_a_batch(farm, ERRORS["credentials"]) <= SPLIT_S

    farm.enqueue(*(file_of() for _ in range(6)))
    asks = errors.ServiceUnavailableError("ftrack", "429", 40)
    assert longest_delay_of_a_batch(farm, asks) >= 39


def test_in_an_outage_a_batch_waits_as_one_upload_does(farm: Farm) -> None:
    farm.enqueue(*(file_of() for _ in range(6)))
    farm.client.hset(keys.gate_key("credentials"), mapping={"since": farm.now(), "strikes": 2})

    assert longest_delay_of_a_batch(farm, ERRORS["credentials"]) >= 59
    assert closed(farm, "credentials")


def test_in_an_outage_uploads_stay_in_their_batches(farm: Farm) -> None:
    farm.enqueue(*(file_of() for _ in range(6)))
    transfers = claim_on(farm, "w1")
    for _ in range(3):
        fail_one(farm, "w1", "store")
    assert closed(farm, "store")

    settle(farm, transfers, "store")

    farm.client.delete(keys.gate_key("store"))
    farm.client.zadd(keys.RETRYING, dict.fromkeys([one.upload_id for one in transfers], 0))
    farm.record.apply_due()
    assert len(claim_on(farm, "w1")) == 6


def test_a_probe_takes_an_upload_that_has_not_failed(farm: Farm) -> None:
    bad = farm.enqueue(*(file_of() for _ in range(3)))
    settle(farm, claim_on(farm, "w1"), "store")
    [good] = farm.enqueue(file_of())
    farm.make_due()
    farm.client.hset(keys.gate_key("store"), "until", 1)

    [probe] = claim_on(farm, "w1")

    assert probe.upload_id == good
    assert set(farm.states(bad)) == {"pending"}


@each_service
def test_a_fresh_upload_does_not_wait_for_as_long_as_poisons(farm: Farm, service: str) -> None:
    gate = keys.gate_key(service)
    for _ in range(3):
        fail_one(farm, "w1", service)
    farm.make_due()
    farm.client.hset(gate, "fresh", 1)
    assert closed(farm, service)
    assert claim_on(farm, "w1") == [], "each of them has failed"

    [good] = farm.enqueue(file_of())
    assert claim_on(farm, "w1") == [], "they were looked at just now"
    farm.client.hset(gate, "fresh", 1)
    assert [probe.upload_id for probe in claim_on(farm, "w1")] == [good]
    farm.enqueue(file_of())
    assert claim_on(farm, "w1") == [], "one probe at a time"


@each_service
def test_a_service_may_ask_fresh_uploads_to_wait_for_longer(farm: Farm, service: str) -> None:
    farm.enqueue(file_of())
    [transfer] = claim_on(farm, "w1")
    plan = retry_plan(ERRORS[service]) | TRIED_BY_ALL | {"at_least_s": 900}
    farm.record.settle([Settlement(transfer, "retrying", {}, plan)])

    fresh = float(farm.client.hget(keys.gate_key(service), "fresh") or 0)
    assert fresh == pytest.approx(farm.now() + 900, abs=30)


def test_a_probe_takes_an_upload_that_has_failed_at_no_service(farm: Farm) -> None:
    """One that fails at ftrack never reaches the store, which is to be probed."""
    [poison] = farm.enqueue(file_of())
    settle(farm, claim_on(farm, "w1"), "ftrack")
    farm.enqueue(file_of())
    settle(farm, claim_on(farm, "w1"), "store")
    [good] = farm.enqueue(file_of())
    farm.make_due()

    for upload_id in (good, poison):  # the second is the better one of two
        farm.client.hset(keys.gate_key("store"), mapping={"until": 1, "probed": 0})
        [probe] = claim_on(farm, "w1")
        assert probe.upload_id == upload_id


def test_a_probe_takes_an_upload_that_has_failed_the_least(farm: Farm) -> None:
    """What fails again and again has a fault of its own; what failed once was in its batch."""
    often, once = farm.enqueue(file_of(), file_of())
    for upload_id, retries in ((often, 5), (once, 1)):
        fields = {"since": farm.now(), "retries": retries}
        farm.client.hset(keys.upload_key(upload_id), mapping=fields)
    farm.client.zadd(keys.PENDING, {often: 0})
    farm.client.hset(keys.gate_key("store"), "until", 1)

    assert [probe.upload_id for probe in claim_on(farm, "w1")] == [once]


def test_after_a_probe_that_failed_elsewhere_the_next_one_may_begin(farm: Farm) -> None:
    farm.take_tasks("w1", "w2")
    farm.enqueue(*(file_of() for _ in range(3)))
    farm.client.hset(keys.gate_key("store"), "until", 1)
    poison = claim_on(farm, "w1")
    assert claim_on(farm, "w2") == [], "one probe at a time"

    settle(farm, poison, "ftrack")

    [another] = claim_on(farm, "w2")
    assert another.upload_id != poison[0].upload_id


@pytest.mark.parametrize("end", ["cancelled", "superseded", "its worker was killed"])
def test_after_a_probe_that_was_taken_away_the_next_one_may_begin(farm: Farm, end: str) -> None:
    farm.take_tasks("w1", "w2")
    farm.enqueue(*(file_of() for _ in range(3)))
    farm.client.hset(keys.gate_key("store"), "until", 1)
    [probe] = claim_on(farm, "w1")
    assert claim_on(farm, "w2") == [], "one probe at a time"

    if end == "cancelled":
        assert farm.commands.cancel(probe.upload_id) == "cancelled"
    elif end == "superseded":
        farm.enqueue(file_of(probe.target))
        assert farm.state(probe.upload_id) == "superseded"
    else:
        claim = farm.field(probe.upload_id, "claim")
        farm.client.zadd(keys.CLAIMS, {claim: 1})
        assert farm.record.reclaim(claim) == 1

    assert len(claim_on(farm, "w2")) == 1


def test_without_another_upload_a_probe_takes_one_that_has_failed(farm: Farm) -> None:
    farm.enqueue(*(file_of() for _ in range(3)))
    settle(farm, claim_on(farm, "w1"), "store")
    farm.make_due()
    farm.client.hset(keys.gate_key("store"), "until", 1)

    assert len(claim_on(farm, "w1")) == 1


@each_service
def test_an_upload_that_fails_alone_fails_in_the_end_by_itself(farm: Farm, service: str) -> None:
    [bad] = farm.enqueue(file_of())
    states = []
    for _ in range(MAX_ALONE + 1):
        [transfer] = claim_on(farm, "w1")
        states.append(settle(farm, [transfer], service)[bad])
        assert not farm.client.hget(keys.gate_key(service), "until")
        farm.enqueue(*(file_of() for _ in range(2)))
        settle(farm, [], service, claim_on(farm, "w1"))
        farm.make_due()

    assert states == ["retrying"] * MAX_ALONE + ["failed"]
    assert farm.field(bad, "error_kind") == "FailsAloneError"
    assert f"has failed {MAX_ALONE} times for this upload alone" in farm.field(bad, "error")
    assert farm.counted("failed") == {"FailsAloneError": 1}


def test_only_a_url_that_is_refused_alone_fails_its_upload(farm: Farm) -> None:
    plan = retry_plan(errors.UrlRefusedError("a component", 403, "AccessDenied")) | {"jitter": 0}
    [bad] = farm.enqueue(file_of())

    def refused() -> str:
        farm.make_due()
        [transfer] = claim_on(farm, "w1")
        return farm.record.settle([Settlement(transfer, "retrying", {}, plan)], reached=True)[bad]

    assert [refused() for _ in range(20)] == ["retrying"] * 20
    states = []
    for _ in range(MAX_URLS_REFUSED):
        farm.enqueue(*(file_of() for _ in range(2)))
        settle(farm, [], "store", claim_on(farm, "w1"))
        states.append(refused())
    assert states == ["retrying"] * (MAX_URLS_REFUSED - 1) + ["failed"]
    assert farm.field(bad, "error_kind") == "UrlRefusedError"


@each_service
def test_it_counts_again_after_a_retry_by_hand(farm: Farm, service: str) -> None:
    test_an_upload_that_fails_alone_fails_in_the_end_by_itself(farm, service)
    [bad] = farm.client.zrange(keys.state_key("failed"), 0, -1)

    farm.commands.retry(bad)
    [transfer] = claim_on(farm, "w1")

    assert settle(farm, [transfer], service) == {bad: "retrying"}


@each_service
def test_the_only_upload_fails_alone_if_control_calls_are_answered(
    farm: Farm, service: str
) -> None:
    [bad] = farm.enqueue(file_of())
    plan = retry_plan(ERRORS[service]) | TRIED_BY_ALL | {"jitter": 0, "at_least_s": 0}
    states: list[str] = []
    for _ in range(MAX_ALONE + 1):
        [transfer] = claim_on(farm, "w1")
        # Its stage has made a control call; that opens no gate.
        states += farm.record.settle([Settlement(transfer, "retrying", {}, plan)], [], 1).values()
        farm.make_due()

    assert states == ["retrying"] * MAX_ALONE + ["failed"]
    assert farm.field(bad, "error_kind") == "FailsAloneError"


def test_an_outage_of_days_is_waited_out(farm: Farm) -> None:
    [upload_id] = farm.enqueue(file_of())
    for _ in range(3 * MAX_ALONE):
        [transfer] = claim_on(farm, "w1")
        assert settle(farm, [transfer], "ftrack") == {upload_id: "retrying"}
        farm.make_due()


def test_a_service_that_fails_half_of_all_fails_none_of_them_alone(farm: Farm) -> None:
    [unlucky] = farm.enqueue(file_of())
    for _ in range(3 * MAX_ALONE):
        [transfer] = claim_on(farm, "w1")
        settle(farm, [transfer], "store")
        farm.enqueue(*(file_of() for _ in range(6)))
        batch = claim_on(farm, "w1")
        settle(farm, batch[:3], "store", batch[3:])
        for one in batch[:3]:
            farm.commands.cancel(one.upload_id)
        farm.client.delete(keys.gate_key("store"))
        farm.make_due()

    assert farm.state(unlucky) == "pending"


def test_what_one_node_alone_cannot_do_fails_no_upload(farm: Farm) -> None:
    farm.take_tasks("bad", "good")
    [unlucky] = farm.enqueue(file_of())
    for _ in range(3 * MAX_ALONE):
        [transfer] = claim_on(farm, "bad")
        settle(farm, [transfer], "store")
        farm.enqueue(*(file_of() for _ in range(3)))
        settle(farm, [], "store", claim_on(farm, "good"))
        farm.make_due()

    assert farm.state(unlucky) == "pending"


def test_an_upload_that_recovers_has_not_failed(farm: Farm) -> None:
    [upload_id] = farm.enqueue(file_of())
    for _ in range(2):
        settle(farm, claim_on(farm, "w1"), "ftrack")
        farm.make_due()
    settle(farm, [], "ftrack", claim_on(farm, "w1"))

    assert farm.field(upload_id, "failed") == farm.field(upload_id, "failed_alone") == ""


def test_a_claim_that_was_cut_short_asks_for_another_wake_up(farm: Farm) -> None:
    farm.enqueue(*(file_of() for _ in range(3)))
    assert farm.record.deliver("all", CHECKSUM, "w1").to_wake == []
    farm.client.flushall()
    ids = farm.enqueue(*(file_of() for _ in range(3)))
    for upload_id in ids:
        farm.client.hset(keys.upload_key(upload_id), "exclusive", 1)

    asked = [farm.record.deliver(str(number), CHECKSUM, "w1").to_wake for number in range(3)]

    assert asked == [[""], [""], []]


def test_a_batch_that_is_taken_apart_asks_for_a_wake_up(farm: Farm) -> None:
    farm.enqueue(file_of(host="node7"), file_of(host="node7"))
    for _ in range(2):
        assert len(farm.deliver(host="node7")) == 2

    delivery = farm.record.deliver("claim", CHECKSUM, "w1", host="node7")

    assert (delivery.transfers, delivery.to_wake) == ([], ["node7"])
