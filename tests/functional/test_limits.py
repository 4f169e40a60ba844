"""Limits that all workers share: the bandwidth of the line out, and API calls a second."""

from __future__ import annotations

import itertools
import json
import re
from datetime import UTC, datetime

import pytest

from tasks.config.timetable import zone_named
from tests.farm import Farm
from tests.functional.conftest import MakeFarm
from tests.helpers.redis_traffic import Wire, everything_said_to

FILES = 60
SIZE = 250_000  # bytes; less than the smallest piece
#: Redis and the servers of the sandbox read one clock, and round it.
CLOCK_S = 0.01


def enqueue_many(farm: Farm, files: int = FILES) -> list[str]:
    version_id = farm.sandbox.ftrack.version_id
    paths = [farm.make_file(f"f.{n:04}.exr", SIZE) for n in range(files)]
    entries = [
        {"path": str(path), "version_id": version_id, "name": f"n{n}"}
        for n, path in enumerate(paths)
    ]
    return [upload["upload_id"] for upload in farm.enqueue_manifest(entries)]


def booked_until(wire: Wire, bucket: str) -> list[float]:
    """Return the moments until which the bucket was booked after each take, in order."""
    written = re.compile(rf"SET farmhaul:bucket:{bucket} ([\d.]+)")
    return [float(match[1]) for line in wire.lines if (match := written.search(line))]


def assert_shared(booked: list[float], cost_s: float, moments: list[float]) -> None:
    """Assert that each take moved the one bucket by its cost, and that each moment waited for it.

    A loaded machine makes the moments later, and never earlier.
    """
    steps = [later - earlier for earlier, later in itertools.pairwise(booked)]
    assert min(steps) == pytest.approx(cost_s, abs=1e-5)
    first = booked[0] - cost_s
    early = [
        (number, moment)
        for number, moment in enumerate(sorted(moments))
        if moment < first + number * cost_s - CLOCK_S
    ]
    assert early == []


@pytest.mark.slow
def test_four_workers_share_the_bandwidth_of_the_farm(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=4, env={"FARMHAUL_BANDWIDTH": "5M"})
    with everything_said_to(farm.redis) as wire:
        farm.wait_located(enqueue_many(farm), timeout_s=60)

    booked, puts = booked_until(wire, "bandwidth"), farm.sandbox.store.puts()
    assert len(booked) == len(puts) == FILES, "a file of this size takes its bytes at once"
    assert_shared(booked, SIZE / 5e6, [put["ended_at"] for put in puts])


def test_a_limit_set_live_holds_at_once_and_is_removed(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=1)
    shown = farm.cli("limit", "--bandwidth", "3M")
    assert shown.stdout.splitlines()[0].split() == ["bandwidth", "3M"]
    with everything_said_to(farm.redis) as wire:
        farm.wait_located(enqueue_many(farm, 30), timeout_s=60)

    booked, puts = booked_until(wire, "bandwidth"), farm.sandbox.store.puts()
    assert len(booked) == len(puts) == 30
    assert_shared(booked, SIZE / 3e6, [put["ended_at"] for put in puts])
    farm.cli("limit", "--clear")
    assert not farm.redis.exists("farmhaul:limits")


def test_the_farm_makes_no_more_api_calls_than_it_may(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=2, env={"FARMHAUL_API_RATE": "4"})
    with everything_said_to(farm.redis) as wire:
        ids = []
        for n in range(8):
            path = farm.make_file(f"a{n}.exr", 1000)
            [upload] = farm.enqueue(path, "--version-id", farm.sandbox.ftrack.version_id)
            ids.append(upload["upload_id"])
        farm.wait_located(ids, timeout_s=60)

    # A worker that starts asks ftrack once whether it accepts its key; that is not counted.
    calls = [
        call
        for call in farm.sandbox.ftrack.calls()
        if "from Location where" not in str(call["operations"])
    ]
    booked = booked_until(wire, "api_rate")
    assert len(booked) == len(calls) > 2
    assert_shared(booked, 1 / 4, [call["started_at"] for call in calls])


def test_without_a_limit_no_tokens_are_taken(farm: Farm) -> None:
    farm.wait_located(enqueue_many(farm, 5))
    assert not list(farm.redis.scan_iter("farmhaul:bucket:*"))


