"""What a node that was set aside looks at before it goes on."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tasks.config.sealing import Codec
from tasks.probe import CAN_AGAIN
from tasks.records import keys
from tasks.records.commands import Commands
from tasks.records.record import Record
from tasks.records.scripts import Scripts
from tasks.stage.mounts import Mounts
from tasks.stage.threads import Threads
from tasks.transfer.errors import ServiceUnavailableError, TargetRefusedError
from tasks.transfer.targets import Location, Target
from tests.unit.records import Farm, file_of


def test_a_node_looks_at_the_records_that_it_could_not_open(farm: Farm) -> None:
    key, other = (Codec([Fernet.generate_key().decode()]) for _ in range(2))
    request = file_of()
    Commands(Scripts(farm.client, key)).enqueue([request])
    farm.client.sadd(f"{keys.FAILING}records:bad", request.upload_id)

    def can_again(codec: Codec) -> bool:
        here: Any = SimpleNamespace(record=Record(Scripts(farm.client, codec)))
        return CAN_AGAIN["records"](here, "bad")

    assert not can_again(other)
    assert can_again(key)


def test_a_node_whose_failures_have_expired_goes_on(farm: Farm) -> None:
    farm.client.sadd(f"{keys.FAILING}records:bad", file_of().upload_id)
    here: Any = SimpleNamespace(record=farm.record)

    assert CAN_AGAIN["records"](here, "bad")


def test_a_node_looks_at_a_file_that_it_could_not_read(
    farm: Farm, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "main.exr"
    request = file_of(size=5)._replace(path=str(path), mtime_ns=10**9)
    farm.enqueue(request)
    farm.client.sadd(f"{keys.FAILING}files:bad", request.upload_id)
    settings = SimpleNamespace(storage_roots=(str(tmp_path),))
    here: Any = SimpleNamespace(
        record=farm.record, mounts=Mounts(list), threads=Threads(2), settings=settings
    )

    assert not CAN_AGAIN["files"](here, "bad")
    assert "probe_failed" in caplog.text
    path.write_bytes(b"an older frame")
    assert not CAN_AGAIN["files"](here, "bad"), "it is not the one that was asked for"
    path.write_bytes(b"frame")
    os.utime(path, (1, 1))
    assert CAN_AGAIN["files"](here, "bad")
    farm.client.delete(f"{keys.FAILING}files:bad")
    assert CAN_AGAIN["files"](here, "bad")


@pytest.mark.parametrize(
    ("answer", "can"),
    [
        (Location("id", "disk", "/mnt"), True),
        (Location("id", "disk", "/elsewhere"), False),
        (TargetRefusedError("location disk", "has no folder", "folder"), False),
        (ServiceUnavailableError("ftrack", "502"), False),
    ],
)
def test_a_node_looks_up_a_location_that_it_did_not_know(
    farm: Farm, answer: Any, *, can: bool
) -> None:
    request = file_of(Target.under_version("9f1d2c3b-0000-4000-8000-000000000001", "main"))
    request = request._replace(target=request.target._replace(also_in="disk"))
    farm.enqueue(request)
    farm.client.sadd(f"{keys.FAILING}locations:bad", request.upload_id)

    def find(_names: set[str]) -> dict[str, Any]:
        if isinstance(answer, ServiceUnavailableError):
            raise answer
        return {"disk": answer}

    here: Any = SimpleNamespace(
        record=farm.record,
        settings=SimpleNamespace(also_in=""),
        locations=SimpleNamespace(find=find),
    )

    assert CAN_AGAIN["locations"](here, "bad") is can
