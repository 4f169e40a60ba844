"""ftrack's JavaScript client uploads to the stand-in, and reads what farmhaul has made."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.farm import Farm
from tests.helpers.checking import render
from tests.helpers.skipping import skip_loudly
from tests.sandbox import seed
from tests.sandbox.process import CHECKOUT

SCRIPT = CHECKOUT / "tests" / "helpers" / "ftrack_javascript"
UNTESTED = "FTRACK'S JAVASCRIPT CLIENT WAS NOT RUN"
INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")


@pytest.fixture
def client(tmp_path: Path) -> Path:
    """The script in a folder with the client's package, pinned by its hash."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        skip_loudly(UNTESTED, "node and npm are not installed here")
    folder = tmp_path / "client"
    shutil.copytree(SCRIPT, folder)
    done = subprocess.run(INSTALL, cwd=folder, capture_output=True, text=True, timeout=120)
    if done.returncode:
        skip_loudly(UNTESTED, f"its package cannot be installed: {done.stderr[-500:]}")
    return folder / "upload.mjs"


@pytest.mark.slow
def test_the_javascript_client_uploads_and_reads(farm: Farm, client: Path) -> None:
    folder, sequence_id = render(farm, 3)
    server = farm.sandbox.env["FTRACK_SERVER"]
    who = (server, seed.API_USER, seed.API_KEY)
    command = ["node", str(client), *who, seed.VERSION_ID, sequence_id]

    done = subprocess.run(command, cwd=client.parent, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["frames"] == {
        path.name.split(".")[1]: hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        for path in folder.iterdir()
    }
    for name, parts in (("one", {None}), ("many", {1, 2, 3})):
        upload = found[name]
        assert (upload["outcome"], upload["same"]) == ("uploaded", True)
        assert {put["part_number"] for put in farm.sandbox.store.puts(upload["id"])} == parts
    assert found["aborted"]["outcome"] == "aborted"
    assert farm.sandbox.ftrack.locations(found["aborted"]["id"]) == []
