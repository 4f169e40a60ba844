"""Large files: runs of parts, each a task of its own that any node takes."""

from __future__ import annotations

from dataclasses import replace

from celery import shared_task, signature

from tasks.stage.base import Stage
from tasks.stage.message import Message, RunMessage, to_message
from tasks.transfer.errors import (
    FatalError,
    LeaseLostError,
    MultipartGoneError,
    UploadError,
    UrlRefusedError,
)
from tasks.transfer.models import Batch, Transfer
from tasks.transfer.multipart import Part, complete, put_part
from tasks.transfer.register import look_up
from tasks.transfer.registration import locate_operations

#: So many runs of a file are queued at once; each that ends sets the next one going. Enough
#: for several nodes, and few enough that small files have their turn in between.
RUNS_AT_ONCE = 16


def start_runs(stage: Stage, batch: Batch, transfer: Transfer) -> Message:
    """Set the runs of a large file going; without any part missing, hand it on at once."""
    runs = stage.clients.parts.fan_out(transfer, RUNS_AT_ONCE)
    if not runs:
        return stage.hand_on(batch, {transfer.upload_id: replace(transfer, stored=True)})
    message = to_message(batch.claim_id, batch.transfers, stage.clients.urls)
    for run in runs:
        _publish(
            stage, RunMessage(**message, upload=transfer.upload_id, fence=transfer.fence, run=run)
        )
    stage.end_chain()
    return message


@shared_task(base=Stage, bind=True, name="farmhaul.put_parts")
def put_parts(self: Stage, message: RunMessage) -> Message:
    """Send a run of a large file's parts; the task that ends the last run hands the file on.

    Safe to run twice: finished parts are left out, the same bytes as the same part do no
    harm, and only one task joins the runs.
    """
    parts = self.clients.parts
    run = parts.start_run(message["upload"], message["fence"], message["run"], self.worker)
    if run is None:
        self.end_chain()
        return message
    batch = Batch(message["claim"], (run.transfer,))
    outcomes = _send(self, batch, [part for part, _ in run.parts], dict(run.parts))
    refused = [outcome for outcome in outcomes if isinstance(outcome, UploadError)]
    if refused:
        return _after_refusal(self, message, batch, refused, sent=len(refused) < len(outcomes))
    joins, following = parts.end_run(run.transfer, message["run"], str(self.request.id))
    if joins:
        # The join is the record's: whichever run ends last, and however often it is delivered.
        done = replace(run.transfer, stored=True)
        return self.hand_on(batch, {done.upload_id: done}, service="store")
    if following is not None:
        _publish(self, RunMessage(**{**message, "run": following}))
    self.end_chain()
    return message


def finish(stage: Stage, transfer: Transfer) -> Transfer:
    """Join the parts of a stored large file and register it, in one API call.

    When the answer of such a call was lost, a location tells that all of it has happened:
    it was not there before. A file of a publish is registered by that.
    """
    parts, ftrack = stage.clients.parts, stage.clients.ftrack
    register = []
    if not transfer.is_member:
        present = look_up(ftrack, [transfer])
        located = transfer.component_id in present.located
        before = parts.located_before(transfer, located=located)
        if located and not before:
            return transfer
        register = locate_operations(transfer, present)
    try:
        jobs = complete(parts.with_multipart(transfer), parts.etags(transfer), ftrack, register)
    except MultipartGoneError:
        parts.forget(transfer)
        raise
    return replace(transfer, job_ids=jobs)


def _send(
    stage: Stage, batch: Batch, parts: list[Part], urls: dict[Part, str]
) -> list[Transfer | UploadError]:
    [transfer] = batch.transfers
    here = stage.clients

    def send(part: Part) -> Transfer:
        throttle = here.limits.throttle(part.size_bytes)

        def check_lease(sent_bytes: int) -> None:
            beat(transfer.upload_id, -1)
            throttle(sent_bytes)

        roots = here.settings.storage_roots
        etag = put_part(
            transfer, part, urls[part], here.store, roots=roots, check_lease=check_lease
        )
        if not here.parts.part_done(transfer, part, etag):
            raise LeaseLostError(transfer.upload_id)
        return transfer

    with stage.heartbeat(batch) as beat:
        return stage.in_threads(parts, lambda part: stage.attempt(transfer, lambda _: send(part)))


def _after_refusal(
    stage: Stage, message: RunMessage, batch: Batch, refused: list[UploadError], *, sent: bool
) -> Message:
    [transfer] = batch.transfers
    stage.clients.parts.survived(transfer, message["run"])
    worst = next((error for error in refused if isinstance(error, FatalError)), refused[0])
    if any(isinstance(error, UrlRefusedError) for error in refused):
        stage.clients.parts.expire(transfer)
    elif sent and not isinstance(worst, FatalError):
        # It gets on: the rest is tried at once, and the file does not have to wait.
        _publish(stage, message)
        stage.end_chain()
        return message
    return stage.hand_on(batch, {transfer.upload_id: worst}, service="store")


def _publish(stage: Stage, message: RunMessage) -> None:
    # Whichever run ends last goes on with what is left of this task's chain.
    delivery = stage.request.delivery_info
    link = signature("farmhaul.put_parts", app=stage.app, ignore_result=True)
    link.set(queue=delivery["routing_key"], priority=delivery["priority"]).apply_async(
        (message,),
        chain=list(stage.request.chain or []),
        root_id=stage.request.root_id,
        parent_id=stage.request.id,
    )
