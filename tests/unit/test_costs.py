"""What an upload costs Redis."""

from __future__ import annotations

from typing import Any

from tasks.intake.request import UploadRequest
from tasks.records.delivery import Settlement
from tasks.records.record import CLAIM_UPLOADS
from tasks.records.states import STAGES
from tasks.transfer.targets import Target
from tests.unit.conftest import new_id
from tests.unit.records import SIZE, Farm


def commands(client: Any) -> int:
    """Return how many commands Redis has had, with those inside scripts."""
    return sum(int(stat["calls"]) for stat in client.info("commandstats").values())


def test_a_file_of_a_full_batch_needs_few_commands_of_redis(farm: Farm) -> None:
    files = [
        UploadRequest(f"/mnt/shot.{number:04}.exr", Target(new_id()), SIZE, 1)
        for number in range(CLAIM_UPLOADS)
    ]
    before = commands(farm.client)
    ids = farm.enqueue(*files)
    transfers = farm.pass_stages(STAGES[-1])
    farm.record.settle([Settlement(transfer, "located") for transfer in transfers])

    # 39 commands each, and some for the batch; the margin is for the search index.
    assert commands(farm.client) - before < 45 * CLAIM_UPLOADS
    assert farm.states(ids) == ["located"] * CLAIM_UPLOADS
