"""What the limits of time add up to: other tests shorten each of them."""

from __future__ import annotations

import pytest

from tasks.config import redis_client
from tasks.stage import line, threads
from tasks.transfer import exchange
from workers import health
from workers.broker import address, transport
from workers.steps import pulse

#: After so long, what hangs is noticed, and what it holds up goes on (docs/architecture.md).
MINUTE_S = 60.0
#: After SIGTERM, a task has handed on what it has.
STOPPED_S = 15.0

NOTICED_S = {
    "a file that hangs": (threads.STALLED_S + threads.POLL_S + threads.WRAP_UP_S + threads.LAST_S),
    "a transfer that holds up others": max(line.STALLED_S, line.WHOLE_STALLED_S),
    "a batch that waits for its slowest file": threads.GO_ON_S + threads.POLL_S,
    "a call of ftrack": exchange.EXCHANGE_S,
    "processes that do not move": health.STALLED_S + pulse.EACH_S,
    "a worker that asks for no tasks": health.SILENT_S + pulse.EACH_S,
    "a command of Redis": redis_client.CONNECT_S + redis_client.ANSWER_S,
    "a half-open connection that waits for tasks": 3 * address.HEALTH_CHECK_S,
}


@pytest.mark.parametrize("what", NOTICED_S)
def test_what_hangs_is_noticed_within_a_minute(what: str) -> None:
    assert NOTICED_S[what] <= MINUTE_S


def test_what_hangs_is_left_behind_before_its_worker_counts_as_hung() -> None:
    assert threads.STALLED_S + threads.POLL_S < health.STALLED_S
    assert exchange.EXCHANGE_S < health.STALLED_S
    assert 2 * transport.BRPOP_S < health.SILENT_S


def test_a_worker_that_shuts_down_hands_on_soon() -> None:
    assert threads.STALLED_AT_STOP_S + threads.LAST_S <= STOPPED_S
    assert threads.STOP_S + threads.LAST_S <= STOPPED_S
