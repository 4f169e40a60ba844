"""The workflow: the chain of the four stages, and the wake-ups that start it.

Hooks mostly enqueue one file at a time, hundreds at once. ``enqueue`` therefore writes records and
sends a wake-up: a chain whose first stage carries no files, but claims pending uploads up to a full
batch. If nothing is pending, the chain stops there. A storm of files does not need a wake-up for
each: those that are still queued claim everything that is pending when they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from celery import Celery, chain
from celery.utils import uuid
from kombu.exceptions import OperationalError
from kombu.transport.redis import Channel

from tasks.intake.request import Request
from tasks.records.commands import Commands, NewRecord
from tasks.records.keys import pending_key
from tasks.records.nodes import hosts_with_workers
from tasks.records.record import CLAIM_BYTES, CLAIM_UPLOADS
from tasks.records.states import STAGES

QUEUE = "farmhaul"

#: After so many wake-ups, those that are queued are counted again.
COUNT_AFTER = 5

#: Redis' priorities: 0 comes first. Started uploads finish before others start, so a backlog has
#: few presigned URLs outstanding. Set on each task of a chain, because a chain passes none on.
PRIORITY_OF = {stage: len(STAGES) - 1 - number for number, stage in enumerate(STAGES)}

#: Downloads come last, in a list of their own: messages in the list of the first stage count as
#: wake-ups.
FETCH_PRIORITY = len(STAGES)


def task_name(stage: str) -> str:
    """Return the Celery name of a stage."""
    return f"farmhaul.{stage}"


def queue_of(host: str = "") -> str:
    """Return the queue for files that all nodes see, or for those that only one host sees."""
    return f"{QUEUE}.{host}" if host else QUEUE


def list_key(queue: str, stage: str) -> str:
    """Return the key of the Redis list with a stage's messages (kombu: Channel._q_for_pri)."""
    priority = PRIORITY_OF[stage]
    return f"{queue}{Channel.sep}{priority}" if priority else queue


def upload_chain(app: Celery, host: str = "", queue: str = "") -> Any:
    """Return compute_checksum | get_put_metadata | put_file | create_component_location.

    ``host`` is the one whose files are claimed; empty for files that all nodes see. ``queue`` is
    that of *host* unless another one is given.
    """
    first, *others = STAGES
    tasks = [app.signature(task_name(first), kwargs={"host": host}, immutable=True)]
    tasks += [app.signature(task_name(stage)) for stage in others]
    for task, stage in zip(tasks, STAGES, strict=True):
        # Nobody waits for an AsyncResult: the record has the state of each upload.
        task.set(queue=queue or queue_of(host), priority=PRIORITY_OF[stage], ignore_result=True)
    # The id of the first task is also the claim's, and the root id of all messages of the chain: by
    # it, leases and the reconciler find them. Otherwise, Celery would use the sending task's root.
    claim_id = uuid()
    tasks[0].set(task_id=claim_id, root_id=claim_id)
    return chain(*tasks)


def wake(app: Celery, chains: int, host: str = "", queue: str = "") -> bool:
    """Send wake-ups; each claims a batch of pending uploads, or finishes at once.

    They go to the queue of *host*, unless another one is given.

    Sending is not retried, because somebody may be waiting and a lost wake-up does no harm: the
    reconciler sends one if uploads are pending and none is queued.

    Returns:
        Whether Redis has taken them.
    """
    try:
        for _ in range(chains):
            upload_chain(app, host, queue).apply_async(retry=False)
    except OperationalError:
        return False
    return True


def wake_if_few(app: Celery, client: redis.Redis, host: str = "") -> None:
    """Send a wake-up if those that are queued do not suffice for what is pending.

    A claim that is cut short sends the next wake-up itself. Otherwise, a claim that gives most of
    itself back would leave two for one.
    """
    pending, queued = _backlog(client, host)
    if queued * CLAIM_UPLOADS < pending:
        wake(app, 1, host)


def enqueue(app: Celery, commands: Commands, requests: Sequence[Request]) -> list[str]:
    """Write the records of uploads, send the wake-ups they need, and return the state of each.

    Workers begin with the first ones while the others are written. Safe to run twice: a known
    upload stays as it is. If the process dies between the two steps, nothing is lost: the
    reconciler sends the missing wake-ups.
    """
    client = commands.scripts.client

    def wake_for(records: Sequence[NewRecord]) -> None:
        hosts = {record.host for record in records}
        if hosts - {""}:  # a hook can name any number: those without a worker get no queue
            hosts &= {"", *hosts_with_workers(client)}
        for host in sorted(hosts):
            _wake_missing(app, client, [one for one in records if one.host == host], host)

    return [state for state, _ in commands.enqueue(requests, wake_for)]


def _wake_missing(app: Celery, client: redis.Redis, fresh: Sequence[NewRecord], host: str) -> None:
    """Send the wake-ups that these uploads need.

    Other workers may send some meanwhile, so what is queued is counted again and again.
    """
    left = _missing_wake_ups(client, fresh, host)
    while left > 0 and wake(app, min(left, COUNT_AFTER), host):
        left = min(left - COUNT_AFTER, _missing_wake_ups(client, fresh, host))


def _backlog(client: redis.Redis, host: str) -> tuple[int, int]:
    """Return how many uploads are pending, and how many wake-ups are queued.

    An empty *host* stands for the files that all nodes see.
    """
    pipeline = client.pipeline(transaction=False)
    pipeline.zcard(pending_key(host))
    pipeline.llen(list_key(queue_of(host), STAGES[0]))
    pending, queued = pipeline.execute()
    return int(pending), int(queued)


def _missing_wake_ups(client: redis.Redis, fresh: Sequence[NewRecord], host: str) -> int:
    """Return how many wake-ups these uploads need in addition to those that are queued.

    A queued wake-up will see the new records, because it runs later. One that is already running
    may have made its claim before they were written, so it is not counted.
    """
    pending, queued = _backlog(client, host)
    size_bytes = sum(record.size or 0 for record in fresh)
    needed = max(-(-pending // CLAIM_UPLOADS), -(-size_bytes // CLAIM_BYTES))
    return max(min(needed - queued, len(fresh)), 0)
