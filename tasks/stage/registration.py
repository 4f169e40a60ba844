"""How the last stage makes stored files visible in ftrack: small files, large ones, publishes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tasks.log import log
from tasks.stage.base import Stage
from tasks.stage.context import Clients
from tasks.stage.heartbeat import Heartbeat
from tasks.stage.resolved import resolved, resolved_publish
from tasks.transfer.errors import (
    JoinUnderWayError,
    LeaseLostError,
    MultipartGoneError,
    PartsMissingError,
    RequestRefusedError,
    UnexpectedAnswerError,
    UploadError,
)
from tasks.transfer.existing import new_versions
from tasks.transfer.models import SERVER_LOCATION_ID, Batch, Outcomes, Transfer, part_count
from tasks.transfer.multipart import complete, join_alone
from tasks.transfer.operations import Operation
from tasks.transfer.register import after_joining, locate, look_up
from tasks.transfer.register_publish import locate_publish
from tasks.transfer.registration import locate_operations, with_jobs
from tasks.transfer.versions import version_operations

#: How long the location of a file decides, after a call to join its parts had no answer. The
#: parts are sent again when it has not appeared by then.
JOIN_PATIENCE_S = 1800.0


def register_all(stage: Stage, batch: Batch, heartbeat: Heartbeat) -> Outcomes:
    """Register the batch's stored files, and announce the new locations to the event hub.

    Return the outcome of each upload. A file that is not stored is never registered, whatever
    the message says: its outcome is a LeaseLostError.
    """
    clients = stage.clients
    placed, refused = resolved(clients, batch.transfers)
    stored = [transfer for transfer in placed if transfer.stored]
    small = [transfer for transfer in stored if not (transfer.is_large or transfer.publish)]
    large = [transfer for transfer in stored if transfer.is_large]
    publishes = [transfer for transfer in stored if transfer.publish]
    members: dict[str, list[Transfer]] = {}

    def show(publish: Transfer) -> Transfer:
        files = clients.publishes.members_of(publish)
        publish, files = resolved_publish(clients, publish, files)
        members[publish.upload_id] = files
        located = locate_publish(
            clients.ftrack,
            publish,
            files,
            lambda: heartbeat(publish.upload_id, -1),
            clients.publishes.outdated_frames,
        )
        if located.gone:
            log.warning("files_gone", upload_id=publish.upload_id, count=len(located.gone))
        else:
            clients.publishes.forget_replaced(publish)
        return located

    outcomes: Outcomes = {
        transfer.upload_id: LeaseLostError(transfer.upload_id) for transfer in batch.not_stored
    }
    outcomes |= {
        upload_id: error for upload_id, error in refused.items() if upload_id not in outcomes
    }
    outcomes |= stage.call_once(lambda transfers: locate(clients.ftrack, transfers), small)
    joined = stage.each(large, lambda transfer: join_parts(clients, transfer))
    outcomes |= joined | after_joining(clients.ftrack, joined)
    outcomes |= stage.each(publishes, show)
    if clients.events:
        of_location: dict[str, list[str]] = {}
        for component_id, location_id in located_components(outcomes, members):
            of_location.setdefault(location_id, []).append(component_id)
        for location_id, component_ids in of_location.items():
            clients.events.located(component_ids, location_id)
    return outcomes


def join_parts(clients: Clients, transfer: Transfer) -> Transfer:
    """Join the parts of a stored large file and register it, in one API call.

    A member of a publish is joined only; the publish registers it. If the answer to an earlier
    call was lost, the location shows that the call succeeded: it did not exist before. If ftrack
    refuses the registration, the parts are joined nevertheless, and are not sent again.

    Raises:
        PartsMissingError: not every part of the file has a valid ETag.
        MultipartGoneError: the store does not know the parts.
        JoinUnderWayError: it does not, but an earlier call had no answer: it may have joined them.
        UploadError: what ``locate`` returns, and what ``complete`` raises.
    """
    parts, ftrack = clients.parts, clients.ftrack
    if parts.is_joined(transfer):
        return transfer if transfer.is_member else _located(clients, transfer)
    register: list[Operation] = []
    if not transfer.is_member:
        existing = look_up(ftrack, [transfer])
        located = transfer.component_id in existing.located
        before = parts.located_before(transfer, located=located)
        if located and not before:
            return transfer
        register = version_operations(new_versions([transfer]), existing.known_versions)
        register += existing.version_data
        register += locate_operations(transfer, existing)
    etags = parts.etags(transfer)
    if missing := part_count(transfer.size_bytes) - len(etags):
        # The store would join those that are there, and the file would end too early.
        raise PartsMissingError(transfer.component_id, missing)
    opened = parts.with_multipart(transfer)
    asked_s_ago = parts.join_asked(transfer)
    try:
        jobs = complete(opened, etags, ftrack, register)
    except MultipartGoneError as error:
        if error.may_be_joined and asked_s_ago is not None and asked_s_ago < JOIN_PATIENCE_S:
            return _joined_before(clients, transfer)
        parts.forget(transfer)
        raise
    except (RequestRefusedError, UnexpectedAnswerError):
        parts.join_answered(transfer)
        if register and join_alone(opened, etags, ftrack):
            parts.note_joined(transfer)
        raise
    parts.note_joined(transfer)
    return with_jobs(transfer, jobs, [transfer.target])


def _joined_before(clients: Clients, transfer: Transfer) -> Transfer:
    """Settle a file whose parts an earlier call has joined, or is joining; it had no answer."""
    if not transfer.is_member:  # its location decides, and join_parts asks for that first
        raise JoinUnderWayError(transfer.component_id)
    clients.parts.note_joined(transfer)
    return transfer


def _located(clients: Clients, transfer: Transfer) -> Transfer:
    outcome = locate(clients.ftrack, [transfer])[transfer.upload_id]
    if isinstance(outcome, UploadError):
        raise outcome
    return outcome


def located_components(
    outcomes: Outcomes, members: Mapping[str, Sequence[Transfer]]
) -> Iterator[tuple[str, str]]:
    """Yield all components that this stage has given a location, with the location: their ids.

    Of a publish that was there before, these are the files that were sent again and their
    sequences. ``members`` are those of each publish, by the upload id of the publish.
    """
    for upload_id, outcome in outcomes.items():
        if not isinstance(outcome, Transfer) or outcome.gone:
            continue
        targets = [outcome.target]
        fresh = {outcome.component_id}
        if outcome.publish is not None:
            files = members[upload_id]
            containers = [container.target for container in outcome.publish.containers]
            targets = containers + [member.target for member in files]
            sent = [member.target for member in files if not member.was_located]
            fresh = {id_ for file in sent for id_ in (file.component_id, file.container_id or "")}
            if not outcome.was_located:
                fresh.update(
                    container.target.component_id for container in outcome.publish.containers
                )
        for target in targets:
            if not target.only_in and target.component_id in fresh:
                yield target.component_id, SERVER_LOCATION_ID
            # It may have got its path in another location now, although no byte was sent.
            if target.location:
                yield target.component_id, target.location.location_id
