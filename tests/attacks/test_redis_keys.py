"""Someone who writes one wrong value into Redis: no worker exits, and other uploads arrive."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from tasks.intake.envelope import make_body, sign
from tasks.intake.inbox import INBOX
from tasks.records import keys
from tasks.records.key_types import BINDING_DEADLINES, BINDINGS, TYPES
from tasks.records.states import ENDED, STATES
from tests.farm import Farm, wait_until
from tests.functional.conftest import MakeFarm

pytestmark = pytest.mark.slow

HUGE = "9" * 100_000


def wrong_type(client: Any, key: str) -> None:
    client.delete(key)
    if TYPES.get(key) == "hash":
        client.rpush(key, "x")
    else:
        client.hset(key, "a", "b")


def garbage(client: Any, key: str) -> None:
    """Put values of the right type there that mean nothing."""
    kind = TYPES[key]
    odd: list[Any] = ["x", "1e300", "nan", b"\xff\x00", "{", "[]"]
    if kind == "hash":
        known = [*client.hkeys(key)[:50], "until", "probed", "since", "strikes", "bandwidth"]
        client.hset(key, mapping=dict(zip(known, itertools.cycle(odd), strict=False)))
    elif kind == "zset":
        client.zadd(key, dict(zip(odd, (0, 1e300, -1e300, 1, 2, 3), strict=True)))
    elif kind == "set":
        client.sadd(key, *odd)
    elif kind == "list":
        client.rpush(key, *odd)
    else:
        client.set(key, "x")


def huge(client: Any, key: str) -> None:
    """Put a great deal there: 100 kB in one value, and 500 more."""
    kind, many = TYPES[key], [f"{number:0>100}" for number in range(500)]
    if kind == "hash":
        client.hset(key, mapping={"huge": HUGE, HUGE: "1", **dict.fromkeys(many, "1")})
    elif kind == "zset":
        client.zadd(key, {HUGE: 1, **dict.fromkeys(many, 1)})
    elif kind == "set":
        client.sadd(key, HUGE, *many)
    elif kind == "list":
        client.rpush(key, HUGE, *many)
    else:
        client.set(key, HUGE)


#: These are poisoned together: they are alike, and nothing but their lists depends on them.
ALIKE = tuple(
    index(state)
    for index, states in ((keys.file_state_key, STATES), (keys.state_key, ENDED))
    for state in states
)
GROUPS = [ALIKE, *((key,) for key in TYPES if key not in ALIKE)]


def tidy(farm: Farm) -> None:
    """Remove what was put there, so that the next poison meets a farm as if just started."""
    farm.redis.delete(*TYPES.keys() - {"unacked", "unacked_index", keys.RECONCILER})


def check_three_arrive(farm: Farm, key: str) -> None:
    components = [farm.sandbox.ftrack.add_component("f.exr") for _ in range(3)]
    requests = [
        {"path": str(farm.make_file("f.exr", 2000)), "component_id": component_id}
        for component_id in components
    ]
    if farm.redis.type(INBOX) in {"list", "none"}:
        farm.redis.lpush(INBOX, sign(make_body(requests, time.time(), "node7"), ()))
    else:  # no hook can send before it is repaired; its spool keeps the request
        wait_until(lambda: farm.redis.type(INBOX) == "none", 20)
        farm.redis.lpush(INBOX, sign(make_body(requests, time.time(), "node7"), ()))
    wait_until(
        lambda: all(farm.sandbox.ftrack.locations(one) for one in components),
        30,
        describe=lambda: f"{key!r}: {farm.workers[0].log_text()[-3000:]}",
    )
    assert farm.workers[0].alive, key


def test_a_host_whose_queue_is_of_another_type_goes_on(make_farm: MakeFarm) -> None:
    """Its worker waits on both queues at once, so it would not get what all share either."""
    farm = make_farm(workers=1)
    for number in ("", "\x06\x163"):
        farm.redis.set(f"farmhaul.{socket.gethostname()}{number}", "x")
        shared, local = farm.upload(), farm.upload("--node-local")
        farm.wait_located([shared.id, local.id])
    assert farm.workers[0].log_text().count("keys_repaired") == 2
    assert farm.redis.hget(keys.TOTALS, "repaired") == "2"


def test_a_worker_starts_whatever_holds_its_bindings(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=1)
    worker = farm.workers[0]
    worker.stop()
    for key in (*BINDINGS, BINDING_DEADLINES):
        farm.redis.delete(key)
        farm.redis.set(key, "x")
    worker.launch()
    worker.wait_ready()
    farm.wait_located([farm.upload().id])


@pytest.mark.parametrize("poison", [wrong_type, garbage, huge])
def test_no_key_of_redis_stops_a_worker_or_the_others_uploads(
    make_farm: MakeFarm, poison: Callable[[Any, str], None]
) -> None:
    farm = make_farm(workers=1, env={"FARMHAUL_LEASE_SECONDS": "3"})
    pid = farm.workers[0].pid
    for group in GROUPS:
        for key in group:
            poison(farm.redis, key)
        check_three_arrive(farm, group[0])
        tidy(farm)

    assert farm.workers[0].alive
    assert farm.workers[0].pid == pid
    wait_until(lambda: farm.redis.exists(keys.ALIVE))
