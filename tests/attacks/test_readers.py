"""What reads Redis goes on, and names what somebody else has written there."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from tests.farm import Farm
from tests.functional.conftest import MakeFarm
from tests.helpers.exporter import exporter

pytestmark = pytest.mark.slow

POISON = {
    "stage": "x", "fence": "x", "score": "nan", "size": "1e300", "sent": "[]", "tries:X": "x",
    "updated": "1e300", "due": "x", "created": "-1", "ahead": "x", "total": "x", "rate": "x",
}  # fmt: skip


def metrics(farm: Farm, tmp_path: Path) -> str:
    with exporter(farm, tmp_path) as url, urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_what_reads_redis_names_a_broken_record(make_farm: MakeFarm, tmp_path: Path) -> None:
    farm = make_farm(workers=0)
    good, broken, gone = farm.upload(), farm.upload(), farm.upload()
    for state in ("pending", "active", "retrying"):
        farm.redis.zadd(f"farmhaul:state:{state}", {broken.id: 1})
    farm.redis.hset(f"farmhaul:upload:{broken.id}", mapping=POISON)
    farm.redis.delete(f"farmhaul:upload:{gone.id}")
    farm.redis.rpush(f"farmhaul:upload:{gone.id}", "x")
    for service in ("ftrack", "store"):
        farm.redis.hset(f"farmhaul:gate:{service}", mapping={"until": "x", "since": "1e300"})
    farm.redis.hset("farmhaul:totals", mapping={"located": "x", "refused": "x", "repaired": "x"})
    farm.redis.hset("farmhaul:paused", "w1@node7", "{")

    status = farm.cli("status", good.id, broken.id, gone.id)
    assert status.returncode == 0, status.stderr
    assert status.stdout.count("its record in Redis is broken (") == 2
    listed = farm.cli("status")
    assert listed.returncode == 0, listed.stderr
    assert good.id in listed.stdout
    doctor = farm.cli("doctor")
    assert "Traceback" not in doctor.stderr
    assert "records checked are broken" in doctor.stdout
    assert broken.id in doctor.stdout
    text = metrics(farm, tmp_path)
    assert "farmhaul_redis_up 1.0" in text
    assert "farmhaul_unreadable 0.0" in text


@pytest.mark.parametrize(("key", "depth"), [("paused", 990), ("left_to_others", 100_000)])
def test_a_note_that_is_nested_too_deeply_hides_nothing(
    make_farm: MakeFarm, tmp_path: Path, key: str, depth: int
) -> None:
    """Redis' scripts read a thousand levels, Python a few less."""
    farm = make_farm(workers=0)
    seconds, _ = farm.redis.time()
    farm.redis.zadd("farmhaul:alive", {"1.0 w1@node7": seconds + 20})
    note = f'{{"since": 1, "what": "files", "x": {"[" * depth}{"]" * depth}}}'
    farm.redis.hset(f"farmhaul:{key}", "w1@node7", note)

    for command in ("status", "doctor"):
        assert "Traceback" not in farm.cli(command).stderr
    text = metrics(farm, tmp_path)
    assert "farmhaul_redis_up 1.0" in text
    assert "farmhaul_unreadable 0.0" in text


def test_nodes_that_somebody_invents_do_not_fill_a_terminal(make_farm: MakeFarm) -> None:
    farm = make_farm(workers=0)
    seconds, _ = farm.redis.time()
    nodes = {f"{number % 7} w1@node{number}": seconds + 20 for number in range(20_000)}
    farm.redis.zadd("farmhaul:alive", nodes)
    farm.redis.hset("farmhaul:paused", "w1@node9999", '{"since": 1, "what": "files"}')

    for command in ("status", "doctor"):
        done = farm.cli(command)
        lines = (done.stdout + done.stderr).splitlines()
        assert "Traceback" not in done.stderr
        named = [line for line in lines if "has another version of farmhaul than" in line]
        assert len(named) == 19
        assert any("w1@node9999 takes no uploads" in line for line in lines)
        assert any("and 17122 more" in line for line in lines)
        assert len(done.stdout + done.stderr) < 20_000


def test_nodes_that_somebody_invents_are_not_all_metrics(
    make_farm: MakeFarm, tmp_path: Path
) -> None:
    farm = make_farm(workers=0)
    seconds, _ = farm.redis.time()
    nodes = {f"{number % 7} w1@node{number}": seconds + 20 for number in range(3000)}
    farm.redis.zadd("farmhaul:alive", nodes)
    farm.redis.hset("farmhaul:paused", "w1@node2999", '{"since": 1, "what": "files"}')

    text = metrics(farm, tmp_path)

    assert text.count("farmhaul_node_other_version{") == 999
    # What is set aside comes first.
    assert 'farmhaul_node_set_aside{node="w1@node2999",reason="files"} 1.0' in text


def test_a_key_of_another_type_hides_its_own_metrics_alone(
    make_farm: MakeFarm, tmp_path: Path
) -> None:
    farm = make_farm(workers=0)
    farm.upload()
    farm.redis.delete("farmhaul:retrying")
    farm.redis.set("farmhaul:retrying", "x")

    text = metrics(farm, tmp_path)
    assert "farmhaul_redis_up 1.0" in text
    assert "farmhaul_unreadable 1.0" in text
    assert 'farmhaul_uploads{state="pending"} 1.0' in text
    farm.redis.delete("farmhaul:pending")
    farm.redis.set("farmhaul:pending", "x")
    status = farm.cli("status")
    assert status.returncode in {0, 3}
    assert "Traceback" not in status.stderr
