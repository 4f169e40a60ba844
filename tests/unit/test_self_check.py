"""What a worker finds out about itself before it takes tasks."""

from __future__ import annotations

import time
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tasks.config.sealing import Codec, fingerprints
from tasks.config.settings import Settings
from tasks.records import keys
from tests.unit.records import Farm, file_of
from workers import self_check

OLD, NEW, STRANGE = (Fernet.generate_key().decode() for _ in range(3))


def settings_with(*secret_keys: str) -> Settings:
    return Settings("redis://localhost", secret_keys=secret_keys)


def note(farm: Farm, name: str, *secret_keys: str) -> None:
    """Note a worker that runs with these keys."""
    farm.client.zadd(keys.ALIVE, {f"0.1.0 {name}": farm.now()})
    self_check.note_keys(settings_with(*secret_keys), farm.client, name)


def is_wrong(farm: Farm, *secret_keys: str) -> bool:
    """Whether a worker with these keys finds that they are not the farm's."""
    return self_check.key_fault(settings_with(*secret_keys), farm.client, "me") is not None


@pytest.mark.parametrize(
    ("ours", "wrong"),
    [((OLD,), False), ((NEW, OLD), False), ((NEW,), True), ((), True), ((STRANGE,), True)],
)
def test_a_key_is_wrong_if_most_workers_seal_with_another(
    farm: Farm, ours: tuple[str, ...], wrong: bool
) -> None:
    note(farm, "w1", OLD)
    note(farm, "w2", OLD, NEW)

    assert is_wrong(farm, *ours) is wrong


def test_a_key_is_right_if_only_one_of_many_seals_with_another(farm: Farm) -> None:
    note(farm, "w1", OLD)
    note(farm, "odd", STRANGE)

    assert not is_wrong(farm, OLD)
    assert is_wrong(farm, NEW)


def test_between_two_workers_the_records_decide(farm: Farm) -> None:
    note(farm, "other", OLD)
    assert not is_wrong(farm, NEW), "there is no record yet"
    farm.record.scripts.codec = farm.commands.scripts.codec = Codec([OLD])
    farm.enqueue(file_of(), file_of())

    assert is_wrong(farm, NEW)
    assert not is_wrong(farm, OLD)


def test_a_worker_that_is_gone_has_no_say(farm: Farm) -> None:
    for name in ("w1", "w2", "w3"):
        note(farm, name, OLD)
        farm.client.zadd(keys.ALIVE, {f"0.1.0 {name}": farm.now() - 31})

    assert not is_wrong(farm, NEW)


def test_few_of_thousands_of_workers_are_asked_for_their_keys(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"w{number}" for number in range(3 * self_check.MOST_ASKED)]
    farm.client.zadd(keys.ALIVE, {f"0.1.0 {name}": farm.now() for name in names})
    farm.client.hset(
        keys.FINGERPRINTS, mapping=dict.fromkeys(names, fingerprints(settings_with(OLD))[0])
    )
    asked: list[str] = []
    hmget = farm.client.hmget

    def noted(key: str, fields: list[str]) -> Any:
        asked.extend(fields)
        return hmget(key, fields)

    monkeypatch.setattr(farm.client, "hmget", noted)

    assert is_wrong(farm, NEW)
    assert len(set(asked)) == self_check.MOST_ASKED


def test_fingerprints_tell_nothing_of_a_key() -> None:
    found: Any = fingerprints(settings_with(OLD, NEW))

    assert len(set(found)) == 2
    assert not [text for text in found if text in OLD + NEW]
    assert fingerprints(settings_with()) == ["none"]


@pytest.mark.parametrize(
    ("ahead_s", "says"),
    [(0, ""), (25, ""), (-25, ""), (40, "ahead of Redis's"), (-40, "behind Redis's")],
)
def test_a_clock_is_wrong_if_it_differs_by_more_than_half_a_lease(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, ahead_s: float, says: str
) -> None:
    now = farm.now()
    monkeypatch.setattr(time, "time", lambda: now + ahead_s)

    fault = self_check.clock_fault(farm.client, lease_s=60)

    assert (says in fault.error) if fault else not says
