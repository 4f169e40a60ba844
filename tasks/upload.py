"""The four stages of an upload. Each is a thin Celery task over ``tasks.transfer``."""

from __future__ import annotations

import socket
from dataclasses import replace

from celery import shared_task

from tasks.chain import wake
from tasks.parts import start_runs
from tasks.records.delivery import grown_out
from tasks.records.record import CLAIM_BYTES
from tasks.stage.base import Stage
from tasks.stage.looks import look_into_store
from tasks.stage.message import Message
from tasks.stage.outcomes import still_of, without_failed
from tasks.stage.put_batch import PutBatch
from tasks.stage.registration import register_all
from tasks.stage.resolved import resolved
from tasks.transfer import checksum
from tasks.transfer.asked import check_host
from tasks.transfer.models import Outcomes, Transfer
from tasks.transfer.register import confirm
from tasks.transfer.signing import sign


@shared_task(base=Stage, bind=True, name="farmhaul.compute_checksum")
def compute_checksum(self: Stage, host: str = "") -> Message:
    """Claim a batch of pending uploads, and record the identity and MD5 of each file.

    ``host`` names the node whose local files are claimed; empty for files that all nodes see.

    Safe to run twice: the same task gets the same claim again, and otherwise only reads.
    """
    batch = self.claim(host)
    heartbeat = self.heartbeat(batch)
    this_host = socket.gethostname()
    roots = self.clients.settings.storage_roots

    def check(transfer: Transfer) -> Transfer:
        if transfer.publish is not None:
            return transfer
        check_host(transfer.path, transfer.asked, this_host)
        return checksum.compute_checksum(transfer, roots, lambda: heartbeat(transfer.upload_id))

    def go_on(checked: Outcomes) -> None:
        nonlocal batch
        files = [outcome for outcome in checked.values() if isinstance(outcome, Transfer)]
        grown = {file.upload_id for file in grown_out(files, CLAIM_BYTES)}
        fitting = {k: outcome for k, outcome in checked.items() if k not in grown}
        batch = self.hand_on_early(batch, fitting)
        heartbeat.keep(batch)

    outcomes = self.each_file(batch.transfers, check, go_on)
    outcomes = still_of(batch, outcomes)
    batch, put_back = self.put_back_grown(batch, outcomes)
    wake(self.app, put_back, host)
    return self.hand_on(batch, outcomes)


@shared_task(base=Stage, bind=True, name="farmhaul.get_put_metadata")
def get_put_metadata(self: Stage, message: Message) -> Message:
    """Have ftrack sign the batch's PUTs (URL and headers), in one API call.

    Files that were located before come first: ftrack is asked whether it still has them, and the
    store too, unless it was asked less than an hour ago and nobody retries them. Only what is gone
    is sent again. An ``encode_only`` file counts as there, because ftrack deletes it after it was
    encoded. Of a file that is registered by its path alone (``only_in``), only its target and its
    location are checked.

    Safe to run twice: signing changes nothing.
    """
    batch = self.take(message)
    parts = self.clients.parts
    files, refused = resolved(self.clients, batch.transfers)
    known = [file for file in files if file.was_located and not file.is_member]
    kept = [file for file in known if not file.target.encode_only]
    confirmed = self.call_once(
        lambda files: confirm(self.clients.ftrack, files), kept, writes=False
    )
    confirmed |= {
        file.upload_id: replace(file, is_confirmed=True) for file in known if file not in kept
    }
    confirmed |= look_into_store(self, batch, without_failed(files, confirmed))
    missing = [file for file in without_failed(files, confirmed) if not file.stored]
    unsigned = [file for file in missing if not (file.is_large and parts.is_signed(file))]
    # A multipart upload that is already open for the same file contents is used again. No hurried
    # call opens one, because a large file is alone in its batch.
    to_sign = [parts.with_multipart(file) for file in unsigned]
    signed = self.call_once(lambda files: sign(self.clients.ftrack, files), to_sign, writes=False)
    for outcome in signed.values():
        if isinstance(outcome, Transfer) and outcome.is_large:
            parts.open_multipart(outcome)
    return self.hand_on(batch, refused | confirmed | signed, service="ftrack")


@shared_task(base=Stage, bind=True, name="farmhaul.put_file")
def put_file(self: Stage, message: Message) -> Message:
    """Send the batch's files to the media store.

    Safe to run twice: files that are recorded as stored are skipped, sending the same bytes
    under the same key is idempotent, and ftrack shows nothing before the last stage.
    """
    batch = self.take(message)
    large = next((transfer for transfer in batch.not_stored if transfer.is_large), None)
    if large is not None:  # It is alone in its batch.
        return start_runs(self, batch, large)
    with self.heartbeat(batch) as heartbeat:
        putting = PutBatch(self, heartbeat, batch)
        putting.send_all()
    # What ftrack has refused is no answer of the store.
    batch = self.settle_early(putting.batch, putting.refused)
    return self.hand_on(batch, still_of(batch, putting.outcomes), service="store")


@shared_task(base=Stage, bind=True, name="farmhaul.create_component_location")
def create_component_location(self: Stage, message: Message) -> Message:
    """Register the stored files in ftrack.server, in one atomic API call.

    Safe to run twice: ids are derived from what they identify, and an existing location is
    looked up and accepted if it is ours.
    """
    batch = self.take(message)
    with self.heartbeat(batch) as heartbeat:
        registered = register_all(self, batch, heartbeat)
    return self.hand_on(batch, registered, service="ftrack")
