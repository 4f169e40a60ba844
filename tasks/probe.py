"""A node that is set aside looks whether it can do again what it failed and others managed.

On a farm that keeps up, nothing is pending when such a node tries one upload now and then, so it
would stay set aside for as long as the farm is quick, even if what was wrong has been repaired.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from celery import Task, shared_task

from tasks.chain import FETCH_PRIORITY
from tasks.log import log
from tasks.records.keys import FAILING, PAUSED, to_text, upload_key
from tasks.records.nodes import noted_fault
from tasks.stage.context import Clients, clients
from tasks.stage.locations import with_locations
from tasks.stage.redaction import RedactedTask
from tasks.stage.threads import STALLED_S, Unfinished, note_progress
from tasks.stage.tries import hung_text
from tasks.transfer.asked import check_same
from tasks.transfer.errors import UploadError
from tasks.transfer.files import identity_of, open_checked, reading
from tasks.transfer.ftrack import FtrackRefusal
from tasks.transfer.models import Transfer
from tasks.transfer.trial import put_trial, sign_trial

#: Other workers of the host take from the same queue, and pass the message on so often.
MOST_PASSES = 10
#: How many of the uploads that this node has failed are tried.
MOST_FAILED = 3


@shared_task(
    base=RedactedTask,
    bind=True,
    name="farmhaul.probe_node",
    ignore_result=True,
    throws=(UploadError,),
)
def probe_node(self: Task, node: str, passes: int = 0) -> None:
    """Let this node take uploads again if it can do what it failed.

    Safe to run twice: it reads, and sends the store a few bytes that belong to no component.
    """
    if str(self.request.hostname) != node:
        if 0 <= passes < MOST_PASSES:
            queue = self.request.delivery_info["routing_key"]
            self.apply_async((node, passes + 1), queue=queue, priority=FETCH_PRIORITY)
        return
    here = clients()
    scripts = here.record.scripts
    note = scripts.client.hget(PAUSED, node)
    fault = noted_fault(node, note, scripts.codec) if note else None
    if fault is None or fault.known:
        return
    look = CAN_AGAIN.get(fault.what)
    if look is not None and look(here, node):
        scripts.run("let_go_on", node=node)


def _reads_a_file(here: Clients, node: str) -> bool:
    """Return whether the node reads one of the files that it could not read, or has none left."""
    failed, closed = _failed(here, "files", node)
    if not failed:
        return not closed
    dead = here.mounts.dead([file.path for file in failed])
    tried = [file for file in failed if file.path not in dead]
    roots = here.settings.storage_roots
    ended = here.threads.run(tried, lambda file: _why_not(file, roots), lambda _: STALLED_S)
    # An error tells nothing about the mount.
    looked = [
        (file.path, why)
        for file, why in zip(tried, ended, strict=True)
        if not isinstance(why, str) or not why
    ]
    here.mounts.note({path: isinstance(why, Unfinished) for path, why in looked})
    if "" in ended:
        return True
    reasons = [hung_text(why, "a file") if isinstance(why, Unfinished) else why for why in ended]
    reasons += [f"{mount} does not answer" for mount in dead.values()]
    log.warning("probe_failed", text=reasons[0])
    return False


def _knows_a_location(here: Clients, node: str) -> bool:
    """Return the same for a second location that it did not know."""
    failed, closed = _failed(here, "locations", node)
    _, refused = with_locations(here, failed)
    if len(refused) < len(failed):
        return True
    for error in refused.values():
        log.warning("probe_failed", text=str(error))
        return False
    return not closed


def _opens_records(here: Clients, node: str) -> bool:
    """Return whether the node opens the records that it could not open."""
    _, closed = _failed(here, "records", node)
    return not closed


def _failed(here: Clients, what: str, node: str) -> tuple[list[Transfer], int]:
    """Return some of what this node has failed and other nodes could do.

    Also returns how many of their records cannot be opened.
    """
    scripts = here.record.scripts
    ids: Any = scripts.client.srandmember(f"{FAILING}{what}:{node}", MOST_FAILED)
    pipeline = scripts.client.pipeline(transaction=False)
    names = [to_text(one) for one in ids]
    for upload_id in names:
        pipeline.hget(upload_key(upload_id), "request")
    failed, closed = [], 0
    for upload_id, request in zip(names, pipeline.execute(), strict=True):
        if not request:
            continue  # it has expired
        try:
            failed.append(here.record.form.read(upload_id, to_text(request)))
        except (UploadError, ValueError):  # somebody else has written it
            closed += 1
    return failed, closed


def _why_not(transfer: Transfer, roots: tuple[str, ...]) -> str:
    """Return why a file cannot be read as it was asked for; empty if it can."""
    path = transfer.path
    note_progress()
    try:
        with open_checked(path, roots, allow_empty=True) as file, reading(path):
            file.read(1)
            check_same(path, transfer.asked, identity_of(os.fstat(file.fileno())))
    except UploadError as error:
        return str(error)
    return ""


def _calls_ftrack(here: Clients, _: str) -> bool:
    try:
        # A user without rights may ask, and has nothing signed.
        sign_trial(here.ftrack, here.settings.require_ftrack().server_url)
    except (UploadError, FtrackRefusal) as error:
        log.warning("probe_failed", text=str(error))
        return False
    return True


def _reaches_the_store(here: Clients, _: str) -> bool:
    try:
        put_trial(here.ftrack, here.settings.require_ftrack().server_url, here.store)
    except (UploadError, FtrackRefusal) as error:
        log.warning("probe_failed", text=str(error))
        return False
    return True


#: Whether a node can do again what it failed, by what that is.
CAN_AGAIN: dict[str, Callable[[Clients, str], bool]] = {
    "files": _reads_a_file,
    "locations": _knows_a_location,
    "records": _opens_records,
    "ftrack": _calls_ftrack,
    "store": _reaches_the_store,
}
