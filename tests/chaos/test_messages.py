"""Messages only wake workers for what the record holds: they may be lost, doubled or late."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.records.states import STAGES
from tests.chaos.conftest import MakeFarm
from tests.chaos.scenes import wait_arrived
from tests.chaos.troubles import QUEUES
from tests.farm import Farm, Upload, wait_until
from tests.sandbox.process import CHECKOUT


def queue_of(stage: str) -> str:
    """Return the Redis list in which messages of a stage wait."""
    return QUEUES[len(STAGES) - 1 - STAGES.index(stage)]


# A message is lost between queue and worker: the reconciler sends it again


def test_uploads_start_when_the_queue_lost_their_wake_up_task(hook: Farm) -> None:
    uploads = hook.upload_many(5)
    assert hook.redis.delete(queue_of(STAGES[0])) == 1
    hook.add()
    wait_arrived(hook, uploads)


def test_uploads_start_when_their_wake_up_task_died_with_a_worker(
    farm: Farm,
) -> None:
    # A worker that waits for messages has Redis send it the next one, frozen or not.
    with farm.frozen():
        uploads = farm.upload_many(5)
        for worker in farm.workers:
            worker.kill()
    farm.start()
    wait_arrived(farm, uploads)


@pytest.mark.parametrize(
    "stage",
    [*(pytest.param(stage, marks=pytest.mark.slow) for stage in STAGES[1:3]), STAGES[3]],
)
def test_uploads_continue_when_a_message_of_a_later_stage_is_lost(farm: Farm, stage: str) -> None:
    # As when a worker dies between taking a message and writing that into the record.
    hold_up(farm)
    with farm.frozen():
        uploads = farm.upload_many(5)
    catch_message(farm, stage)
    for worker in farm.workers:
        worker.kill()
    farm.redis.delete("unacked", "unacked_index", *QUEUES)
    farm.sandbox.faults.clear()
    farm.start()
    wait_arrived(farm, uploads)
    if stage == STAGES[-1]:
        assert len(farm.sandbox.store.puts()) == 5, "stored files are not sent again"


# A message is delivered twice: each stage is idempotent


def test_a_first_stage_delivered_twice_at_once_has_one_effect(hook: Farm) -> None:
    uploads = hook.upload_many(3)
    deliver(hook, STAGES[0], catch_message(hook, STAGES[0]))
    hook.add()
    check_once(hook, uploads)


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_stage_delivered_twice_at_once_has_one_effect(farm: Farm, stage: str) -> None:
    hold_up(farm)
    with farm.frozen():
        uploads = farm.upload_many(3)
    deliver(farm, stage, catch_message(farm, stage))
    check_once(farm, uploads)


def check_once(farm: Farm, uploads: list[Upload]) -> None:
    wait_arrived(farm, uploads)
    farm.wait_quiet()
    wait_arrived(farm, uploads)
    assert len(farm.sandbox.ftrack.entities("ComponentLocation")) == len(uploads)
    assert not farm.redis.zcard("farmhaul:claims")


@pytest.mark.slow
def test_stages_delivered_again_after_the_last_change_nothing(make_farm: MakeFarm) -> None:
    # On a machine that stalls, a short lease would be over, and its stage begin again.
    farm = make_farm(workers=0, lease_s=30)
    uploads, late = messages_of_a_batch(farm)
    before = requests_of(farm)

    for stage, message in late.items():
        deliver(farm, stage, message)
    farm.wait_quiet()
    wait_arrived(farm, uploads)
    assert requests_of(farm) == before


@pytest.mark.slow
def test_late_messages_of_an_old_batch_do_not_touch_its_new_claim(
    hook: Farm,
) -> None:
    farm = hook
    _, late = messages_of_a_batch(farm)
    farm.sandbox.faults.add("store", "latency_s", 0.5)
    with farm.frozen():
        second = farm.upload_many(2)
        # The wake-up task claims new uploads under the old id; the later stages come again too.
        for _ in range(3):
            for stage, message in late.items():
                deliver(farm, stage, message)
    wait_arrived(farm, second)
    for call in farm.sandbox.ftrack.calls("create"):
        for operation in call["operations"]:
            if operation["action"] != "create":
                continue  # the component's size
            puts = farm.sandbox.store.puts(operation["entity_data"]["component_id"])
            stored = [put["ended_at"] for put in puts if put["status"] == 200]
            assert min(stored) < call["started_at"], "a file is stored before it is visible"


def requests_of(farm: Farm) -> list[list[str]]:
    """Return the actions of each call to ftrack, and of each PUT the component."""
    calls = [[str(action) for action in call["actions"]] for call in farm.sandbox.ftrack.calls()]
    return [*calls, [str(put["key"]) for put in farm.sandbox.store.puts()]]


def messages_of_a_batch(farm: Farm) -> tuple[list[Upload], dict[str, str]]:
    """Have a batch uploaded; return it and the message of each of its stages."""
    uploads = farm.upload_many(3)
    messages = {STAGES[0]: catch_message(farm, STAGES[0])}
    hold_up(farm)
    with ThreadPoolExecutor() as pool:
        # From before the worker starts: a message passes within a second.
        caught = {stage: pool.submit(catch_message, farm, stage) for stage in STAGES[1:]}
        farm.add()
        messages |= {stage: message.result() for stage, message in caught.items()}
    wait_arrived(farm, uploads)
    farm.wait_quiet()
    farm.sandbox.faults.clear()
    return uploads, messages


def hold_up(farm: Farm) -> None:
    """Slow down each stage but the first, so that its message can be caught."""
    farm.sandbox.faults.add("ftrack", "latency_s", 0.7)
    farm.sandbox.faults.add("store", "latency_s", 0.7)


def catch_message(farm: Farm, stage: str) -> str:
    """Wait for a message of a stage, queued or unacknowledged, and return a copy."""
    found: list[str] = []

    def comes_by() -> bool:
        messages = [json.loads(text) for text in farm.redis.lrange(queue_of(stage), 0, -1)]
        messages += [json.loads(text)[0] for text in farm.redis.hvals("unacked")]
        task = f"farmhaul.{stage}"
        found.extend(json.dumps(each) for each in messages if each["headers"]["task"] == task)
        return bool(found)

    wait_until(comes_by, 30, lambda: f"no message of {stage} came by")
    return found[0]


def deliver(farm: Farm, stage: str, message: str) -> None:
    farm.redis.lpush(queue_of(stage), message)


# A download's record is written, and its message is not sent


@pytest.mark.slow
def test_a_download_arrives_if_who_asks_dies_before_the_message(farm: Farm) -> None:
    upload = farm.upload()
    wait_arrived(farm, [upload])
    env, module = farm.environment(), "tests.helpers.killed_asking"

    def killed(*command: str) -> None:
        done = subprocess.run([sys.executable, "-m", module, *command], env=env, cwd=CHECKOUT)
        assert done.returncode == -signal.SIGKILL

    folder = farm.make_file("in the folder", b"").parent
    killed("fetch", upload.component_id, "--to", str(folder), "--enqueue")
    [fetch_id] = farm.redis.zrange("farmhaul:fetches", 0, -1)
    killed("retry", fetch_id)  # it is queued again, with another time
    wait_until(lambda: farm.redis.hget(f"farmhaul:fetch:{fetch_id}", "state") == "fetched", 120)
    [fetched] = [path for path in folder.iterdir() if path.name != "in the folder"]
    assert fetched.read_bytes() == upload.path.read_bytes()
