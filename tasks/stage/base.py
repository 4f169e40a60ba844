"""The base class of the four stages and of ``put_parts``."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NoReturn

import redis
from celery import signature
from celery.exceptions import Ignore
from celery.utils import uuid
from kombu.exceptions import OperationalError

from tasks.chain import QUEUE, list_key, wake, wake_if_few
from tasks.log import log
from tasks.records.delivery import Delivery, Settlement, grown_out, within_bounds
from tasks.records.keys import OWN_QUEUES, TOTALS, to_text
from tasks.records.record import CLAIM_BYTES, CLAIM_UPLOADS
from tasks.records.refusals import note as note_refused
from tasks.records.states import STAGES
from tasks.stage.batch_task import BatchTask
from tasks.stage.control import answers_control
from tasks.stage.heartbeat import Heartbeat
from tasks.stage.message import Message, to_message, with_fate, with_signed
from tasks.stage.outcomes import (
    Settling,
    continuing_of,
    failed_lines,
    given_back,
    log_errors,
    proves_service_up,
    without_failed,
)
from tasks.transfer import errors
from tasks.transfer.errors import UploadError
from tasks.transfer.files import identity_of
from tasks.transfer.models import Batch, Outcomes, Transfer

#: The pause before a message goes to the shared queue, where this node may get it again.
SHARED_PAUSE_S = 0.5


class Stage(BatchTask):
    """A stage of an upload: it takes a batch from the record, and hands it on.

    Celery redelivers the message of a worker that died. Every other retry goes back to the record
    and is claimed again, so an outage leaves no tasks with a countdown in the memory of workers.
    """

    abstract = True
    acks_late = True
    reject_on_worker_lost = True
    ignore_result = True
    # That of the worker which runs the task (--time-limit). Any other value would be written into
    # each message by whoever sends it, and win there.
    time_limit = 0
    # In characters: enough for the summary, which comes first in a message, and for nothing else.
    resultrepr_maxsize = 80
    # Expected errors, which Celery logs without a traceback.
    throws = (errors.UploadError,)

    @property
    def worker(self) -> str:
        """The name of the worker that runs the task."""
        return str(self.request.hostname or socket.gethostname())

    @property
    def settling(self) -> Settling:
        """How this node settles the outcomes of this stage."""
        return Settling(self.stage, self.worker, self.clients.record.form)

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Send the task; events, Flower and logs show the summary instead of the arguments."""
        if args:
            options.setdefault("argsrepr", f"({args[0]['summary']})")
        return super().apply_async(args, kwargs, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the stage; after an error that nobody foresaw, leave its batch to another node.

        It may be a bug, or this node lacks memory, files or a module. Until the lease ran out, the
        batch would wait for nobody, and then count as one that kills its worker.
        """
        try:
            return super().__call__(*args, **kwargs)
        except errors.UnexpectedAnswerError as error:
            batch: Batch | None = self.request.get("batch")
            if batch is not None:
                outcomes: Outcomes = {file.upload_id: error for file in batch.transfers}
                log_errors(self.stage, outcomes, self._settle(batch, outcomes, ""))
            raise

    def claim(self, host: str) -> Batch:
        """Claim a batch of pending uploads; a redelivered task gets the same batch again."""
        delivery = self._deliver(self.request.id, host)
        if delivery.left_to:
            self._wake_node(delivery.left_to)
        batch = self.hold(Batch(self.request.id, tuple(delivery.transfers)))
        unsized = [file for file in batch.transfers if file.upload_id in delivery.unsized]
        sized = self.each_file(unsized, with_size)
        batch = self.settle_early(
            batch, {k: outcome for k, outcome in sized.items() if isinstance(outcome, UploadError)}
        )
        sizes = {
            file.upload_id: file.size_bytes
            for file in without_failed(unsized, sized)
            if file.identity
        }
        fitting, others = within_bounds(batch.transfers, sizes, CLAIM_BYTES)
        if others:
            self.clients.record.settle(others)
            wake(self.app, 1, host)
        return Batch(self.request.id, tuple(fitting))

    def hold(self, batch: Batch) -> Batch:
        """Note, for the case of an error that nobody foresaw, that this task has the batch."""
        self.request.batch = batch
        return batch

    def settle_early(self, batch: Batch, outcomes: Outcomes) -> Batch:
        """Settle those of a batch that have an outcome already, and return it without them."""
        ended = [file for file in batch.transfers if file.upload_id in outcomes]
        if not ended:
            return batch
        states = self._settle(replace(batch, transfers=tuple(ended)), outcomes, "")
        log_errors(self.stage, outcomes, states)
        stay = [file for file in batch.transfers if file.upload_id not in outcomes]
        return replace(batch, transfers=tuple(stay))

    def take(self, message: Message) -> Batch:
        """Return the batch of a message, without uploads that its claim has lost since.

        If this node has failed at one of them, the message goes to another node.

        Raises:
            Ignore: it has gone there.
        """
        delivery = self._deliver(message["claim"], "")
        if delivery.left_to:
            self.send_to(delivery.left_to, message)
        batch = self.hold(Batch(message["claim"], tuple(delivery.transfers)))
        return with_signed(batch, message, self.clients.urls, self.clients.ftrack.server_url)

    def send_to(self, node: str, message: Message) -> NoReturn:
        """Send this task, with the rest of its chain, to the queue of another node's host.

        A node without such a queue ("celery worker -Q") gets it from the shared one, by chance.

        Raises:
            Ignore: in any case. It keeps its id, and Flower would show a success here instead of
                a failure there.
        """
        log.info("sent_to_other_node", stage=self.stage, node=node, claim_id=message["claim"])
        queue = self._own_queue(node)
        if not queue:
            time.sleep(SHARED_PAUSE_S)
        self.apply_async(
            (message,),
            task_id=self.request.id,
            queue=queue or QUEUE,
            priority=self.request.delivery_info["priority"],
            chain=self.request.chain,
            root_id=self.request.root_id,
            parent_id=self.request.parent_id,
        )
        raise Ignore

    def _wake_node(self, node: str) -> None:
        """Have a node claim what is left to it, by the queue of its host.

        Of the shared one, this node might get the wake-up again. One suffices, and a node that is
        busy or gone reads none.
        """
        queue = self._own_queue(node)
        client: Any = self.clients.record.scripts.client
        if queue and not client.llen(list_key(queue, self.stage)):
            wake(self.app, 1, queue=queue)

    def _own_queue(self, node: str) -> str:
        """Return the queue of a node's host; empty if it has none."""
        return to_text(self.clients.record.scripts.client.hget(OWN_QUEUES, node))

    def _deliver(self, claim_id: str, host: str) -> Delivery:
        record = self.clients.record
        delivery = record.deliver(claim_id, self.stage, self.worker, host)
        for own_host in delivery.to_wake:
            wake(self.app, 1, own_host)
        self._refuse(delivery.refused)
        return delivery

    def _refuse(self, refusals: Sequence[Settlement]) -> None:
        """Leave records that this node cannot read to other nodes; without any, they fail."""
        if not refusals:
            return
        record = self.clients.record
        states = record.settle(refusals, node=self.worker)
        client = record.scripts.client
        client.hincrby(TOTALS, "refused", len(refusals))
        self._wake_others(states)
        for refusal in refusals:
            upload_id, text = refusal.transfer.upload_id, str((refusal.retry or {})["error"])
            why = text.replace(upload_id, "…").removeprefix(f"on {self.worker}: ")
            with suppress(redis.ResponseError):  # somebody else has written what is no number
                note_refused(client, "record", self.worker, why)
            now = states[upload_id]
            log.error("upload_refused", upload_id=upload_id, stage=self.stage, text=text, now=now)

    def _wake_others(self, states: Mapping[str, str]) -> None:
        """Have another node claim what was handed over to it."""
        if "pending" in states.values():
            wake(self.app, 1)

    def put_back_grown(self, batch: Batch, outcomes: Outcomes) -> tuple[Batch, int]:
        """Make files pending again that no longer fit into the batch, with their sizes noted.

        Return the batch without them, and their number.
        """
        found = [
            outcome
            for outcome in outcomes.values()
            if isinstance(outcome, Transfer) and outcome.publish is None
        ]
        grown = {transfer.upload_id: transfer for transfer in grown_out(found, CLAIM_BYTES)}
        if not grown:
            return batch, 0
        before = {transfer.upload_id: transfer for transfer in batch.transfers}
        self.clients.record.settle(
            [
                Settlement(transfer, "pending", self.settling.fields(before[upload_id], transfer))
                for upload_id, transfer in grown.items()
            ]
        )
        stay = [file for file in batch.transfers if file.upload_id not in grown]
        return replace(batch, transfers=tuple(stay)), len(grown)

    def heartbeat(self, batch: Batch) -> Heartbeat:
        """Return the heartbeat that keeps the batch's lease while a long stage runs."""
        return Heartbeat(self.clients.record, batch)

    def hand_on(self, batch: Batch, outcomes: Outcomes, service: str = "") -> Message:
        """Record the outcomes of a batch, and return the message for the next stage.

        ``outcomes`` may omit transfers for which there was nothing to do. ``service`` is the one
        that this stage called; its gate opens if an outcome proves that it is up.

        Raises:
            UploadsFailedError: some uploads have failed for good; the others are handed on.
        """
        states = self._settle(batch, outcomes, service)
        log_errors(self.stage, outcomes, states)
        if gone := sum(
            len(outcome.gone) for outcome in outcomes.values() if isinstance(outcome, Transfer)
        ):
            wake(self.app, -(-gone // CLAIM_UPLOADS))
        continuing = continuing_of(batch, outcomes, states)
        message = to_message(batch.claim_id, continuing, self.clients.urls)
        if failed := failed_lines(outcomes, states):
            if continuing:
                self._send_next(message)
            raise errors.UploadsFailedError("\n".join(failed))
        if not continuing:
            message["summary"] = with_fate(batch.transfers, states.values())
            self.end_chain()
        return message

    def hand_on_early(self, batch: Batch, outcomes: Outcomes, service: str = "") -> Batch:
        """Hand on what is done of a batch, while this task is busy with the rest of it.

        It gets a claim of its own, so no message delivers any of it twice. Return the rest.
        """
        done: Outcomes = {
            k: outcome for k, outcome in outcomes.items() if isinstance(outcome, Transfer)
        }
        ahead = [file for file in batch.transfers if file.upload_id in done]
        if not ahead:
            return batch
        part = Batch(uuid(), tuple(ahead))
        try:
            states = self._settle(part, done, service, part.claim_id)
            if continuing := continuing_of(part, done, states):
                message = to_message(part.claim_id, continuing, self.clients.urls)
                self._send_next(message, part.claim_id)
        except (redis.RedisError, OperationalError) as error:  # the reconciler starts it again
            log.warning("redis_away", step="hand_on_early", text=type(error).__name__)
        rest = [file for file in batch.transfers if file.upload_id not in done]
        return self.hold(replace(batch, transfers=tuple(rest)))

    def _settle(
        self, batch: Batch, outcomes: Outcomes, service: str, into: str = ""
    ) -> dict[str, str]:
        """Write the outcomes of a batch to the record, and return the state of each upload.

        ``into`` is a new claim for those that go on.
        """
        settlements = self.settling.settlements(batch, outcomes)
        passed = sum(map(proves_service_up, outcomes.values())) if service else 0
        answered = [service] if passed else []
        if answered == ["ftrack"]:
            answered.append("credentials")
        reached = False
        if service and not passed:
            reached = answers_control(self.clients, service, outcomes.values())
            # ftrack may answer a query, and fail to write for all uploads. So it opens no gate, and
            # where ftrack writes, it does not show that an upload fails alone.
            passed = int(reached and self.stage != STAGES[-1])
        states = self.clients.record.settle(
            settlements,
            answered,
            passed,
            self.worker,
            reached=reached,
            into=into,
        )
        if given := given_back(outcomes):
            # Each of those that go on alone needs a claim of its own; the others share one.
            alone = sum(error.alone for error in given.values())
            host = batch.transfers[0].asked.host
            wake(self.app, alone, host)
            if alone < len(given):
                wake_if_few(self.app, self.clients.record.scripts.client, host)
        self._wake_others({k: state for k, state in states.items() if k not in given})
        for host in states.to_wake:
            wake(self.app, 1, host)
        return states

    def end_chain(self) -> None:
        """Make this task the last one: Celery sends what ``request.chain`` still holds."""
        self.request.chain = None

    def _send_next(self, message: Message, claim_id: str = "") -> None:
        # Celery does this itself when a task succeeds, but this task is about to raise, or goes on.
        # If it goes on, it sends the same chain again later. So with a new claim, all tasks get new
        # ids, and the first one gets the claim's, by which the claim's messages are found.
        if not self.request.chain:
            return
        *later, following = self.request.chain  # Celery keeps a chain reversed
        options = {"root_id": self.request.root_id}
        if claim_id:
            options = {"root_id": claim_id, "task_id": claim_id}
            later = [signature(task, app=self.app).clone(task_id=uuid()) for task in later]
        signature(following, app=self.app).apply_async(
            (message,), chain=later, parent_id=self.request.id, **options
        )


def with_size(transfer: Transfer) -> Transfer:
    """Return the transfer with the size that its file has now."""
    try:
        return replace(transfer, identity=identity_of(os.stat(transfer.path)))
    except OSError:  # The stage itself reports what is wrong with the file.
        return transfer
