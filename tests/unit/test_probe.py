"""What a node that was set aside looks at before it goes on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from cryptography.fernet import Fernet

from tasks.config.sealing import Codec
from tasks.probe import CAN_AGAIN
from tasks.records import keys
from tasks.records.commands import Commands
from tasks.records.record import Record
from tasks.records.scripts import Scripts
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
