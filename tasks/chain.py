"""The workflow: the chain of the four stages, and how it is set going.

Hooks mostly enqueue one file at a time, hundreds at once. So ``enqueue`` writes records
and *rings*: it publishes a chain whose first stage carries no files, but claims what is
pending, up to a full batch; a ring that finds nothing ends there. A storm needs no ring for
each file: those that are still queued will claim whatever is pending by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from celery import Celery, chain
from kombu.exceptions import OperationalError
from kombu.transport.redis import Channel

from tasks.intake.request import PublishRequest, Request, UploadRequest
from tasks.records.record import CLAIM_BYTES, CLAIM_UPLOADS, STAGES, Record

QUEUE = "farmhaul"

#: Redis' priorities: 0 goes first. What has begun ends before anything else begins, so a
#: backlog has few signed URLs outstanding. Set on each link: a chain hands none on.
PRIORITY_OF = {stage: len(STAGES) - 1 - number for number, stage in enumerate(STAGES)}

#: Downloads go last, and in a list of their own: what is queued beside the first stage counts
#: as rings.
FETCH_PRIORITY = len(STAGES)


def task_name(stage: str) -> str:
    """Give the Celery name of a stage."""
    return f"farmhaul.{stage}"


def queue_of(host: str = "") -> str:
    """Name the queue of files that all nodes see, or of those that one host alone sees."""
    return f"{QUEUE}.{host}" if host else QUEUE


def list_key(queue: str, stage: str) -> str:
    """Name the list in which Redis holds the messages of a stage (kombu: Channel._q_for_pri)."""
    priority = PRIORITY_OF[stage]
    return f"{queue}{Channel.sep}{priority}" if priority else queue


def upload_chain(app: Celery, host: str = "") -> Any:
    """Make compute_checksum | get_put_metadata | put_file | create_component_location."""
    first, *others = STAGES
    links = [app.signature(task_name(first), kwargs={"host": host}, immutable=True)]
    links += [app.signature(task_name(stage)) for stage in others]
    for link, stage in zip(links, STAGES, strict=True):
        # No AsyncResult is waited for: the record tells how an upload fares.
        link.set(queue=queue_of(host), priority=PRIORITY_OF[stage], ignore_result=True)
    return chain(*links)


def wake(app: Celery, chains: int, host: str = "") -> None:
    """Publish chains; each claims a batch of what is pending, or ends at once.

    A ring that is lost is no harm, so none is repeated here, where a hook may wait for it:
    workers ring for what is pending without one.
    """
    with suppress(OperationalError):
        for _ in range(chains):
            upload_chain(app, host).apply_async(retry=False)


def enqueue(app: Celery, record: Record, requests: Sequence[Request]) -> list[str]:
    """Write the records of uploads and ring; gives the state of each.

    Safe to run twice: an upload that is known already is left as it is. A death between
    the two steps loses nothing: workers ring for what is pending without one.
    """
    answers = record.enqueue(requests)
    fresh: list[UploadRequest] = []
    for request, (_, new) in zip(requests, answers, strict=True):
        if new:
            fresh += request.files if isinstance(request, PublishRequest) else [request]
    for host in sorted({request.host for request in fresh}):
        wake(app, _missing_wake_ups(record, [one for one in fresh if one.host == host], host), host)
    return [state for state, _ in answers]


def _missing_wake_ups(record: Record, fresh: Sequence[UploadRequest], host: str) -> int:
    """Count the rings that these uploads need beside those that are queued.

    One that is in the queue after the uploads were written is taken after that too, and
    claims them. What is under way may have claimed before, and does not count.
    """
    pending, queued = record.backlog(host, list_key(queue_of(host), STAGES[0]))
    size_bytes = sum(request.size_bytes or 0 for request in fresh)
    needed = max(-(-pending // CLAIM_UPLOADS), -(-size_bytes // CLAIM_BYTES))
    return max(min(needed, len(fresh)) - queued, 0)
