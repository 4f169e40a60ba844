"""farmhaul check --farm: workers compare, and the command says what it says by itself."""

from __future__ import annotations

import random

from tests.farm import Farm
from tests.helpers.checking import TARGET, check, render, states


def test_workers_say_what_the_command_says_by_itself(farm: Farm) -> None:
    folder, sequence_id = render(farm, 25)
    (folder / "f.1002.exr").write_bytes(random.randbytes(3000))
    (folder / "f.1003.exr").unlink()
    (folder / "f.1004.exr").write_bytes(b"short")
    here = check(farm, folder, *TARGET, code=1)

    lines = check(farm, folder, *TARGET, "--farm", "--enqueue", code=1)

    uploads = [line for line in lines if "upload_id" in line]
    found = sorted((line for line in lines if "upload_id" not in line), key=lambda one: one["path"])
    assert found == sorted(here, key=lambda one: one["path"])
    assert [line["size"] for line in uploads] == [3005]
    farm.wait_located(line["upload_id"] for line in uploads)
    assert states(check(farm, "--component-id", sequence_id, "--farm", code=1)) == {
        "f.1003.exr": "missing on disk"
    }
    assert farm.redis.keys("farmhaul:check:*") == []
