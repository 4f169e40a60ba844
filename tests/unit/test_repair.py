"""What somebody else puts into Redis stops neither the farm nor the uploads next to it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from itertools import cycle, product
from typing import Any

import pytest
import redis
from kombu.transport.redis import Channel

from tasks.chain import FETCH_PRIORITY, QUEUE, list_key, queue_of
from tasks.records import key_types, keys
from tasks.records.key_types import TYPES
from tasks.records.scripts import assembled_scripts
from tasks.records.states import SERVICES, STAGES
from tests.sandbox import RedisServer
from tests.unit.records import Farm, file_of, member_of, sequence_of

#: Commands that put another type there than the key's own.
PUT = {
    "list": ("RPUSH", "x"),
    "hash": ("HSET", "a", "b"),
    "string": ("SET", "x"),
    "zset": ("ZADD", "1", "x"),
    "set": ("SADD", "x"),
}
#: Those of remote control, of its answers, and of events.
EXCHANGES = ("celery.pidbox", "reply.celery.pidbox", "celeryev")
#: What stands where a number belongs.
ODD_NUMBERS = ("x", "", "nan", "inf", "1e300", "-1", "9223372036854775807", "1.5", "0x10", "[]")
#: Fields that scripts read as numbers or as JSON.
FIELDS = (
    *("fence", "stage", "done", "size", "score", "sent", "ahead", "retries", "since", "created"),
    *("updated", "asked", "failed_alone", "retry_stage", "tried", "failed", "exclusive"),
    *(f"{kind}:1" for kind in ("deliveries", "tries")),
    *("located", "due", "rate", "rate_at", "rate_from", "seen"),
)


def put_other_type(client: Any, key: str) -> None:
    command, *values = PUT["set" if TYPES.get(key) == "list" else "list"]
    client.delete(key)
    client.execute_command(command, key, *values)


def located(farm: Farm, *ids: str) -> list[str]:
    """Move whatever is pending through all stages; return the states of these uploads."""
    claim = str(uuid.uuid4())
    transfers = farm.deliver(claim=claim)
    for stage in STAGES[1:]:
        for transfer in transfers:
            farm.settle(transfer, "advanced")
        transfers = farm.deliver(stage, claim)
    for transfer in transfers:
        farm.settle(transfer, "located")
    return farm.states(ids)


def test_the_queues_are_those_of_kombu() -> None:
    stages = {list_key(queue_of(), stage) for stage in STAGES}
    fetches = f"{QUEUE}{Channel.sep}{FETCH_PRIORITY}"

    assert {*key_types.QUEUES} == stages | {fetches}
    assert Channel.unacked_key == key_types.UNACKED
    assert Channel.unacked_index_key == key_types.UNACKED_INDEX
    assert Channel.unacked_mutex_key == key_types.UNACKED_MUTEX
    assert {*key_types.BINDINGS} == {
        *(Channel.keyprefix_queue % name for name in (QUEUE, *EXCHANGES)),
        Channel.keyprefix_binding_permanent % QUEUE,
    }
    assert Channel.keyprefix_binding_deadlines == key_types.BINDING_DEADLINES


def test_each_key_of_which_there_is_one_has_a_type() -> None:
    prefixes = {
        *(keys.UPLOAD, keys.FETCH, keys.STATE, keys.FILE_STATE, keys.FILES, keys.LEFT, keys.CLAIM),
        *(keys.CHECK, keys.DROPPED),
        keys.PLACE_REFUSED,
        *(keys.COMPONENT, keys.PARTS, keys.RUNS, keys.GATE, keys.BUCKET, keys.FAILING, keys.PREFIX),
        *(keys.GROUP, keys.TERM, keys.CARRIED, keys.SCANNED),
        keys.NOTICES_WANTED,  # written again before each reading, whatever its type
    }
    names = {value for value in vars(keys).values() if str(value).startswith(keys.PREFIX)}

    assert names - prefixes - {*TYPES} == set()


def test_a_key_of_another_type_stops_no_upload(farm: Farm) -> None:
    for key in TYPES:
        put_other_type(farm.client, key)
        ids = farm.enqueue(file_of(), file_of(), file_of())
        put_other_type(farm.client, key)

        farm.record.apply_due()
        states = located(farm, *ids)
        if key == keys.PENDING:  # what was in it is gone
            assert set(states) == {"pending"}
            states = located(farm, *farm.enqueue(file_of(), file_of()))

        assert set(states) == {"located"}, key


def test_a_key_of_another_type_is_removed_and_logged(
    farm: Farm, caplog: pytest.LogCaptureFixture
) -> None:
    for key in TYPES:
        put_other_type(farm.client, key)
    with caplog.at_level(logging.ERROR):
        farm.record.scripts.repair()
        farm.record.scripts.repair()

    [line] = caplog.messages
    assert line.startswith(
        "keys_repaired keys=_kombu.binding.celery.pidbox,_kombu.binding.celeryev,"
    )
    assert not farm.client.exists(*TYPES.keys() - {keys.TOTALS})
    assert farm.counted("repaired") == len(TYPES)


PER_UPLOAD = ("upload:", "parts:", "runs:", "files:", "left:", "component:")


def test_a_record_of_another_type_fails_alone(farm: Farm) -> None:
    for prefix in PER_UPLOAD:
        broken, *good = farm.enqueue(file_of(), file_of(), file_of())
        name = farm.field(broken, "component") if prefix == "component:" else broken
        put_other_type(farm.client, f"farmhaul:{prefix}{name}")

        assert located(farm, *good) == ["located", "located"], prefix
        assert located(farm, broken) != ["active"], prefix


def test_a_heartbeat_renews_the_neighbours_of_a_broken_record(farm: Farm) -> None:
    ids = farm.enqueue(file_of(), file_of(), file_of())
    transfers = farm.deliver()
    put_other_type(farm.client, f"farmhaul:component:{farm.field(ids[0], 'component')}")

    farm.record.heartbeat("claim", {one.upload_id: (one.fence, 5) for one in transfers})

    assert [farm.field(upload_id, "sent") for upload_id in ids] == ["5", "5", "5"]


def some_of(fields: Iterable[str]) -> list[tuple[str, str]]:
    """Return each field with two odd values, and each value with several fields."""
    values = cycle(ODD_NUMBERS)
    return [(field, next(values)) for field in fields for _ in range(2)]


@pytest.mark.parametrize("stage", [0, 2])
@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(some_of(FIELDS), id="some"),
        pytest.param([*product(FIELDS, ODD_NUMBERS)], id="all", marks=pytest.mark.slow),
    ],
)
def test_a_field_that_is_no_number_holds_up_no_neighbour(
    farm: Farm, stage: int, cases: list[tuple[str, str]]
) -> None:
    for field, value in cases:
        broken, *good = farm.enqueue(file_of(), file_of(), file_of())
        transfers = farm.pass_stages(STAGES[stage], claim := str(uuid.uuid4())) if stage else []
        farm.client.hset(keys.upload_key(broken), field, value)
        if transfers:
            farm.record.heartbeat(claim, {one.upload_id: (one.fence, 5) for one in transfers})
            for transfer in transfers:
                farm.settle(transfer, "pending")

        for _ in range(3):  # it may be alone in its batch
            states = located(farm, *good)
        assert states == ["located", "located"], (field, value)
        farm.commands.cancel(broken)
        assert farm.state(broken) in {"located", "failed", "cancelled"}, (field, value)


def test_a_poisoned_counter_breaks_no_script(farm: Farm) -> None:
    for name in ("enqueued", "located", "located_bytes", "seconds_sum"):
        farm.client.hset(keys.TOTALS, name, "x")

    ids = farm.enqueue(file_of(), file_of())

    assert located(farm, *ids) == ["located", "located"]
    assert farm.counted("located") == 2


def test_a_gate_that_nobody_has_closed_stops_no_claim(farm: Farm) -> None:
    for until in ("1e12", "x", "inf", "nan"):
        for service in SERVICES:
            farm.client.hset(keys.gate_key(service), mapping={"until": until, "probed": until})
        [upload_id] = farm.enqueue(file_of())

        assert located(farm, upload_id) == ["located"], until


def test_a_full_redis_is_no_broken_record(redis_server: RedisServer) -> None:
    client = redis.Redis.from_url(redis_server.url, decode_responses=True)
    farm = Farm(client)
    [upload_id] = farm.enqueue(file_of())
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(redis.OutOfMemoryError):
            farm.enqueue(file_of())
    finally:
        client.config_set("maxmemory", "0")

    assert farm.state(upload_id) == "pending"
    assert located(farm, upload_id) == ["located"]


def test_a_full_redis_lets_an_active_upload_be_cancelled(farm: Farm) -> None:
    [upload_id] = farm.enqueue(file_of())
    farm.deliver()
    assert farm.state(upload_id) == "active"
    farm.client.config_set("maxmemory", "1")
    try:
        farm.commands.cancel(upload_id)
    finally:
        farm.client.config_set("maxmemory", "0")

    assert farm.state(upload_id) == "cancelled"
    assert farm.field(upload_id, "claim") == ""


def test_a_full_redis_is_told_of_where_a_record_is_to_be_repaired(farm: Farm) -> None:
    [upload_id] = farm.enqueue(file_of())
    farm.client.hset(keys.upload_key(upload_id), "fence", "x")
    put_other_type(farm.client, f"farmhaul:component:{farm.field(upload_id, 'component')}")
    farm.client.config_set("maxmemory", "1")
    try:
        with pytest.raises(redis.OutOfMemoryError):
            farm.commands.retry(upload_id)
    finally:
        farm.client.config_set("maxmemory", "0")

    assert located(farm, upload_id) == ["located"]


def test_what_cannot_be_repaired_fails_with_its_publish_and_expires(farm: Farm) -> None:
    farm.client.set(keys.NOTICES_WANTED, 1)
    member = member_of()
    [publish] = farm.enqueue(sequence_of(member, 1))
    text, _, _ = assembled_scripts()["reclaim"].partition("local claim = ")
    text += "attempt(args.id, error, 'odd') return finish_script(0)"
    farm.client.eval(text, 0, f'{{"id": "{member.upload_id}", "ttl_s": 99}}')

    assert farm.states([member.upload_id, publish]) == ["failed", "failed"]
    assert farm.field(publish, "error_kind") == "RecordBroken"
    assert 0 < farm.client.ttl(keys.upload_key(member.upload_id)) <= 99
    assert farm.counted("failed") == {"RecordBroken": 2}
    [notice] = farm.client.zrange(keys.NOTICES, 0, -1)
    assert publish in notice
    assert "upload_failed" in notice
    assert farm.client.zcard(keys.file_state_key("failed")) == 1
    assert not farm.client.zscore(keys.PENDING, member.upload_id)


@pytest.mark.parametrize("name", ["strikes", "nodes", "closed", "node:w1"])
def test_a_gate_closes_whatever_its_counts_were(farm: Farm, name: str) -> None:
    gate = keys.gate_key("store")
    farm.client.hset(gate, name, "1.5")
    ids = farm.enqueue(*(file_of() for _ in range(6)))  # the third strike may begin it again

    for transfer in farm.pass_stages(STAGES[2]):
        assert farm.retry_later(transfer, gate="store") == "retrying"

    assert float(farm.client.hget(gate, "until")) > farm.now()
    assert farm.states(ids) == ["retrying"] * 6


@pytest.mark.parametrize("value", ["1.5", "1e3", "0x10", " 1"])
def test_a_count_that_redis_cannot_add_to_is_repaired(farm: Farm, value: str) -> None:
    for name in ("fence", "deliveries:1", "tries:Refused", "retries", "sent"):
        [upload_id] = farm.enqueue(file_of())
        farm.client.hset(keys.upload_key(upload_id), name, value)
        for transfer in farm.pass_stages(STAGES[2], str(uuid.uuid4())):
            farm.retry_later(transfer)
        farm.make_due()

        assert farm.state(upload_id) == "pending", name
        farm.commands.cancel(upload_id)