@pytest.mark.parametrize("value", ["fast", "0", "08:00=5M"])
def test_a_limit_that_is_not_a_rate_is_refused(hook: Farm, value: str) -> None:
    done = hook.cli("limit", "--bandwidth", value)
    assert done.returncode == 2
    assert "50M" in done.stderr, "an example"
    assert not hook.redis.exists("farmhaul:limits")


@pytest.mark.parametrize(
    ("value", "said"), [("50", "write 50M"), ("08:00-20:00=50,else=off", "write 50M"), ("1k", "")]
)
def test_a_bandwidth_without_its_unit_is_warned_of(hook: Farm, value: str, said: str) -> None:
    done = hook.cli("limit", "--bandwidth", value)
    assert done.returncode == 0
    assert said in done.stderr
    assert bool(said) == bool(done.stderr)
    assert hook.redis.hget("farmhaul:limits", "bandwidth") == value


def test_setting_and_clearing_a_limit_together_is_bad_input(hook: Farm) -> None:
    done = hook.cli("limit", "--clear", "--bandwidth", "5M")
    assert done.returncode == 2
    assert "--clear" in done.stderr
    assert not hook.redis.exists("farmhaul:limits")


@pytest.mark.parametrize(
    ("words", "rate"), [(["200k"], "200k"), (["bandwidth", "50M"], "50M"), ([""], "RATE")]
)
def test_a_rate_without_its_option_is_told_where_to_stand(
    hook: Farm, words: list[str], rate: str
) -> None:
    done = hook.cli("limit", *words)

    assert (done.returncode, done.stdout) == (2, "")
    assert f"write farmhaul limit --bandwidth {rate} for bytes per second" in done.stderr


def test_the_zone_of_the_farm_is_shown_with_the_rates_of_now(hook: Farm) -> None:
    # Whichever time it is, it is noon in one of the zones, and not within an hour of midnight.
    hours_to_noon = 12 - datetime.now(UTC).hour
    zone = f"Etc/GMT{-hours_to_noon:+d}"
    table = "11:00-14:00=5M,else=80M"
    own = {"FARMHAUL_API_RATE": "11:00-14:00=7,else=off", "TZ": "Pacific/Auckland"}

    in_utc = hook.cli("limit", "--bandwidth", table, env=own).stdout.splitlines()
    shown = hook.cli("limit", "--zone", zone, env=own).stdout.splitlines()

    assert in_utc[2].startswith("zone       UTC, where it is ")
    assert shown[0] == f"bandwidth  {table}; now 5M until 14:00 in {zone}"
    assert shown[1].endswith(f", which here gives 7 until 14:00 in {zone}")
    limits = json.loads(hook.cli("limit", "--json", env=own).stdout)
    assert (limits["bandwidth"], limits["bandwidth_now"]) == (table, 5_000_000)
    until, now = datetime.fromisoformat(limits["bandwidth_until"]), datetime.now(zone_named(zone))
    assert (until.date(), until.hour, until.utcoffset()) == (now.date(), 14, now.utcoffset())
    assert (limits["api_rate"], limits["api_rate_now"], limits["api_rate_until"]) == (None,) * 3
    assert re.match(rf"zone       {re.escape(zone)}, where it is 1[23]:", shown[2])
    hook.cli("limit", "--clear")
    assert hook.redis.hgetall("farmhaul:limits") == {"zone": zone}


@pytest.mark.parametrize("form", ["lines", "json"])
@pytest.mark.parametrize("rate", ["\x1b[31m", "08:00-08:00=5M"])
def test_a_limit_that_nobody_can_read_is_said(hook: Farm, rate: str, form: str) -> None:
    hook.redis.hset("farmhaul:limits", "bandwidth", rate)

    done = hook.cli("limit", "--format", form)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("farmhaul: farmhaul:limits in Redis: ")
    assert done.stderr.endswith("; set it again\n")


def test_a_zone_that_does_not_exist_is_refused(hook: Farm) -> None:
    refused = hook.cli("limit", "--zone", "Europe/Atlantis")
    hook.redis.hset("farmhaul:limits", "zone", "Europe/Atlantis")
    shown = hook.cli("limit")

    for done in (refused, shown):
        assert done.returncode == 2
        assert "'Europe/Atlantis' is not a time zone here; write Europe/Berlin" in done.stderr
