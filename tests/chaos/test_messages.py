"""Messages are the record's shadow: they may be lost, or come twice, or come late."""

from __future__ import annotations

import json

import pytest

from tests.chaos.scenes import wait_arrived
from tests.chaos.troubles import QUEUES
from tests.farm import Farm, Upload, wait_until

STAGES = ("compute_checksum", "get_put_metadata", "put_file", "create_component_location")


def queue_of(stage: str) -> str:
    """The Redis list that messages of a stage wait in."""
    return QUEUES[len(STAGES) - 1 - STAGES.index(stage)]


# A message lost between queue and worker: the reconciler starts it again


def test_uploads_whose_ring_was_lost_in_the_queue_are_started(hook: Farm) -> None:
    asked = hook.upload_many(5)
    assert hook.redis.delete(queue_of(STAGES[0])) == 1
    hook.add()
    wait_arrived(hook, asked)


def test_uploads_whose_ring_died_with_the_worker_that_was_to_get_it_are_started(
    farm: Farm,
) -> None:
    # A worker that waits for messages has Redis send it the next one, frozen or not.
    with farm.frozen():
        asked = farm.upload_many(5)
        for worker in farm.workers:
            worker.kill()
    farm.start()
    wait_arrived(farm, asked)


@pytest.mark.parametrize(
    "stage",
    [*(pytest.param(stage, marks=pytest.mark.chaos) for stage in STAGES[1:3]), STAGES[3]],
)
def test_uploads_whose_message_was_lost_in_a_later_stage_go_on(farm: Farm, stage: str) -> None:
    # As when a worker dies between taking a message and noting that it did.
    with farm.frozen():
        asked = farm.upload_many(5)
    hold_up(farm)
    catch_message(farm, stage)
    for worker in farm.workers:
        worker.kill()
    farm.redis.delete("unacked", "unacked_index", *QUEUES)
    farm.sandbox.faults.clear()
    farm.start()
    wait_arrived(farm, asked)
    if stage == STAGES[-1]:
        assert len(farm.sandbox.store.puts()) == 5, "what is stored is not sent again"


# A message delivered twice: each stage is safe to run twice


def test_a_first_stage_delivered_twice_at_once_ends_as_one(hook: Farm) -> None:
    asked = hook.upload_many(3)
    deliver(hook, STAGES[0], catch_message(hook, STAGES[0]))
    hook.add()
    check_once(hook, asked)


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_stage_delivered_twice_at_once_ends_as_one(farm: Farm, stage: str) -> None:
    hold_up(farm)
    asked = farm.upload_many(3)
    deliver(farm, stage, catch_message(farm, stage))
    check_once(farm, asked)


def check_once(farm: Farm, asked: list[Upload]) -> None:
    wait_arrived(farm, asked)
    farm.wait_quiet()
    wait_arrived(farm, asked)
    assert len(farm.sandbox.ftrack.entities("ComponentLocation")) == len(asked)
    assert not farm.redis.zcard("farmhaul:claims")


@pytest.mark.chaos
def test_all_stages_delivered_again_after_the_end_change_nothing(hook: Farm) -> None:
    farm = hook
    asked, late = messages_of_a_batch(farm)
    calls, puts = farm.sandbox.ftrack.count_calls(), len(farm.sandbox.store.puts())

    for stage, message in late.items():
        deliver(farm, stage, message)
    farm.wait_quiet()
    wait_arrived(farm, asked)
    assert (farm.sandbox.ftrack.count_calls(), len(farm.sandbox.store.puts())) == (calls, puts)


@pytest.mark.chaos
def test_late_messages_of_an_old_batch_do_not_touch_what_its_ring_draws_anew(
    hook: Farm,
) -> None:
    farm = hook
    _, late = messages_of_a_batch(farm)
    farm.sandbox.faults.add("store", "latency_s", 0.5)
    with farm.frozen():
        second = farm.upload_many(2)
        # The ring draws new uploads under the old id, while all later stages come again too.
        for _ in range(3):
            for stage, message in late.items():
                deliver(farm, stage, message)
    wait_arrived(farm, second)
    for call in farm.sandbox.ftrack.calls("create"):
        for operation in call["operations"]:
            puts = farm.sandbox.store.puts(operation["entity_data"]["component_id"])
            stored = [put["ended_at"] for put in puts if put["status"] == 200]
            assert min(stored) < call["started_at"], "nothing is shown before it is stored"


def messages_of_a_batch(farm: Farm) -> tuple[list[Upload], dict[str, str]]:
    """Have a batch uploaded; gives the message of each of its stages too."""
    asked = farm.upload_many(3)
    messages = {STAGES[0]: catch_message(farm, STAGES[0])}
    hold_up(farm)
    farm.add()
    messages |= {stage: catch_message(farm, stage) for stage in STAGES[1:]}
    wait_arrived(farm, asked)
    farm.wait_quiet()
    farm.sandbox.faults.clear()
    return asked, messages


def hold_up(farm: Farm) -> None:
    """Let each stage but the first take long enough to be looked at."""
    farm.sandbox.faults.add("ftrack", "latency_s", 0.7)
    farm.sandbox.faults.add("store", "latency_s", 0.7)


def catch_message(farm: Farm, stage: str) -> str:
    """Wait for a message of a stage, queued or under way; gives a copy."""
    found: list[str] = []

    def comes_by() -> bool:
        messages = [json.loads(one) for one in farm.redis.lrange(queue_of(stage), 0, -1)]
        messages += [json.loads(one)[0] for one in farm.redis.hvals("unacked")]
        found.extend(
            json.dumps(one) for one in messages if one["headers"]["task"] == f"farmhaul.{stage}"
        )
        return bool(found)

    wait_until(comes_by, 30, lambda: f"no message of {stage} came by")
    return found[0]


def deliver(farm: Farm, stage: str, message: str) -> None:
    farm.redis.lpush(queue_of(stage), message)
