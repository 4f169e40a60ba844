"""Uploads that one node could not do: another one tries them, and the farm goes on."""

from __future__ import annotations

import json

from tasks.records import keys
from tasks.records.record import CLAIM_UPLOADS
from tests.unit.records import Farm, file_of


def note_tried(farm: Farm, upload_ids: list[str], *nodes: str) -> None:
    for upload_id in upload_ids:
        farm.client.hset(keys.upload_key(upload_id), "tried", json.dumps(dict.fromkeys(nodes, 1)))


def claimed_by(farm: Farm, worker: str, host: str = "") -> list[str]:
    transfers = farm.deliver(claim=f"of {worker}", worker=worker, host=host)
    return sorted(transfer.upload_id for transfer in transfers)


def test_a_node_leaves_what_it_has_tried_to_one_that_has_not(farm: Farm) -> None:
    farm.take_tasks("w1", "w2")
    tried, fresh = farm.enqueue(file_of(priority="urgent"), file_of())
    note_tried(farm, [tried], "w1")

    assert claimed_by(farm, "w1") == [fresh]
    assert claimed_by(farm, "w2") == [tried]


def test_a_node_looks_beyond_a_whole_batch_that_it_has_tried(farm: Farm) -> None:
    farm.take_tasks("w1", "w2")
    tried = farm.enqueue(*(file_of(priority="urgent") for _ in range(2 * CLAIM_UPLOADS)))
    [fresh] = farm.enqueue(file_of())
    note_tried(farm, tried, "w1")

    assert claimed_by(farm, "w1") == [fresh]


def test_a_node_tries_again_when_all_others_have_tried_too(farm: Farm) -> None:
    farm.take_tasks("w1", "w2")
    [upload_id] = farm.enqueue(file_of())
    note_tried(farm, [upload_id], "w1", "w2")

    assert claimed_by(farm, "w1") == [upload_id]


def test_a_node_is_not_waited_for_when_it_is_gone_or_set_aside(farm: Farm) -> None:
    farm.take_tasks("w1", "w3")
    farm.client.zadd(keys.WORKERS, {"w2": farm.now() - 31})
    farm.client.hset(keys.PAUSED, "w3", "{}")
    [upload_id] = farm.enqueue(file_of())
    note_tried(farm, [upload_id], "w1")

    assert claimed_by(farm, "w1") == [upload_id]


def test_what_one_host_alone_sees_is_left_to_nobody(farm: Farm) -> None:
    farm.take_tasks("w1", "w2")
    [upload_id] = farm.enqueue(file_of(host="node7"))
    note_tried(farm, [upload_id], "w1")

    assert claimed_by(farm, "w1", host="node7") == [upload_id]
