"""Celery alone: chains of four tasks that do nothing, one after the other, as uploads have them.

What these cost is the floor under an upload that is a batch of its own. The module is the
application of the worker, too: ``celery -A tests.bench.rivals.empty_chain worker``.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from celery import Celery, chain

from tests.bench.rivals.job import Job, run

DONE = "done"
TIMEOUT_S = 30

app = Celery("empty", broker=os.environ.get("FARMHAUL_REDIS_URL"), set_as_current=False)
# As the stages of an upload: acknowledged when they end, and without results.
app.conf.update(task_acks_late=True, task_ignore_result=True, worker_prefetch_multiplier=1)


@app.task(name="first")
def first() -> None:
    """Do nothing."""


@app.task(name="following")
def following(_: None) -> None:
    """Do nothing with the result of the task before."""


@app.task(name="last")
def last(_: None) -> None:
    """Say that the chain has ended, over a connection that stays open."""
    with app.pool.acquire(block=True) as connection:
        connection.default_channel.client.lpush(DONE, 1)


def prepare(job: Job) -> Callable[[], None]:
    import redis

    client = redis.Redis.from_url(os.environ["FARMHAUL_REDIS_URL"])
    client.delete(DONE)

    def run_chains() -> None:
        for _ in range(int(job.options["chains"])):
            chain(first.si(), following.s(), following.s(), last.s()).apply_async()
            assert client.blpop([DONE], TIMEOUT_S), "a chain has not ended"

    return run_chains


if __name__ == "__main__":
    run(prepare)
