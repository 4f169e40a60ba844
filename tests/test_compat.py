"""What the released versions have left in Redis and in spools is understood by this one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tasks.config.sealing import Codec, url_codec
from tasks.config.settings import FtrackSettings, Settings
from tasks.records.record import Record
from tasks.records.status import Status
from tasks.stage.message import with_signed
from tasks.transfer.models import Batch
from tests.compat.__main__ import FTRACK, KEY, load
from tests.farm import Farm
from tests.sandbox import Sandbox

SAMPLES = sorted((Path(__file__).parent / "compat").glob("*/*.json"))
PATHS = {"/mnt/compat/begun.exr", "/mnt/compat/made.mov", "/mnt/compat/unseen.exr"}


@pytest.fixture(params=SAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def sample(request: pytest.FixtureRequest) -> dict[str, Any]:
    keys = (KEY,) if request.param.stem == "sealed" else ()
    return {**json.loads(request.param.read_text(encoding="utf-8")), "secret_keys": keys}


@pytest.fixture
def client(sandbox: Sandbox, sample: dict[str, Any]) -> Iterator[Any]:
    """A Redis as that version has left it."""
    with redis.Redis.from_url(sandbox.redis.url) as client:
        load(client, sample["keys"])
        yield client


@pytest.fixture
def record(client: Any, sample: dict[str, Any]) -> Record:
    return Record(client, Codec(sample["secret_keys"]))


def test_records_are_shown(client: Any, sample: dict[str, Any]) -> None:
    ids = [key.rpartition(":")[2] for key in sample["keys"] if key.startswith("farmhaul:upload:")]

    found = Status(client, Codec(sample["secret_keys"])).find(ids)

    assert {one.path for one in found if one} == PATHS


def test_pending_records_are_claimed(record: Record) -> None:
    delivery = record.deliver("a-new-claim", "compute_checksum", "w2")

    assert delivery.refused == []
    made, unseen = sorted(delivery.transfers, key=lambda one: one.path)
    assert (made.path, unseen.path) == ("/mnt/compat/made.mov", "/mnt/compat/unseen.exr")
    assert (made.target.name, made.target.thumbnail, made.target.encode) == ("main", True, True)
    assert delivery.unsized == {unseen.upload_id}


def test_a_batch_that_is_under_way_goes_on_with_its_next_stage(
    record: Record, sample: dict[str, Any]
) -> None:
    delivery = record.deliver("a-claim", "get_put_metadata", "w2")
    settings = Settings("", secret_keys=sample["secret_keys"], ftrack=FtrackSettings(*FTRACK))

    batch = Batch("a-claim", tuple(delivery.transfers))
    [transfer] = with_signed(batch, sample["message"], url_codec(settings)).transfers

    assert (delivery.refused, transfer.path) == ([], "/mnt/compat/begun.exr")
    assert (transfer.size_bytes, transfer.checksum) == (6, "rL0Y20zC+Fzt72VPzMSk2A==")
    assert transfer.signed
    assert transfer.signed.url == "https://store/key?signature"


def test_spooled_uploads_are_sent(sandbox: Sandbox, sample: dict[str, Any], tmp_path: Path) -> None:
    for name, text in sample["spool"].items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    hook = Farm(
        sandbox,
        tmp_path / "hook",
        workers=0,
        env={
            "FARMHAUL_SPOOL": str(tmp_path),
            "FARMHAUL_SECRET_KEY": ",".join(sample["secret_keys"]),
        },
    )

    done = hook.cli("flush-spool")

    assert (done.returncode, list(tmp_path.glob("*.json"))) == (0, []), done.stderr
    assert list(tmp_path.glob("*.bad")) == []
    [found] = hook.cli("status", "--json").stdout.splitlines()
    assert json.loads(found)["path"] == "/mnt/compat/spooled.exr"


# Sealed alone: what is in the clear takes the same way.
@pytest.mark.parametrize(
    "sample",
    [path for path in SAMPLES if path.stem == "sealed"],
    indirect=True,
    ids=lambda path: path.parent.name,
)
def test_a_worker_takes_chains_and_records(
    sandbox: Sandbox, client: Any, sample: dict[str, Any], tmp_path: Path
) -> None:
    env = {
        "FARMHAUL_STORAGE_ROOTS": "/mnt/compat",
        "FARMHAUL_SECRET_KEY": ",".join(sample["secret_keys"]),
    }
    ids = [
        key.rpartition(":")[2]
        for key, (kind, value) in sample["keys"].items()
        if key.startswith("farmhaul:upload:") and value["state"] == "pending"
    ]

    with Farm(sandbox, tmp_path / "farm", workers=1, env=env) as farm:
        farm.wait_state(ids, "retrying")  # their files are not on this machine
        assert {farm.record(one)["error_kind"] for one in ids} == {"FileNotReadyError"}
        log = farm.workers[0].log_text()

    assert "Traceback" not in log
    assert "farmhaul.compute_checksum" in log
