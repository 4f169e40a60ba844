"""The four stages of an upload, each a thin Celery task over ``tasks.transfer``."""

from __future__ import annotations

from dataclasses import replace

from celery import shared_task

from tasks.parts import finish, start_runs
from tasks.stage.base import Outcomes, Stage
from tasks.stage.message import Message
from tasks.transfer import checksum, put
from tasks.transfer.errors import LeaseLostError
from tasks.transfer.models import Transfer
from tasks.transfer.register import locate, locate_publish


@shared_task(base=Stage, bind=True, name="farmhaul.compute_checksum")
def compute_checksum(self: Stage, host: str = "") -> Message:
    """Claim a batch of pending uploads and note what each file is, with its MD5.

    Safe to run twice: the same task draws the same claim, and otherwise only reads.
    """
    batch = self.claim(host)
    beat = self.heartbeat(batch)
    roots = self.clients.settings.storage_roots

    def check(transfer: Transfer) -> Transfer:
        if transfer.publish is not None:
            return transfer
        return checksum.compute_checksum(transfer, roots, lambda: beat(transfer.upload_id))

    return self.hand_on(batch, self.each(batch.transfers, check))


@shared_task(base=Stage, bind=True, name="farmhaul.get_put_metadata")
def get_put_metadata(self: Stage, message: Message) -> Message:
    """Have the batch signed by ftrack: URL and headers of each PUT, in one API call.

    Safe to run twice: signing changes nothing.
    """
    batch = self.take(message)
    parts = self.clients.parts
    unsigned = [one for one in batch.not_stored if not (one.is_large and parts.is_signed(one))]
    # A multipart upload that is open for this very file is used again.
    to_sign = [parts.with_multipart(one) for one in unsigned]
    signed = self.ask(self.clients.ftrack.sign, to_sign)
    for outcome in signed.values():
        if isinstance(outcome, Transfer) and outcome.is_large:
            parts.open_multipart(outcome)
    return self.hand_on(batch, signed, service="ftrack")


@shared_task(base=Stage, bind=True, name="farmhaul.put_file")
def put_file(self: Stage, message: Message) -> Message:
    """Send the batch's files to the media store.

    Safe to run twice: what the record says is stored is left out, the same bytes under the
    same key do no harm, and ftrack shows nothing before the last stage.
    """
    batch = self.take(message)
    if large := [transfer for transfer in batch.not_stored if transfer.is_large]:
        return start_runs(self, batch, large[0])
    here = self.clients

    def send(transfer: Transfer) -> Transfer:
        throttle = here.limits.throttle(transfer.size_bytes)

        def check_lease(sent_bytes: int) -> None:
            beat(transfer.upload_id, sent_bytes)
            throttle(sent_bytes)

        put.put_file(transfer, here.store, here.settings.storage_roots, check_lease)
        return replace(transfer, stored=True, signed=None)

    with self.heartbeat(batch) as beat:
        sent = self.each(batch.not_stored, send)
    return self.hand_on(batch, sent, service="store")


@shared_task(base=Stage, bind=True, name="farmhaul.create_component_location")
def create_component_location(self: Stage, message: Message) -> Message:
    """Register the stored files in ftrack.server, in one atomic API call.

    Safe to run twice: ids are derived from what they stand for, and a location that is
    there already is looked up and accepted when it is ours.
    """
    batch = self.take(message)
    stored = [transfer for transfer in batch.transfers if transfer.stored]
    # Nothing is shown before its bytes are there, whatever message came.
    located: Outcomes = {one.upload_id: LeaseLostError(one.upload_id) for one in batch.not_stored}
    small = [one for one in stored if not (one.is_large or one.publish)]
    here = self.clients
    located |= self.ask(lambda ones: locate(here.ftrack, ones), small)
    with self.heartbeat(batch) as beat:
        # Joining the parts is what makes them the component's bytes.
        large = [transfer for transfer in stored if transfer.is_large]
        located |= self.each(large, lambda transfer: finish(self, transfer))

        def make_visible(transfer: Transfer) -> Transfer:
            files = here.publishes.files_of(transfer)
            done = locate_publish(
                here.ftrack,
                transfer,
                files,
                lambda: beat(transfer.upload_id, -1),
            )
            if here.events and done.publish:
                containers = [one.target.component_id for one in done.publish.containers]
                here.events.located(containers + [one.component_id for one in files])
            return done

        publishes = [transfer for transfer in stored if transfer.publish]
        located |= self.each(publishes, make_visible)
    if here.events:
        here.events.located(
            one.component_id
            for one in located.values()
            if isinstance(one, Transfer) and not one.publish
        )
    return self.hand_on(batch, located, service="ftrack")
