"""What an upload that waits is waiting for, as ``farmhaul status ID`` says it."""

from __future__ import annotations

import re
import time

from tasks.config.sealing import Codec
from tasks.intake.envelope import make_body
from tasks.intake.inbox import INBOX
from tasks.records import keys, refusals
from tasks.records.status import Status
from tests.unit.records import Farm, file_of
from workers.held_back import waits_for
from workers.web.access import Records
from workers.wording import late_entries, not_taken_in, troubles

NOW = 1_795_000_000.0


def said(farm: Farm, upload_id: str) -> dict[str, str]:
    status = Status(farm.client, Codec([]))
    [upload] = status.find([upload_id])
    assert upload
    return waits_for(status, upload, NOW)


def enqueued_later(farm: Farm) -> str:
    time.sleep(0.002)  # uploads of the same millisecond share a place
    [upload_id] = farm.enqueue(file_of())
    return upload_id


def test_a_pending_upload_waits_for_its_turn(farm: Farm) -> None:
    first, second, third = (enqueued_later(farm) for _ in range(3))
    [urgent] = farm.enqueue(file_of(priority="urgent"))
    assert said(farm, first) == {"waits for": "a worker: none takes tasks"}

    farm.take_tasks("w1@a")

    assert said(farm, urgent) == {"waits for": "its turn: it is among the next ones"}
    assert said(farm, first) == {"waits for": "its turn: 1 upload is before it"}
    assert said(farm, third) == {"waits for": "its turn: 3 uploads are before it"}
    farm.commands.cancel(second, "ada")
    assert said(farm, third) == {"waits for": "its turn: 2 uploads are before it"}
    assert said(farm, second) == {}


def test_a_file_that_one_host_sees_waits_behind_others_of_that_host(farm: Farm) -> None:
    farm.take_tasks("w1@a")
    farm.enqueue(file_of())
    [mine] = farm.enqueue(file_of(host="a"))
    [elsewhere] = farm.enqueue(file_of(host="b"))

    assert said(farm, elsewhere) == {"waits for": "a worker on b: none takes tasks"}
    assert said(farm, mine) == {"waits for": "its turn: it is among the next ones"}


def test_a_file_that_all_hosts_see_waits_for_a_worker_that_takes_such(farm: Farm) -> None:
    note = {"node": "w1@a", "version": "1.0", "takes_tasks": True}
    farm.record.scripts.run("note_worker", **note, is_local=True)
    [shared], [mine] = farm.enqueue(file_of()), farm.enqueue(file_of(host="a"))

    expected = {"waits for": "a worker without -Q farmhaul.HOST: none takes tasks"}
    assert said(farm, shared) == expected
    assert said(farm, mine) == {"waits for": "its turn: it is among the next ones"}


def test_the_limit_of_the_farm_is_named_while_it_slows_an_upload(farm: Farm) -> None:
    farm.take_tasks("w1@a")
    [upload_id] = farm.enqueue(file_of())
    farm.client.hset(keys.LIMITS, "bandwidth", "08:00-20:00=50M,else=off")
    in_force = {
        "limit": "08:00-20:00=50M until 20:00 in UTC, in bytes a second, for the whole farm"
    }
    assert said(farm, upload_id) == {"waits for": "its turn: it is among the next ones"} | in_force

    farm.deliver()
    assert said(farm, upload_id) == in_force
    for none in ("off", "nonsense"):
        farm.client.hset(keys.LIMITS, "bandwidth", none)
        assert said(farm, upload_id) == {}


def test_what_was_refused_or_waits_is_said_of_an_unknown_upload(farm: Farm) -> None:
    status = Status(farm.client, Codec([]))
    assert (not_taken_in(status), late_entries(status)) == ("", [])

    refusals.note(farm.client, "request", "node9", "its signature does not fit")
    refusals.note(farm.client, "message", "node8", "it is malformed")
    assert re.sub(r"\d+ s ago", "some s ago", not_taken_in(status)) == (
        "; workers have refused requests (1 from node9, some s ago: its signature does not fit); "
        "run farmhaul doctor"
    )
    refusals.note(farm.client, "request", "node7", "it is not signed")
    between = r"\d+ s ago: (its signature does not fit|it is not signed); 1 from node[79], "
    assert re.search(between, not_taken_in(status))

    farm.take_tasks("w1@a")
    farm.client.lpush(INBOX, make_body([], farm.now() - 60, "node9"))
    assert not_taken_in(status).startswith(
        "; it may be in the inbox, where 1 entry waits, the oldest for 6"
    )
    [line] = late_entries(status)
    assert line.startswith("one entry of hooks in the inbox, the oldest for 6")
    farm.client.lset(INBOX, 0, make_body([], farm.now(), "node9"))
    assert late_entries(status) == []


def test_a_redis_that_is_full_is_named(farm: Farm) -> None:
    status = Status(farm.client, Codec([]))
    records = Records()
    records.scripts = farm.record.scripts
    assert (troubles(status), records.farm().redis) == ({}, "")

    farm.client.config_set("maxmemory", 1)
    try:
        step = "raise maxmemory, or lower FARMHAUL_RECORD_DAYS"
        says = f"Redis is full and accepts nothing new; {step}"
        assert [" ".join(line) for line in troubles(status).items()] == [says]
        assert not_taken_in(status) == f"; {says}"
        assert records.farm().redis == says
    finally:
        farm.client.config_set("maxmemory", 0)
