"""Settlements: gates, retries, recovery, and what an upload leaves behind when it ends."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from tasks.records import keys
from tasks.records.delivery import Settlement
from tasks.records.record import MAX_DELIVERIES
from tasks.records.states import STAGES, STATES
from tasks.records.status import Status
from tasks.transfer.models import LARGE_BYTES
from tests.unit.records import SIZE, Farm, file_of, sequence_of

CHECKSUM, SIGN, PUT, REGISTER = STAGES
STORE = keys.gate_key("store")
DAY_S = 86400


def strike(farm: Farm, times: int = 1, delay_s: float = 30) -> None:
    """Let uploads fail because the store is down, even those that were claimed before."""
    for _ in range(times):
        farm.enqueue(file_of())
        gate = farm.client.hgetall(STORE)
        farm.client.delete(STORE)
        [transfer] = farm.deliver(claim=str(uuid.uuid4()))
        if gate:
            farm.client.hset(STORE, mapping=gate)
        farm.retry_later(transfer, gate="store", delay_s=delay_s, cap_s=delay_s)


def test_a_gate_stays_closed_for_the_delay_of_the_retry(farm: Farm) -> None:
    strike(farm, 2)
    assert "until" not in farm.client.hgetall(STORE)

    strike(farm)

    gate = farm.client.hgetall(STORE)
    assert float(gate["until"]) == pytest.approx(farm.now() + 30, abs=5)
    assert float(gate["since"]) == pytest.approx(farm.now(), abs=5)
    assert farm.client.ttl(STORE) == pytest.approx(DAY_S, abs=5)
    assert farm.counted("outages") == {"store": 1}


def test_an_outage_counts_once_while_its_gate_is_closed(farm: Farm) -> None:
    strike(farm, 3)
    until = farm.client.hget(STORE, "until")

    strike(farm, 2, delay_s=60)

    assert farm.client.hget(STORE, "until") == until
    assert farm.counted("outages") == {"store": 1}


def test_a_probe_that_fails_closes_the_gate_again(farm: Farm) -> None:
    strike(farm, 3)
    farm.client.hset(STORE, mapping={"until": 1, "probed": 9e9})

    strike(farm)

    assert float(farm.client.hget(STORE, "until")) == pytest.approx(farm.now() + 30, abs=5)
    assert farm.client.hget(STORE, "probed") is None, "the next probe is due after the delay"
    assert farm.counted("outages") == {"store": 2}


def test_an_error_of_the_upload_alone_closes_no_gate(farm: Farm) -> None:
    farm.enqueue(file_of())
    [transfer] = farm.deliver()

    farm.retry_later(transfer, gate="")

    assert farm.client.keys(keys.GATE + "*") == []


def test_a_retry_says_why_and_when_and_is_counted(farm: Farm) -> None:
    [upload_id] = farm.enqueue(file_of())
    [transfer] = farm.deliver()

    farm.retry_later(transfer, delay_s=4)

    assert farm.field(upload_id, "retry_reason") == farm.field(upload_id, "error_kind") == "Refused"
    due, updated = (float(farm.field(upload_id, name)) for name in ("due", "updated"))
    assert due - updated == pytest.approx(4, abs=0.001)
    assert farm.client.zscore(keys.RETRYING, upload_id) == pytest.approx(due, abs=0.001)
    assert farm.counted("retried") == {"Refused": 1}


def test_a_retry_ends_the_claim_and_locks_its_worker_out(farm: Farm) -> None:
    farm.enqueue(file_of())
    [transfer] = farm.deliver()
    farm.retry_later(transfer)
    assert farm.client.zcard(keys.CLAIMS) == 0
    assert not farm.client.exists(keys.CLAIM + "claim")

    farm.make_due()
    [again] = farm.deliver()

    assert farm.settle(transfer, "located") == "lost"
    assert farm.settle(again, "located") == "located"


def test_the_reconciler_looks_at_a_due_upload_once(farm: Farm) -> None:
    farm.enqueue(file_of())
    [transfer] = farm.deliver()
    farm.retry_later(transfer)

    farm.make_due()

    assert farm.client.zcard(keys.RETRYING) == 0


def test_a_claim_lasts_until_its_last_upload_has_left_it(farm: Farm) -> None:
    farm.enqueue(file_of(), file_of())
    first, second = farm.pass_stages(REGISTER)

    farm.settle(first, "located")
    assert farm.client.smembers(keys.CLAIM + "claim") == {second.upload_id}
    assert farm.client.zcard(keys.CLAIMS) == 1

    farm.settle(second, "located")
    assert farm.client.zcard(keys.CLAIMS) == 0


def test_an_error_is_shown_until_the_stage_that_failed_has_succeeded(farm: Farm) -> None:
    [upload_id] = farm.enqueue(file_of())
    [transfer] = farm.pass_stages(PUT)
    farm.retry_later(transfer)
    farm.make_due()
    names = ("error", "error_kind", "since", "retries", "retry_stage", "retry_reason", "due")

    def shown() -> set[str]:
        return {name for name in names if farm.field(upload_id, name)}

    for stage in (CHECKSUM, SIGN):
        [transfer] = farm.deliver(stage)
        farm.settle(transfer, "advanced")
        assert shown() == {*names}
    [transfer] = farm.deliver(PUT)
    farm.settle(transfer, "advanced")

    assert shown() == set()
    assert farm.field(upload_id, "tries:Refused") == "1", "an error that comes back becomes final"


def test_a_stage_that_was_settled_has_not_killed_its_worker(farm: Farm) -> None:
    farm.enqueue(file_of())
    for _ in range(2):
        for _ in range(MAX_DELIVERIES):
            [transfer] = farm.deliver()
        farm.retry_later(transfer)
        farm.make_due()

    assert farm.deliver()


def test_what_is_put_back_can_be_claimed_again_at_once(farm: Farm) -> None:
    upload_id, _ = farm.enqueue(file_of(), file_of())
    transfer, other = sorted(farm.deliver(), key=lambda one: one.upload_id != upload_id)

    assert farm.settle(transfer, "pending", size=5) == "pending"

    assert farm.field(upload_id, "size") == "5"
    assert farm.client.smembers(keys.CLAIM + "claim") == {other.upload_id}
    assert [one.upload_id for one in farm.deliver(claim="next")] == [upload_id]


def test_bytes_count_once_for_each_version_of_the_file(farm: Farm) -> None:
    farm.enqueue(file_of())
    [transfer] = farm.deliver()

    def note(fingerprint: str) -> None:
        fields: dict[str, str | int] = {"stored": fingerprint, "size": SIZE}
        farm.settle(transfer, "advanced", **fields)

    for fingerprint, counted in (("", 0), ("a", SIZE), ("a", SIZE), ("b", 2 * SIZE)):
        note(fingerprint)
        assert farm.counted("stored_bytes") == counted


def test_a_file_that_was_counted_by_its_parts_is_not_counted_again(farm: Farm) -> None:
    [upload_id] = farm.enqueue(file_of(size=LARGE_BYTES + 1))
    [transfer] = farm.pass_stages(PUT)
    farm.client.hset(keys.parts_key(upload_id), "etag:1", "x")

    farm.settle(transfer, "advanced", stored="a", size=LARGE_BYTES + 1)

    assert farm.counted("stored_bytes") == 0


def test_the_last_step_of_a_publish_stores_no_bytes(farm: Farm) -> None:
    farm.enqueue(sequence_of(1))
    [frame] = farm.deliver()
    farm.store(frame)
    [transfer] = farm.deliver(claim="publish")

    farm.settle(transfer, "advanced", stored="a", size=SIZE)

    assert farm.counted("stored_bytes") == SIZE


def test_an_upload_that_is_located_says_when_and_has_no_error(farm: Farm) -> None:
    [upload_id] = farm.enqueue(file_of())
    [transfer] = farm.pass_stages(REGISTER)
    farm.client.hset(keys.upload_key(upload_id), mapping={"error": "no", "error_kind": "Refused"})

    farm.settle(transfer, "located")

    assert float(farm.field(upload_id, "located")) == pytest.approx(farm.now(), abs=5)
    assert farm.field(upload_id, "error") + farm.field(upload_id, "error_kind") == ""
    assert farm.client.zcard(keys.JOBS) == 0, "nothing is encoded"


def test_an_encoding_is_queued_and_asked_about_at_once(farm: Farm) -> None:
    [upload_id] = farm.enqueue(file_of())
    [transfer] = farm.pass_stages(REGISTER)

    farm.settle(transfer, "located", jobs="a-job")

    assert farm.field(upload_id, "job_state") == "queued"
    assert farm.client.zscore(keys.JOBS, upload_id) == pytest.approx(farm.now(), abs=5)


def test_an_upload_that_has_ended_is_kept_for_two_weeks(farm: Farm) -> None:
    [upload_id] = farm.enqueue(file_of())
    assert farm.client.ttl(keys.upload_key(upload_id)) == -1, "while it moves it is kept"
    [transfer] = farm.pass_stages(REGISTER)
    farm.client.hset(keys.upload_key(upload_id), mapping={"sent": 5, "exclusive": 1})
    farm.retry_later(transfer)
    farm.make_due()
    [transfer] = farm.pass_stages(REGISTER)

    farm.settle(transfer, "located")

    assert farm.client.ttl(keys.upload_key(upload_id)) == pytest.approx(14 * DAY_S, abs=5)
    gone = ("due", "retry_reason", "since", "retries", "retry_stage", "exclusive", "sent")
    assert {name: farm.field(upload_id, name) for name in gone} == dict.fromkeys(gone, "")


def test_the_indexes_forget_an_upload_with_its_record(farm: Farm) -> None:
    fresh, old = farm.enqueue(file_of(), file_of())
    for upload_id in (fresh, old):
        farm.commands.cancel(upload_id)
    cancelled = keys.state_key("cancelled")
    farm.client.zadd(cancelled, {old: farm.now() - farm.ttl_s - 1})
    farm.client.zadd(cancelled, {fresh: farm.now() - farm.ttl_s + 60})
    farm.client.zadd(keys.file_state_key("stored"), {"old": 1})

    farm.record.apply_due()

    assert farm.client.zrange(cancelled, 0, -1) == [fresh]
    assert farm.client.zcard(keys.file_state_key("stored")) == 0


@pytest.mark.parametrize("outcome", ["located", "stored", "failed"])
def test_the_parts_of_a_large_file_go_once_it_is_whole(farm: Farm, outcome: str) -> None:
    [upload_id] = farm.enqueue(file_of(size=LARGE_BYTES + 1))
    [transfer] = farm.pass_stages(REGISTER)
    farm.client.hset(keys.parts_key(upload_id), "etag:1", "x")
    farm.client.rpush(keys.runs_key(upload_id), 1)

    farm.settle(transfer, outcome)

    left = farm.client.exists(keys.parts_key(upload_id), keys.runs_key(upload_id))
    assert left == (2 if outcome == "failed" else 0)


def test_the_publish_and_its_index_end_with_it(farm: Farm) -> None:
    [publish_id] = farm.enqueue(sequence_of(2))
    assert farm.client.zcard(keys.OPEN) == 0, "all of its files are recorded"
    assert farm.client.ttl(keys.files_key(publish_id)) == -1
    farm.client.zadd(keys.OPEN, {publish_id: 1})

    farm.commands.cancel(publish_id)

    names = (keys.files_key, keys.left_key, keys.upload_key)
    for key in (name(publish_id) for name in names):
        assert farm.client.ttl(key) == pytest.approx(14 * DAY_S, abs=5)
    assert farm.client.zcard(keys.OPEN) == 0
    assert farm.field(publish_id, "sent") == "0", "what was sent of a publish is still shown"


def test_an_upload_is_listed_under_its_state_alone(farm: Farm) -> None:
    def listed(key_of: Callable[[str], str]) -> dict[str, int]:
        counts = {state: farm.client.zcard(key_of(state)) for state in STATES}
        return {state: count for state, count in counts.items() if count}

    farm.enqueue(file_of(), sequence_of(2))
    assert listed(keys.state_key) == {"pending": 1, "storing": 1}
    shown = Status(farm.client, farm.record.scripts.codec).counts()
    assert {state: count for state, count in shown.items() if count} == listed(keys.state_key)
    assert listed(keys.file_state_key) == {"pending": 2}, "members are listed apart"

    for transfer in farm.deliver():
        if transfer.is_member:
            farm.store(transfer)

    assert listed(keys.state_key) == {"active": 1, "pending": 1}
    assert listed(keys.file_state_key) == {"stored": 2}


def test_what_is_cancelled_while_it_waits_leaves_the_queues(farm: Farm) -> None:
    pending, waiting, local = farm.enqueue(file_of(), file_of(), file_of(host="node7"))
    [transfer] = [one for one in farm.deliver() if one.upload_id == waiting]
    farm.retry_later(transfer)

    for upload_id in (pending, waiting, local):
        assert farm.commands.cancel(upload_id) == "cancelled"

    assert farm.client.zcard(keys.RETRYING) == 0
    assert farm.client.zcard(keys.PENDING) + farm.client.zcard(keys.pending_key("node7")) == 0
    assert farm.counted("cancelled") == 3


def test_a_host_is_listed_while_something_waits_for_it(farm: Farm) -> None:
    farm.enqueue(file_of())
    assert farm.record.apply_due() == ({"": 1}, [])
    farm.enqueue(file_of(host="node7"), file_of(host="node7"))
    for _ in range(2):
        assert farm.record.apply_due()[0] == {"": 1, "node7": 2}

    farm.deliver(host="node7")

    farm.record.apply_due()
    assert farm.record.apply_due()[0] == {"": 1}


def test_only_a_claim_that_is_overdue_is_taken_back(farm: Farm) -> None:
    farm.enqueue(file_of())
    farm.deliver()
    assert farm.record.apply_due()[1] == []
    assert farm.record.reclaim("claim") == 0

    farm.client.zadd(keys.CLAIMS, {"claim": farm.now() - 1})

    assert farm.record.apply_due()[1] == ["claim"]
    assert farm.record.reclaim("claim") == 1
    assert farm.client.zcard(keys.CLAIMS) == 0
    assert not farm.client.exists(keys.CLAIM + "claim")
    assert farm.counted("claims_lost") == 1
    assert len(farm.deliver(claim="next")) == 1


def test_a_lost_claim_has_no_hold_on_what_has_left_it(farm: Farm) -> None:
    [upload_id] = farm.enqueue(file_of())
    farm.deliver()
    farm.client.zadd(keys.CLAIMS, {"claim": 1, "empty": 1})
    farm.client.sadd(keys.CLAIM + "stale", upload_id)

    assert farm.record.reclaim("stale") == 0
    assert farm.state(upload_id) == "active"
    assert farm.counted("claims_lost") == 0


@pytest.mark.parametrize("final", [True, False])
def test_the_state_of_an_encoding_is_noted(farm: Farm, final: bool) -> None:
    [upload_id] = farm.enqueue(file_of())
    farm.client.zadd(keys.JOBS, {upload_id: 1, "expired": 1})
    run = farm.record.scripts.run

    for one in (upload_id, "expired"):
        run("record_job_state", id=one, state="running", final=final)

    assert farm.field(upload_id, "job_state") == "running"
    assert not farm.client.exists(keys.upload_key("expired"))
    assert farm.client.zcard(keys.JOBS) == (0 if final else 2)


def test_a_job_is_asked_about_again_after_its_interval(farm: Farm) -> None:
    [upload_id] = farm.enqueue(file_of())
    farm.client.hset(keys.upload_key(upload_id), "jobs", "a")
    farm.client.zadd(keys.JOBS, {upload_id: farm.now() - 1, "expired": 1, "later": 9e9})

    rows = farm.record.scripts.run("take_due_jobs", again_s=60, max_jobs=10)

    assert rows == [[upload_id, "a", "", "", ""]]
    assert farm.client.zscore(keys.JOBS, upload_id) == pytest.approx(farm.now() + 60, abs=5)
    assert farm.client.zscore(keys.JOBS, "expired") is None
    farm.client.zadd(keys.JOBS, {upload_id: 1})
    assert farm.record.scripts.run("take_due_jobs", again_s=60, max_jobs=0) == []


def test_a_bucket_that_nobody_uses_is_forgotten(farm: Farm) -> None:
    def take(amount: int) -> float:
        run = farm.record.scripts.run
        return float(run("take_tokens", bucket="b", rate=10, amount=amount, burst_s=0.1))

    assert take(50) == 0
    assert 3 < take(1) <= 4.9
    assert farm.client.ttl(keys.BUCKET + "b") == pytest.approx(3600, abs=5)


def test_what_goes_on_without_its_batch_has_a_claim_of_its_own(farm: Farm) -> None:
    farm.enqueue(file_of(), file_of(), file_of())
    fast, slow, other = farm.pass_stages(PUT)

    farm.record.settle([Settlement(one, "advanced") for one in (fast, other)], into="new")

    assert [one.upload_id for one in farm.deliver(PUT)] == [slow.upload_id]
    assert farm.deliver(REGISTER) == []
    gone_on = farm.deliver(REGISTER, "new")
    assert {one.upload_id for one in gone_on} == {fast.upload_id, other.upload_id}
    assert set(farm.client.zrange(keys.CLAIMS, 0, -1)) == {"claim", "new"}

    for one in gone_on:
        farm.settle(one, "located")
    assert farm.client.zrange(keys.CLAIMS, 0, -1) == ["claim"]
    assert farm.client.exists(f"{keys.CLAIM}new") == 0
