"""Played workers and hooks are what they stand for: Redis cannot tell them from real ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.records import keys
from tests.bench.recording import Recording, record
from tests.bench.scenarios import burst
from tests.bench.scenarios.nodes import Players
from tests.bench.stand import Stand
from tests.farm import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    with Stand(tmp_path) as stand:
        yield stand


def test_a_played_worker_does_what_was_recorded(stand: Stand, tmp_path: Path) -> None:
    path = tmp_path / "idle.json"
    record(stand, 2, 40).write(path)
    stand.redis.flush()
    played = Recording.read(path)
    said = {group[0][0] for line in played.lines for _, group in line.loop}
    assert {b"BRPOP", b"BLMOVE", b"PUBLISH", b"EVALSHA"} <= said

    players = Players(stand, path)
    players.play(3)

    names = {f"sim{number:05}@node{number:05}" for number in range(3)}
    # They note that they take tasks.
    wait_until(lambda: set(stand.client.zrange(keys.WORKERS, 0, -1)) == names, 120)
    assert len(stand.client.client_list()) == 1 + 3 * len(played.lines)
    assert players.end() >= 0


def test_real_workers_take_in_what_played_hooks_push(stand: Stand) -> None:
    asked = burst._asked(stand, hooks=4, requests=20, seconds=1.0)

    assert (len(asked.asked), asked.failed.total(), asked.located) == (20, 0, 20)
    assert asked.use.calls["lpush"] >= 20


def test_a_night_begins_on_what_was_done_before(stand: Stand) -> None:
    asked = burst._asked(stand, hooks=2, requests=6, seconds=1.0, records=200)

    assert (len(asked.asked), asked.located) == (6, 6)
    assert stand.client.zcard(keys.state_key("pending")) == 0
    assert stand.client.zcard(keys.state_key("located")) > 150
