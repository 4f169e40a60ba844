"""Large files: runs of parts, each a task of its own that any node can take."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from celery import shared_task, signature

from tasks.records.parts import LeftTo, Run
from tasks.stage.base import Stage
from tasks.stage.context import Clients
from tasks.stage.heartbeat import Heartbeat
from tasks.stage.message import Message, RunMessage, to_message
from tasks.stage.sending import turn
from tasks.transfer.errors import (
    FatalError,
    GivenBackError,
    LeaseLostError,
    MultipartGoneError,
    UploadError,
    UrlRefusedError,
)
from tasks.transfer.models import Batch, Transfer
from tasks.transfer.multipart import Part, put_part
from tasks.transfer.signing import is_url, sign

#: The number of runs of one file that are queued at once; each run that finishes queues the
#: next one. That is enough for several nodes, and lets small files run in between.
RUNS_AT_ONCE = 16
#: Of so many files, a process keeps the URLs that it had signed itself. The 10,000 URLs of one take
#: about 5 MB.
FILES_SIGNED_HERE = 4

#: By upload: the fencing token for which this process had the parts signed, and their URLs; none if
#: ftrack opened another multipart upload instead.
_signed_here: OrderedDict[str, tuple[int, dict[int, str]]] = OrderedDict()


def start_runs(stage: Stage, batch: Batch, transfer: Transfer) -> Message:
    """Queue the first runs of a large file; if no part is missing, hand the file on at once."""
    runs = stage.clients.parts.fan_out(transfer, RUNS_AT_ONCE)
    if not runs:
        return stage.hand_on(batch, {transfer.upload_id: replace(transfer, stored=True)})
    message = to_message(batch.claim_id, batch.transfers, stage.clients.urls)
    for run in runs:
        _send(
            stage, RunMessage(**message, upload=transfer.upload_id, fence=transfer.fence, run=run)
        )
    stage.end_chain()
    return message


@shared_task(base=Stage, bind=True, name="farmhaul.put_parts")
def put_parts(self: Stage, message: RunMessage) -> Message:
    """Send a run of a large file's parts; the task that finishes the last run hands it on.

    Safe to run twice: finished parts are skipped, sending the same bytes as the same part is
    idempotent, and only one task hands the file on.
    """
    parts = self.clients.parts
    run = parts.start_run(message["upload"], message["fence"], message["run"], self.worker)
    if run is None:
        self.end_chain()
        return message
    if isinstance(run, LeftTo):
        self.send_to(run.node, message)
    batch = self.hold(Batch(message["claim"], (run.transfer,)))
    outcomes = _send_parts(self, batch, message["run"], _urls(self.clients, run))
    errors = [outcome for outcome in outcomes if isinstance(outcome, UploadError)]
    if errors:
        return _after_errors(self, message, batch, errors, sent=len(errors) < len(outcomes))
    is_last, next_run = parts.end_run(run.transfer, message["run"], str(self.request.id))
    if is_last:
        # The record decides which run was the last to finish, however often it is delivered.
        stored = replace(run.transfer, stored=True)
        return self.hand_on(batch, {stored.upload_id: stored}, service="store")
    if next_run is not None:
        _send(self, RunMessage(**{**message, "run": next_run}))
    self.end_chain()
    return message


def _urls(clients: Clients, run: Run) -> dict[Part, str]:
    """Return the URL of each part; if this node cannot open them, have ftrack sign them here.

    While a key is changed, another node seals with another one. Kept in the record, the new URLs
    would be of no use to that node, and the file would go back and forth. The record's stay.
    """
    server_url = clients.ftrack.server_url
    urls = {part: url if is_url(url, server_url) else "" for part, url in run.parts}
    if all(urls.values()):
        return urls
    own = _urls_signed_here(clients, run.transfer)
    # Without a URL, a part waits until the file is signed again.
    return {part: own.get(part.number, url) for part, url in urls.items()}


def _urls_signed_here(clients: Clients, transfer: Transfer) -> dict[int, str]:
    """Return URLs for all parts of a file, which this process has signed once for all its runs.

    They are used no longer than those in the record: once the store refuses one, the file is signed
    again, and its runs have another fencing token. A server that cannot sign an open multipart
    upload again opens another one, which nobody joins: it is not asked again about this file.
    """
    fence, urls = _signed_here.get(transfer.upload_id, (transfer.fence, None))
    if urls is not None and (fence == transfer.fence or not urls):
        return urls
    signed = sign(clients.ftrack, [transfer])[transfer.upload_id]
    own = signed.multipart if isinstance(signed, Transfer) else None
    if own is None or transfer.multipart is None:
        return {}
    urls = dict(own.urls) if own.upload_id == transfer.multipart.upload_id else {}
    _signed_here[transfer.upload_id] = transfer.fence, urls
    while len(_signed_here) > FILES_SIGNED_HERE:
        _signed_here.popitem(last=False)
    return urls


def _send_parts(
    stage: Stage, batch: Batch, run: int, urls: dict[Part, str]
) -> list[Transfer | UploadError]:
    """Send parts to their URLs, several at a time; return one outcome for each part."""
    [transfer] = batch.transfers

    def send(part: Part) -> Transfer | UploadError:
        return stage.attempt(
            transfer, lambda _: _send_part(stage.clients, transfer, part, urls[part], heartbeat)
        )

    with stage.heartbeat(batch) as heartbeat:
        heartbeat.run = run
        outcomes = stage.in_threads(list(urls), send)
    return [stage.outcome_of(transfer, outcome) for outcome in outcomes]


def _send_part(
    clients: Clients, transfer: Transfer, part: Part, url: str, heartbeat: Heartbeat
) -> Transfer:
    roots = clients.settings.storage_roots

    def alive() -> None:
        heartbeat(transfer.upload_id, -1)  # finished parts and those under way are the progress

    with turn(clients, part.size_bytes, alive) as throttle:

        def on_progress(sent_bytes: int) -> int | None:
            heartbeat.under_way[part.number] = sent_bytes
            alive()
            return throttle(sent_bytes)

        etag = put_part(transfer, part, url, clients.store, roots=roots, on_progress=on_progress)
    with heartbeat.part_ends(part.number) as under_way:
        is_ours = clients.parts.part_done(transfer, part, etag, under_way)
    if not is_ours:
        raise LeaseLostError(transfer.upload_id)
    return transfer


def _after_errors(
    stage: Stage, message: RunMessage, batch: Batch, errors: list[UploadError], *, sent: bool
) -> Message:
    """Try the rest of a run again, or hand the file on with its worst error.

    ``sent`` is true if other parts of the run were sent.
    """
    [transfer] = batch.transfers
    parts = stage.clients.parts
    parts.survived(transfer, message["run"])
    worst = max(errors, key=_weight)
    if isinstance(worst, MultipartGoneError):
        # A run that ends late must not drop the parts of the next multipart upload.
        if transfer.multipart and transfer.multipart.upload_id == parts.multipart_id(transfer):
            parts.forget(transfer)
    elif any(isinstance(error, UrlRefusedError) for error in errors):
        parts.expire(transfer)
    elif isinstance(worst, GivenBackError) or (sent and not isinstance(worst, FatalError)):
        # The run makes progress, so the missing parts are tried at once, without a delay.
        _send(stage, message)
        stage.end_chain()
        return message
    return stage.hand_on(batch, {transfer.upload_id: worst}, service="store")


def _weight(error: UploadError) -> int:
    """Return how much an error says about a run, compared with others."""
    if isinstance(error, FatalError | MultipartGoneError):
        return 2
    return 0 if isinstance(error, GivenBackError) else 1


def _send(stage: Stage, message: RunMessage) -> None:
    # Each run carries the rest of this task's chain: the last one to finish continues it.
    delivery = stage.request.delivery_info
    run = signature("farmhaul.put_parts", app=stage.app, ignore_result=True)
    run.set(queue=delivery["routing_key"], priority=delivery["priority"]).apply_async(
        (message,),
        chain=list(stage.request.chain or []),
        root_id=stage.request.root_id,
        parent_id=stage.request.id,
    )
