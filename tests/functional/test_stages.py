"""A stage is added by its task and its name in STAGES, and by nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tasks.transfer.models import LARGE_BYTES
from tests.farm import Farm
from tests.functional.conftest import MakeFarm
from tests.sandbox.process import CHECKOUT

#: Not imported here: it would change the stages of this process.
MODULE = "tests.helpers.five_stages"


def enqueue(farm: Farm, path: Path) -> str:
    """Enqueue a file as a hook of the extended farmhaul, and return the upload's id."""
    component_id = farm.sandbox.ftrack.add_component("main")
    command = [sys.executable, "-m", MODULE, "enqueue", str(path), "--component-id", component_id]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=farm.environment(), capture_output=True, text=True, check=True
    )
    return str(json.loads(done.stdout)["upload_id"])


def test_files_pass_a_stage_that_was_added(make_farm: MakeFarm) -> None:
    farm = make_farm(app=MODULE)
    # A large file too: which number put_file has decides who may send its bytes.
    paths = [farm.make_file("main.exr", 1000), farm.make_file("main.mov", LARGE_BYTES + 1)]
    ids = [enqueue(farm, path) for path in paths]
    farm.wait_located(ids)

    assert farm.redis.smembers("scanned") == {str(path) for path in paths}
    assert [farm.record(upload_id)["stage"] for upload_id in ids] == ["5", "5"]
