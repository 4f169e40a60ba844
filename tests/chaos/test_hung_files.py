"""A read, stat or open that never returns: the other files go on, and the hung one is named."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.conftest import MakeFarm
from tests.chaos.scenes import errors_of, wait_arrived
from tests.farm import Farm, Upload, wait_until
from tests.helpers.fuse import can_mount, mounted
from tests.helpers.skipping import skip_loudly
from tests.sandbox import Sandbox

OPTIONS = ("--concurrency=1", "--without-gossip", "--without-mingle", "-I", "tests.chaos.hanging")
CALLS = ("open", "stat", "read", "send")


def upload_hanging(farm: Farm, call: str) -> Upload:
    path = farm.make_file(f"hang-{call}.exr", 20_000)
    return farm.upload("--no-stat", path=path)


@pytest.mark.slow
def test_files_that_hang_hold_up_no_others(make_farm: MakeFarm) -> None:
    farm = make_farm(options=OPTIONS)
    with farm.frozen():
        hung = {call: upload_hanging(farm, call) for call in CALLS}
        others = farm.upload_many(30)

    wait_arrived(farm, others)
    farm.wait_state([upload.id for upload in hung.values()], "retrying")
    for upload in hung.values():
        assert f"reading {upload.path} hangs: nothing has moved for" in errors_of(farm, upload)

    wait_until(lambda: "process_replaced hung_threads=" in farm.workers[0].log_text())
    wait_arrived(farm, farm.upload_many(5))
    for upload in hung.values():
        (upload.path.parent / "answers").touch()
        farm.redis.zadd("farmhaul:retrying", {upload.id: 0})
    wait_arrived(farm, hung.values())


@pytest.mark.slow
def test_the_batch_of_a_file_that_hangs_goes_on_at_once(make_farm: MakeFarm) -> None:
    """Long before the hung file is left behind, if another process can take what goes on."""
    farm = make_farm(options=("--concurrency=2", *OPTIONS[1:]))
    with farm.frozen():
        hung = upload_hanging(farm, "read")
        others = farm.upload_many(20)
    wait_arrived(farm, others)
    assert farm.states([hung.id]) == ["active"]
    batch = farm.redis.get(f"farmhaul:carried:{farm.record(hung.id)['chain']}")
    assert {*json.loads(batch)} == {upload.id for upload in (hung, *others)}

    (hung.path.parent / "answers").touch()
    wait_arrived(farm, [hung], timeout_s=90)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["stat", "read", "send"])
def test_a_large_file_that_hangs_is_named_and_goes_on(make_farm: MakeFarm, call: str) -> None:
    farm = make_farm(options=OPTIONS)
    path = farm.make_file(f"hang-{call}.mov", bytes(72 << 20))
    hung = farm.upload("--no-stat", "--version-id", farm.sandbox.ftrack.version_id, path=path)
    farm.wait_state([hung.id], "retrying")
    assert f"reading {path} hangs: nothing has moved for" in errors_of(farm, hung)

    (path.parent / "answers").touch()
    farm.redis.zadd("farmhaul:retrying", {hung.id: 0})
    wait_arrived(farm, [hung], timeout_s=60)
    path.unlink()


@pytest.mark.slow
def test_files_of_a_dead_mount_do_not_hang_one_by_one(
    make_farm: MakeFarm, silent_mount: Path
) -> None:
    options = ("--concurrency=1", "--without-gossip", "--without-mingle")
    farm = make_farm(options=(*options, "-I", "tests.chaos.impatient"))
    target = ("--version-id", farm.sandbox.ftrack.version_id)
    with farm.frozen():
        hung = [farm.upload(*target, path=silent_mount / f"hang{n}.exr") for n in range(6)]
    ids = [upload.id for upload in hung]
    farm.wait_state(ids, "retrying", 60)

    farm.redis.zadd("farmhaul:retrying", dict.fromkeys(ids, 0))
    why = f"other files of {silent_mount} hang, too"
    wait_until(lambda: all(why in errors_of(farm, upload) for upload in hung), 60)
    wait_arrived(farm, farm.upload_many(5))


@pytest.mark.slow
def test_a_worker_with_a_hung_file_ends_in_time(make_farm: MakeFarm) -> None:
    farm = make_farm(options=OPTIONS)
    upload = upload_hanging(farm, "read")
    farm.wait_state([upload.id], "active")
    begun = time.monotonic()
    farm.terminate()

    wait_until(lambda: not farm.workers[0].alive, 30)
    assert time.monotonic() - begun < 20
    assert farm.states([upload.id]) == ["retrying"], farm.workers[0].log_text()


@pytest.fixture
def silent_mount(sandbox: Sandbox) -> Iterator[Path]:
    """A mount whose files cannot be read: who tries is in state D, and cannot be killed."""
    if not can_mount():
        skip_loudly("FILES IN STATE D WERE NOT TESTED", "only root can mount FUSE")
    folder = sandbox.storage / f"mount-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    with mounted(str(folder)):
        yield folder
    folder.rmdir()


def states_of_threads(pid: int) -> str:
    """Return the states of all threads of a process, such as "SSD"."""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return "".join(text.rpartition(")")[2].split()[0] for text in texts)


@pytest.mark.slow
def test_a_process_that_cannot_be_killed_is_replaced(
    make_farm: MakeFarm, silent_mount: Path
) -> None:
    farm = make_farm(options=OPTIONS)
    [worker] = farm.workers
    [first] = worker.pool_pids()
    hung = farm.upload(path=silent_mount / "hang.exr")
    farm.wait_state([hung.id], "retrying")
    assert "reading" in errors_of(farm, hung)
    wait_until(lambda: "process_lost" in worker.log_text(), 30)
    assert sorted(states_of_threads(first)) == ["D", "Z"]
    wait_arrived(farm, farm.upload_many(5))

    farm.redis.zadd("farmhaul:retrying", {hung.id: 0})
    farm.wait_state([hung.id], "active")
    worker.terminate()
    wait_until(lambda: not worker.alive, 30)
    assert worker.returncode == 0
    assert farm.states([hung.id]) != ["active"], worker.log_text()
