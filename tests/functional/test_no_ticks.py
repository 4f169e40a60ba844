"""Nothing waits for a tick: whatever makes work possible wakes a worker, without the reconciler.

It is there for what is lost, and for what is due at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from tasks.records.nodes import hosts_with_workers
from tests.farm import Farm, wait_until
from tests.sandbox import seed

VERSION = seed.VERSION_ID
#: A stalled machine may take long.
PATIENCE_S = 60


@contextmanager
def no_reconciler(farm: Farm) -> Iterator[None]:
    """Keep all workers from reconciling meanwhile."""
    ended = threading.Event()

    def hold() -> None:
        while not ended.wait(0.3):
            farm.redis.set("farmhaul:reconciler", "nobody", ex=5)

    farm.redis.set("farmhaul:reconciler", "nobody", ex=5)
    holder = threading.Thread(target=hold)
    holder.start()
    try:
        yield
    finally:
        ended.set()
        holder.join()
        farm.redis.delete("farmhaul:reconciler")


@pytest.fixture
def unticked(farm: Farm) -> Iterator[Farm]:
    """A farm whose reconciler finds nothing, because it does not run.

    The fixture farm has emptied Redis. Until a worker has noted its host again, which it does every
    few seconds, only the reconciler wakes that host.
    """
    wait_until(lambda: hosts_with_workers(farm.redis) - {""}, PATIENCE_S)
    with no_reconciler(farm):
        yield farm


def sequence(farm: Farm, folder: str, frames: range) -> str:
    for number in frames:
        path = farm.make_file(f"beauty.{number:04d}.exr", 2000, folder)
    return f"{path.parent}/beauty.%04d.exr [{frames[0]}-{frames[-1]}]"


def test_files_of_all_kinds_are_located_without_a_tick(unticked: Farm) -> None:
    """More files than a batch, a sequence, a publish with encoding, parts, and a file of one host.

    All are asked for at once, so claims, parts and joins meet full queues.
    """
    farm = unticked
    single = [farm.make_file(f"one.{number:03}.exr", 20_000) for number in range(55)]
    large = farm.make_file("large.mov", 70_000_000)
    movie, still = farm.make_file("b.mov", 50_000), farm.make_file("t.jpg", 3000)
    common = {"version_id": VERSION, "publish": "sh010 v003"}
    entries: list[Mapping[str, object]] = [
        *({"path": str(path), "version_id": VERSION, "name": path.stem} for path in single),
        {
            "path": sequence(farm, "main", range(1001, 1061)),
            "version_id": VERSION,
            "name": "frames",
        },
        {"path": str(large), "version_id": VERSION, "name": "large"},
        common | {"path": sequence(farm, "pub", range(1001, 1013)), "name": "exr"},
        common | {"path": str(movie), "name": "movie", "encode": True},
        common | {"path": str(still), "thumbnail": True},
    ]
    uploads = farm.enqueue_manifest(entries)
    local = farm.upload("--node-local")

    farm.wait_located({*(str(upload["upload_id"]) for upload in uploads), local.id}, PATIENCE_S)


def test_retries_of_failed_uploads_start_without_a_tick(unticked: Farm) -> None:
    farm = unticked
    refused = farm.sandbox.faults.add("store", "status", 413, method="PUT")
    one = farm.upload()
    [many] = farm.enqueue(
        sequence(farm, "main", range(1001, 1004)), "--version-id", VERSION, "--name", "frames"
    )
    ids = [one.id, str(many["upload_id"])]
    farm.wait_state(ids, "failed", PATIENCE_S)
    farm.sandbox.faults.remove(refused)

    farm.cli("retry", *ids)

    farm.wait_located(ids, PATIENCE_S)


@pytest.mark.slow
def test_a_limit_that_is_lifted_lets_uploads_go_on_without_a_tick(unticked: Farm) -> None:
    farm = unticked
    farm.cli("limit", "--bandwidth", "1K")
    try:
        ids = [upload.id for upload in farm.upload_many(5, 2_000_000)]
        wait_until(lambda: "active" in farm.states(ids), PATIENCE_S)
    finally:
        farm.cli("limit", "--clear")

    farm.wait_located(ids, PATIENCE_S)


@pytest.mark.slow
def test_files_of_a_batch_that_is_taken_apart_start_without_a_tick(unticked: Farm) -> None:
    """They have grown since they were asked for, so each goes on in a batch of its own."""
    farm = unticked
    with farm.frozen():
        paths = [farm.make_file(f"grows.{number}.exr", 1000) for number in range(3)]
        uploads = farm.enqueue_manifest(
            {"path": str(path), "version_id": VERSION, "name": path.name} for path in paths
        )
        for path in paths:
            path.write_bytes(bytes(66_000_000))

    farm.wait_located([str(upload["upload_id"]) for upload in uploads], PATIENCE_S)
