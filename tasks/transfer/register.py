"""Registration in ftrack: stored files become visible, and what ftrack has of them already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tasks.transfer.bisection import bisect_failures
from tasks.transfer.checks import (
    moved_to,
    others_of,
    same_names_query,
)
from tasks.transfer.errors import (
    FileRefusedError,
    RequestRefusedError,
    TargetRefusedError,
    UploadError,
)
from tasks.transfer.existing import (
    NOTHING_YET,
    Existing,
    existing_operations,
    is_named,
    new_versions,
    parse_existing,
)
from tasks.transfer.ftrack import FtrackClient, FtrackRefusal
from tasks.transfer.models import SERVER_LOCATION_ID, Outcomes, Transfer
from tasks.transfer.queries import rows_of
from tasks.transfer.registration import job_ids, locate_operations, with_jobs
from tasks.transfer.sequence_sizes import add_up, containers_query
from tasks.transfer.targets import Container
from tasks.transfer.thumbnails import set_thumbnails
from tasks.transfer.version_data import version_data_operations
from tasks.transfer.versions import parse_versions, version_operations, version_queries

#: The components that are looked up in one POST.
LOOKED_UP_AT_ONCE = 500


def locate(ftrack: FtrackClient, transfers: Sequence[Transfer]) -> Outcomes:
    """Register stored files in ftrack.server, in one POST if none of them exists in ftrack.

    Safe to repeat: ids are derived, and existing entities are looked up and updated. A file that
    must be encoded is always looked up first, because its metadata shows whether an encoding
    was started before; so is one that replaces others, that is not to be in ftrack.server, or whose
    version or asset may not exist.
    """
    exist: list[Transfer] = []

    def create(batch: Sequence[Transfer]) -> Outcomes:
        try:
            return _register(ftrack, batch, NOTHING_YET)
        except FtrackRefusal as refusal:
            if not refusal.is_duplicate:
                raise
            exist.extend(batch)
            return {}

    look_first = [
        one
        for one in transfers
        if one.target.encode
        or one.target.replace
        or one.target.only_in
        or one.target.new_version
        or one.target.of_version
    ]
    others = [one for one in transfers if one not in look_first]
    outcomes = bisect_failures(create, others, "register")
    outcomes |= _locate_existing(ftrack, [*exist, *look_first])
    return outcomes | with_thumbnails(ftrack, outcomes)


def with_thumbnails(ftrack: FtrackClient, outcomes: Mapping[str, Any]) -> Outcomes:
    """Set the thumbnails of those files that are registered, and return their outcomes."""
    registered = [
        one
        for one in outcomes.values()
        if isinstance(one, Transfer)
        and not one.is_member
        and (one.target.thumbnail or one.target.encode)
    ]

    def show(batch: Sequence[Transfer]) -> Outcomes:
        set_thumbnails(ftrack, batch)
        return {one.upload_id: one for one in batch}

    return bisect_failures(show, registered, "set the thumbnail of")


def after_joining(ftrack: FtrackClient, outcomes: Mapping[str, Any]) -> Outcomes:
    """Do what ``locate`` does after registering, for large files; return their outcomes."""
    named = [
        one
        for one in outcomes.values()
        if isinstance(one, Transfer) and one.target.version_id is None
    ]

    def follow(batch: Sequence[Transfer]) -> Outcomes:
        add_up(ftrack, ftrack.call(containers_query(batch)))
        return {one.upload_id: one for one in batch}

    followed = bisect_failures(follow, named, "set the size of the sequence of")
    return followed | with_thumbnails(ftrack, outcomes)


def confirm(ftrack: FtrackClient, transfers: Sequence[Transfer]) -> Outcomes:
    """Ask ftrack, in one POST, whether it still has files that it has shown before.

    A file that it has returns with ``is_confirmed``. One that is gone returns as not stored. One
    whose second location is not as it should be returns as it is, and is registered again.
    """

    def ask(batch: Sequence[Transfer]) -> Outcomes:
        existing = _look_up(ftrack, batch)
        return {
            file.upload_id: replace(file, is_confirmed=existing.has_path(file.target, file.path))
            if existing.has(file)
            else replace(file, stored=False)
            for file in batch
        }

    return bisect_failures(ask, transfers, "look up")


def _locate_existing(ftrack: FtrackClient, transfers: Sequence[Transfer]) -> Outcomes:
    def update(batch: Sequence[Transfer]) -> Outcomes:
        # Looked up by each call: one before it whose answer was lost may have created some.
        existing = _look_up(ftrack, batch)
        refused: Outcomes = {
            transfer.upload_id: taken
            for transfer in batch
            if (taken := taken_by(transfer, existing))
        }
        free = [transfer for transfer in batch if transfer.upload_id not in refused]
        return refused | _register(ftrack, free, _with_version_data(ftrack, free, existing))

    def update_again(batch: Sequence[Transfer]) -> Outcomes:
        try:
            return update(batch)
        except FtrackRefusal as refusal:
            if not refusal.is_duplicate:
                raise
            # It was made after it was looked up: by another worker, or by a call whose answer was
            # lost.
            return update(batch)

    return bisect_failures(update_again, transfers, "register")


def _register(ftrack: FtrackClient, batch: Sequence[Transfer], existing: Existing) -> Outcomes:
    versions = version_operations(new_versions(batch), existing.known_versions)
    versions += existing.version_data
    groups = [locate_operations(transfer, existing) for transfer in batch]
    calls = [versions, containers_query(batch), *groups]
    _, containers, *results = ftrack.call_in_groups(calls)
    add_up(ftrack, containers)
    return {
        transfer.upload_id: with_jobs(transfer, job_ids(own), [transfer.target])
        for transfer, own in zip(batch, results, strict=True)
    }


def name_taken(file: Transfer, existing: Existing) -> FileRefusedError | None:
    # A component that was named by its id may be of any kind: only its location is created.
    target = file.target
    if target.version_id is None or target.component_id not in existing.sequences:
        return None
    why = f"is a file, but {target.name} is a sequence in ftrack; give it another name"
    return FileRefusedError(file.path, why)


def taken_by(wanted: Transfer | Container, existing: Existing) -> UploadError | None:
    """Return why a file or a sequence cannot be registered next to what ftrack has."""
    if isinstance(wanted, Transfer) and (taken := name_taken(wanted, existing)):
        return taken
    target = wanted.target
    version_id = existing.versions.get(target.component_id, "")
    if is_named(wanted) and (moved := moved_to(version_id, target)):
        return moved
    stored = (target.component_id, SERVER_LOCATION_ID) in existing.locations
    if target.only_in and not target.replace and stored:
        why = "is in ftrack.server already, and with --only-in nothing is uploaded"
        return TargetRefusedError(f'component "{target.name or target.component_id}"', why, "name")
    return None


def look_up(ftrack: FtrackClient, wanted: Sequence[Transfer | Container]) -> Existing:
    """Return which of these components, their locations and their metadata exist in ftrack.

    Raises:
        RequestRefusedError: ftrack refused the query.
        UploadError: what ``FtrackClient.call`` raises.
    """
    try:
        return _with_version_data(ftrack, wanted, _look_up(ftrack, wanted))
    except FtrackRefusal as refusal:
        component_id = wanted[0].target.component_id
        raise RequestRefusedError(component_id, "look up", str(refusal)) from None


def _look_up(ftrack: FtrackClient, wanted: Sequence[Transfer | Container]) -> Existing:
    found = Existing()
    for start in range(0, len(wanted), LOOKED_UP_AT_ONCE):
        batch = wanted[start : start + LOOKED_UP_AT_ONCE]
        named = [one.target for one in batch if is_named(one)]
        made = version_queries(new_versions(batch))
        groups = [existing_operations(batch), same_names_query(named), made]
        results, names, versions = ftrack.call_in_groups(groups)
        others = others_of(row for result in names for row in rows_of(result))
        known = replace(parse_existing(results), known_versions=parse_versions(versions))
        found = found.with_more(known).with_replaced(batch, others)
    return found


def _with_version_data(
    ftrack: FtrackClient, wanted: Sequence[Transfer | Container], existing: Existing
) -> Existing:
    """Return the same with what versions get with these components.

    Once for all of them: several ask for the same, and ftrack refuses what is created twice.
    """
    data = version_data_operations(ftrack, [one.target for one in wanted])
    return replace(existing, version_data=data)
