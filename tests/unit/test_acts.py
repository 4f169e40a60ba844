"""A record says who has retried or cancelled its upload."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from cryptography.fernet import Fernet

from tasks.config.sealing import Codec
from tasks.records import acts, keys
from tasks.records.commands import Commands
from tasks.records.scripts import Scripts
from tasks.records.upload_state import UploadState
from tests.unit.records import Farm, file_of
from workers.cli import output
from workers.web.access import Records
from workers.web.actions import Actions

ADA, BEN = "ada on ws12", "ben in Flower"


def upload_of(farm: Farm, upload_id: str) -> UploadState:
    records = Records()
    records.scripts = farm.record.scripts
    one = records.upload(upload_id)
    assert one
    return one.upload


def test_who_cancels_and_retries_is_on_the_page_and_in_status(farm: Farm) -> None:
    [upload_id] = farm.enqueue(file_of())
    records = Records()
    records.scripts = farm.record.scripts

    assert Actions(records).change_upload("cancel", upload_id, "ben") == "cancelled"
    one = records.upload(upload_id)
    assert one
    assert [event[1:] for event in one.events[-1:]] == [("cancelled", f"by {BEN}")]

    assert farm.commands.retry(upload_id, ADA).state == "pending"
    one = records.upload(upload_id)
    assert one
    said = [event[1:] for event in one.events]
    assert said[-2:] == [("cancelled", f"by {BEN}"), ("retried", f"by {ADA}")]
    lines = output.details(one.upload, one.upload.acts[0].at + 120, {})
    assert lines[-2:] == [f"  cancelled 2 min ago by {BEN}", f"  retried   2 min ago by {ADA}"]


def test_only_what_changes_something_is_noted(farm: Farm) -> None:
    [located] = farm.enqueue(file_of())
    farm.settle(farm.deliver()[0], "located")
    [cancelled] = farm.enqueue(file_of())
    for _ in range(2):
        farm.commands.cancel(located, ADA)
        farm.commands.cancel(cancelled, ADA)
    farm.commands.retry("gone", ADA)

    assert upload_of(farm, located).acts == ()
    assert [act.who for act in upload_of(farm, cancelled).acts] == [ADA]
    assert not farm.client.exists(keys.upload_key("gone"))
    acts.note(farm.record.scripts, "gone", acts.RETRIED, ADA)
    assert not farm.client.exists(keys.upload_key("gone"))


def test_the_latest_five_are_kept(farm: Farm) -> None:
    [upload_id] = farm.enqueue(file_of())
    for number in range(4):
        farm.commands.cancel(upload_id, f"{number}")
        farm.commands.retry(upload_id, f"{number}")

    assert [(act.what, act.who) for act in upload_of(farm, upload_id).acts] == [
        ("retried", "1"),
        *((what, who) for who in "23" for what in ("cancelled", "retried")),
    ]


@pytest.mark.parametrize(
    "poison",
    [
        *("x", "{}", "[1]", "[[]]", '[[1, "gone", "x"]]', "null", "[[NaN]]", "[[1e999]]"),
        pytest.param("[" * 3000, id="deep"),
    ],
)
def test_what_somebody_else_writes_there_is_no_error(farm: Farm, poison: str) -> None:
    [upload_id] = farm.enqueue(file_of())
    farm.client.hset(keys.upload_key(upload_id), "acts", poison)

    assert upload_of(farm, upload_id).acts == ()
    farm.commands.cancel(upload_id, ADA)
    assert upload_of(farm, upload_id).state == "cancelled"


@pytest.mark.parametrize("row", ['[NaN, "retried", "x"]', '[1e999, "retried", "x"]'])
def test_what_cannot_be_written_again_gives_way(farm: Farm, row: str) -> None:
    [upload_id] = farm.enqueue(file_of())
    farm.client.hset(keys.upload_key(upload_id), "acts", f"[{row}]")

    farm.commands.cancel(upload_id, ADA)

    assert [act.who for act in upload_of(farm, upload_id).acts] == [ADA]


def test_a_list_of_any_length_is_cut(farm: Farm) -> None:
    [upload_id] = farm.enqueue(file_of())
    rows = ",".join(f'[{number}, "retried", "{number}"]' for number in range(10_000))
    farm.client.hset(keys.upload_key(upload_id), "acts", f"[{rows}]")
    assert [act.at for act in upload_of(farm, upload_id).acts] == [*range(9995, 10_000)]

    farm.commands.cancel(upload_id, ADA)

    assert len(json.loads(farm.client.hget(keys.upload_key(upload_id), "acts"))) == acts.KEPT


def test_names_are_sealed_as_records_are(farm: Farm) -> None:
    codec = Codec([Fernet.generate_key().decode()])
    scripts = Scripts(farm.client, codec)
    request = file_of()
    commands = Commands(scripts)
    commands.enqueue([request])
    commands.cancel(request.upload_id, ADA)

    text = farm.client.hget(keys.upload_key(request.upload_id), "acts")
    assert "ada" not in text
    assert [act.who for act in acts.acts_of(text, codec)] == [ADA]


def test_a_full_redis_takes_no_note_and_cancels(farm: Farm) -> None:
    [upload_id] = farm.enqueue(file_of())
    farm.deliver()
    farm.client.config_set("maxmemory", "1")
    try:
        assert farm.commands.cancel(upload_id, ADA) == "cancelled"
    finally:
        farm.client.config_set("maxmemory", "0")

    assert upload_of(farm, upload_id).acts == ()


@pytest.mark.parametrize("log", ["[" * 100_000, '[[1, 1e999, "n", "k", "e"]]', "[1]", "{}"])
def test_a_page_shows_an_upload_whatever_its_log_is(farm: Farm, log: str) -> None:
    [upload_id] = farm.enqueue(file_of())
    farm.client.hset(keys.upload_key(upload_id), mapping={"log": log, "acts": log})

    assert upload_of(farm, upload_id).acts == ()


def test_the_id_of_a_publish_is_not_shown_as_that_of_a_component(farm: Farm) -> None:
    [upload_id] = farm.enqueue(file_of())
    file = upload_of(farm, upload_id)
    publish = replace(file, path="sh010 v003", files=3)

    has_component = [
        any(line.startswith("  component ") for line in output.details(one, 0.0, {}))
        for one in (file, publish)
    ]
    assert has_component == [True, False]
