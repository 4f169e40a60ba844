"""Somebody with the secret key and Flower's Redis user: remote control runs no task of theirs."""

from __future__ import annotations

import pytest

from tests.farm import wait_until
from tests.functional.guarded import Guarded
from tests.helpers.controller import controller
from workers.remote_control import OBEYED

pytestmark = pytest.mark.slow

#: A queue that Flower's user may write to, as it is named like those of answers.
QUEUE = "theirs.reply.celery.pidbox9"
#: What a worker could be made to do by it, apart from ending.
COMMANDS = {
    "add_consumer": {"queue": QUEUE},
    "election": {"id": "1", "topic": "any", "action": {"task": "farmhaul.compute_checksum"}},
    "pool_restart": {"modules": ["antigravity"]},
    "pool_grow": {"n": 2},
    "autoscale": {"max": 9, "min": 9},
    "rate_limit": {"task_name": "farmhaul.put_file", "rate_limit": "1/h"},
    "time_limit": {"task_name": "farmhaul.put_file", "hard": 0.001},
    "cancel_consumer": {"queue": "farmhaul"},
    "revoke": {"task_id": "any", "terminate": True},
    "disable_events": {},
}


def test_whoever_takes_over_flower_has_no_task_run(guarded: Guarded) -> None:
    farm = guarded.farm
    with controller(farm.env | {"FARMHAUL_REDIS_URL": guarded.url("flower")}) as app:
        # Listening begins a moment after the worker is ready.
        wait_until(lambda: app.control.ping(timeout=1, limit=1))
        refused = []
        for command, arguments in COMMANDS.items():
            [answer] = app.control.broadcast(
                command, arguments=arguments, reply=True, limit=1, timeout=30
            )
            [said] = answer.values()
            refused += [command] if "obey no command" in said.get("error", "") else []
        app.send_task("farmhaul.compute_checksum", queue=QUEUE, retry=False, ignore_result=True)
        [queues] = app.control.inspect(timeout=30, limit=1).active_queues().values()

        assert refused == [*COMMANDS]
        assert {queue["name"].partition(".")[0] for queue in queues} == {"farmhaul"}
        assert guarded.client("flower").llen(QUEUE) == 1
        # What Flower's pages and its health need.
        [stats] = app.control.inspect(timeout=30, limit=1).stats().values()
    assert len(stats["pool"]["processes"]) == 2
    farm.wait_located([farm.upload().id])


def test_a_worker_obeys_what_celery_has() -> None:
    from celery.worker import control

    known = {name for name, value in vars(control).items() if callable(value)}
    assert known >= OBEYED
