"""One upload that always fails, among many: it holds up no other, and fails by itself."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tasks.stage.retry_policy import MAX_ALONE
from tasks.transfer.targets import Target
from tests.chaos.bad_nodes import OPTIONS
from tests.chaos.conftest import MakeFarm
from tests.chaos.healing import let_time_pass
from tests.chaos.scenes import errors_of, wait_arrived, wait_arrived_soon
from tests.chaos.sick import PASSING, POISONS, poison
from tests.farm import Farm, Upload, wait_until

pytestmark = pytest.mark.slow


def test_poisons_of_all_kinds_delay_no_other_upload(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=2, options=OPTIONS)
    with farm.frozen():
        uploads = farm.upload_many(5 * len(POISONS))
        bad = dict(zip(POISONS, uploads[::5], strict=True))
        for kind, upload in bad.items():
            poison(farm, upload, kind)
    others = [upload for upload in uploads if upload not in bad.values()]

    wait_arrived(farm, others, timeout_s=90)

    assert farm.redis.zcard("farmhaul:state:pending") <= len(bad)
    # The others may arrive before each poison was tried.
    failing = POISONS.keys() - PASSING
    wait_until(lambda: all(errors_of(farm, bad[kind]) for kind in failing), 60)


@pytest.mark.parametrize("kind", ["ftrack: ServerError", "store: 500"])
def test_a_poison_fails_by_itself_while_others_pass(farm: Farm, kind: str) -> None:
    with farm.frozen():
        bad, *others = farm.upload_many(60)
        poison(farm, bad, kind)
    wait_arrived(farm, others)
    until = time.monotonic() + 60
    while farm.states([bad.id]) != ["failed"] and time.monotonic() < until:
        others = farm.upload_many(4)
        wait_arrived(farm, others)
        let_time_pass(farm.redis)

    assert farm.states([bad.id]) == ["failed"]
    assert "times for this upload alone" in errors_of(farm, bad)
    assert farm.cli("status", bad.id).returncode == 0
    assert not farm.redis.hget("farmhaul:totals", "outages:ftrack")

    farm.sandbox.faults.clear()
    farm.cli("retry", bad.id)
    wait_until(lambda: farm.states([bad.id]) == ["located"])


@pytest.mark.parametrize("kind", ["ftrack: 500", "credentials"])
def test_a_poison_sequence_delays_no_other_upload(make_farm: MakeFarm, kind: str) -> None:
    farm = make_farm(workers=2, options=OPTIONS)
    version_id = farm.sandbox.ftrack.version_id
    with farm.frozen():
        folder = farm.make_file("a.1001.exr", 20_000, "bad").parent
        for number in range(1002, 1041):
            farm.make_file(f"a.{number}.exr", 20_000, "bad")
        command = ["--version-id", version_id, "--name", "bad", f"{folder}/a.%04d.exr"]
        [bad] = farm.enqueue(*command)
        target = Target.under_version(version_id, "bad")
        poison(farm, Upload(str(bad["upload_id"]), target.component_id, folder), kind)
        others = farm.upload_many(30)
    wait_arrived(farm, others)
    for _ in range(5):
        wait_arrived(farm, farm.upload_many(5))

    assert farm.states([str(bad["upload_id"])]) == ["storing"]
    service = "credentials" if kind == "credentials" else "ftrack"
    assert not farm.redis.hget("farmhaul:totals", f"outages:{service}")


# The batch was signed in one call, so all of its URLs are bad. Those with bad dates are signed
# again before they are sent, four by four, and then those of one call alone.
@pytest.mark.parametrize(
    ("kind", "refused"),
    [("expired URLs", 1), ("URLs that last too long", 1), ("URLs that are refused", 20)],
)
def test_one_upload_spoils_the_urls_of_its_batch_without_a_try(
    farm: Farm, kind: str, refused: int
) -> None:
    with farm.frozen():
        bad, *others = farm.upload_many(20)
        poison(farm, bad, f"ftrack: {kind}")
    wait_arrived(farm, others)

    tries = {farm.record(upload.id).get("tries:UrlRefusedError", "0") for upload in others}
    assert tries == {"0"}
    puts = farm.sandbox.store.requests()
    assert len({put["key"] for put in puts if put["status"] in {400, 403}}) == refused


def test_a_store_that_refuses_all_urls_gets_two_files_again(farm: Farm) -> None:
    """If neither of two is accepted, no upload of the batch is the reason."""
    with farm.frozen():
        uploads = farm.upload_many(20)
        farm.sandbox.faults.add("ftrack", "url_lifetime_s", 0)

    def tries() -> list[int]:
        records = [farm.record(upload.id) for upload in uploads]
        return [int(record.get("tries:UrlRefusedError", "0")) for record in records]

    wait_until(lambda: min(tries()) > 0, 60)
    farm.sandbox.faults.clear()
    wait_arrived_soon(farm, uploads)

    refused = [put["key"] for put in farm.sandbox.store.requests() if put["status"] == 403]
    assert len(refused) == sum(tries()) + 2


def test_poisons_of_an_idle_farm_fail_by_themselves(farm: Farm) -> None:
    kinds = ("ftrack: ServerError", "store: 500")
    with farm.frozen():
        uploads = farm.upload_many(len(kinds))
        for upload, kind in zip(uploads, kinds, strict=True):
            poison(farm, upload, kind)
    ids = [upload.id for upload in uploads]

    def failed() -> bool:
        let_time_pass(farm.redis)
        return farm.states(ids) == ["failed"] * len(ids)

    wait_until(failed, 120, lambda: str([farm.record(one) for one in ids]))
    assert all("times for this upload alone" in errors_of(farm, upload) for upload in uploads)


def test_a_lone_upload_waits_while_ftrack_answers_but_fails_to_write(farm: Farm) -> None:
    """It is an outage, although ftrack answers queries: no other upload shows anything else."""
    farm.sandbox.faults.add("ftrack", "error", "ServerError", action="create")
    upload = farm.upload()

    def is_tried() -> bool:
        let_time_pass(farm.redis)
        assert farm.states([upload.id])[0] != "failed"
        return int(farm.record(upload.id).get("retries") or 0) > MAX_ALONE + 2

    wait_until(is_tried, 60, lambda: str(farm.record(upload.id)))
    farm.sandbox.faults.clear()
    wait_arrived_soon(farm, [upload])


def test_a_large_file_that_the_store_never_takes_stops_no_other(farm: Farm) -> None:
    large = farm.upload(content=70_000_000)
    farm.sandbox.faults.add("store", "status", 500, component_id=large.component_id, part_number=1)
    for _ in range(3):
        wait_arrived(farm, farm.upload_many(20))
        let_time_pass(farm.redis)

    assert farm.states([large.id])[0] in {"active", "pending", "retrying"}
    assert not farm.redis.hget("farmhaul:gate:store", "until")


def test_an_upload_that_the_store_takes_slowly_delays_no_other(make_farm: MakeFarm) -> None:
    """The rest of its batch goes on, is registered meanwhile, and each file is sent once."""
    farm = make_farm(workers=2, options=OPTIONS)
    with farm.frozen():
        slow, *others = farm.upload_many(20)
        farm.sandbox.faults.add("store", "latency_s", 30, component_id=slow.component_id)
    wait_arrived(farm, others, timeout_s=28)
    assert farm.states([slow.id]) == ["active"]

    wait_arrived(farm, [slow], timeout_s=90)
    assert [len(farm.sandbox.store.puts(one.component_id)) for one in [slow, *others]] == [1] * 20


def test_a_worker_killed_before_it_sends_what_goes_on_loses_nothing(
    make_farm: MakeFarm, tmp_path: Path
) -> None:
    farm = make_farm(workers=1, options=OPTIONS)
    trap = tmp_path / "trap"
    trap.touch()
    options = [*OPTIONS, "-I", "tests.helpers.killed_before_sending"]
    other, doomed = *farm.workers, farm.add(env={"DIES_WHILE": str(trap)}, options=options)
    other.freeze()
    doomed.freeze()
    slow, *others = farm.upload_many(20)
    farm.sandbox.faults.add("store", "latency_s", 20, component_id=slow.component_id)
    doomed.thaw()
    wait_until(lambda: not doomed.alive, 60, doomed.log_text)
    other.thaw()

    wait_arrived(farm, [slow, *others], timeout_s=90)
    assert not trap.exists()


def test_what_goes_on_is_a_claim_that_its_message_names(make_farm: MakeFarm) -> None:
    """By that, the reconciler sees that it is not lost, however long the message waits."""
    farm = make_farm(options=("--concurrency=1", *OPTIONS[1:]))
    with farm.frozen():
        slow, *others = farm.upload_many(20)
        farm.sandbox.faults.add("store", "latency_s", 20, component_id=slow.component_id)
    # The only process is busy with the slow one.
    wait_until(lambda: farm.redis.llen("farmhaul"), 30)
    claim_id = json.loads(farm.redis.lindex("farmhaul", 0))["headers"]["root_id"]

    claimed = farm.redis.smembers(f"farmhaul:claim:{claim_id}")

    # A machine that stalls may let them go on in several steps.
    assert claimed
    assert claimed <= {upload.id for upload in others}
    wait_arrived(farm, [slow, *others])
