"""Messages that a node refuses: it says which node that is, why, and what to do."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tasks.config.sealing import CONTENT_TYPE, Codec
from tasks.records import keys, refusals
from tests.unit.records import Farm
from workers.broker import seal
from workers.broker.refused import Refused
from workers.wording import refused_row

PIDBOX = "w1@node7.celery.pidbox"


@pytest.fixture(autouse=True)
def codec() -> Iterator[Codec]:
    """Seal with a key, and go back to none."""
    codec = Codec([Fernet.generate_key().decode()])
    seal.use(codec)
    yield codec
    seal.use(Codec(()))


@pytest.fixture
def message() -> dict[str, Any]:
    """A message for remote control, sealed."""
    made: dict[str, Any] = {
        "headers": {},
        "properties": {"delivery_info": {}, "delivery_tag": "a tag"},
        "body": "",
        "content-type": CONTENT_TYPE,
        "content-encoding": "utf-8",
    }
    seal.sign(made)
    return made


@pytest.mark.parametrize(
    ("later_s", "why"),
    [
        (0, ""),
        (59, ""),
        (75, "it was sealed 75 s ago, by the clock of this node"),
        (-75, "it was sealed 75 s in the future, by the clock of this node"),
    ],
)
def test_a_broadcast_is_refused_by_a_clock_that_differs(
    message: dict[str, Any], monkeypatch: pytest.MonkeyPatch, later_s: float, why: str
) -> None:
    sealed_at = Codec.sealed_at(message["headers"][seal.SEAL])
    assert sealed_at == pytest.approx(time.time(), abs=5)
    monkeypatch.setattr(time, "time", lambda: sealed_at + later_s)

    assert seal.refusal(message, PIDBOX) == why


def test_a_message_counts_only_in_the_queue_that_it_was_sent_to(message: dict[str, Any]) -> None:
    """Moved to the common queue, a file of one host alone would be read by another."""
    way = {"exchange": "farmhaul.node7", "routing_key": "farmhaul.node7"}
    sent = {**message, "headers": {"task": "farmhaul.compute_checksum"}}
    sent["properties"] = {"delivery_info": way, "delivery_tag": "a tag"}
    seal.sign(sent)

    assert seal.refusal(sent, "farmhaul.node7") == ""
    assert seal.refusal(sent, "farmhaul") == "it does not belong in this queue"
    way["routing_key"] = "farmhaul"
    assert seal.refusal(sent, "farmhaul") == "it was changed after it was sealed"


def test_a_key_that_this_node_lacks_is_named_as_the_reason(message: dict[str, Any]) -> None:
    seal.use(Codec([Fernet.generate_key().decode()]))

    assert seal.refusal(message, PIDBOX) == "it is not sealed with a key of this node"


@pytest.mark.parametrize(
    ("why", "step"),
    [
        ("it is not sealed with a key of this node", "compare FARMHAUL_SECRET_KEY"),
        ("it was sealed 75 s ago, by the clock of this node", "by NTP"),
        ("it is malformed", "who else writes to Redis"),
    ],
)
def test_a_refusal_names_the_node_the_reason_and_the_next_step(
    farm: Farm,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    why: str,
    step: str,
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "node7")
    with caplog.at_level(logging.ERROR):
        (refused := Refused()).add(why)
        refused.note(farm.client)

    assert f"node7 refuses a message: {why}; " in caplog.text
    assert step in caplog.text
    assert why in farm.client.hget(keys.REFUSALS, "node7")
    assert farm.counted("refused") == 1
    reason = why.replace("75", "#")
    [row] = refusals.read(farm.client)
    assert row[:4] == ("message", "node7", reason, 1)


def test_refusals_are_counted_by_so_many_reasons_and_nodes(farm: Farm) -> None:
    for number in range(refusals.MOST + 20):
        refusals.note(farm.client, "request", f"node{number}", "it is not signed")
    refusals.note(farm.client, "request", "node7", "it is not signed", 5)

    first, *others = refusals.read(farm.client)
    assert first[:4] == ("request", "other", "other", 20)
    assert others[0][:4] == ("request", "node7", "it is not signed", 6)
    assert len(others) == refusals.MOST


def test_a_refusal_is_forgotten_after_a_day(farm: Farm) -> None:
    for node in ("node7", "node8"):
        refusals.note(farm.client, "request", node, "it is not signed", 3)
    now = int(farm.now())
    for odd in (now + 1000, "nonsense", now - refusals.KEPT_S - 1):
        farm.client.hset(keys.REFUSED_BY, "at|request|node7|it is not signed", odd)
        assert [one.node for one in refusals.read(farm.client)] == ["node8"]
    farm.client.hset(keys.REFUSED_BY, "at|request|node8|it is not signed", now - 7200)
    [row] = refusals.read(farm.client)
    assert refused_row(row) == "3 from node8, the last 2 h ago: it is not signed"

    refusals.note(farm.client, "request", "node7", "it is not signed")

    assert [(one.node, one.times) for one in refusals.read(farm.client)] == [
        ("node8", 3),
        ("node7", 1),
    ]
    assert farm.client.hlen(keys.REFUSED_BY) == 4
