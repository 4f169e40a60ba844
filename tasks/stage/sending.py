"""How a small file is sent: at the farm's bandwidth, and only while its lease holds."""

from __future__ import annotations

from dataclasses import replace

from tasks.records.record import CLAIM_BYTES
from tasks.stage.context import Clients
from tasks.stage.heartbeat import Heartbeat
from tasks.stage.threads import note_waiting
from tasks.transfer.errors import GivenBackError
from tasks.transfer.models import Outcomes, Transfer
from tasks.transfer.put import put_file

#: The least that a process claims on a slow line: some small files, or one larger one.
LEAST_CLAIM_BYTES = 1 << 20


def send_file(clients: Clients, transfer: Transfer, heartbeat: Heartbeat) -> Transfer:
    """Send a file by one PUT, and return its transfer as stored."""
    upload_id, roots = transfer.upload_id, clients.settings.storage_roots

    def alive() -> None:
        heartbeat(upload_id)
        note_waiting()

    with clients.limits.transfer(transfer.size_bytes, alive) as throttle:

        def on_progress(sent_bytes: int) -> int | None:
            heartbeat(upload_id, sent_bytes)
            return throttle(sent_bytes)

        put_file(transfer, clients.store, roots, on_progress)
    return replace(transfer, stored=True, signed=None)


def claim_bytes_after(claim_bytes: int, sent: Outcomes) -> int:
    """Return how much a process claims after a batch of which it has sent so much.

    If the batch took so long that files went back, that is what the line takes in about a minute:
    otherwise, each file would be signed again and again before its turn comes.
    """
    sent_bytes = sum(one.size_bytes for one in sent.values() if isinstance(one, Transfer))
    if any(isinstance(one, GivenBackError) for one in sent.values()):
        return min(max(2 * sent_bytes, LEAST_CLAIM_BYTES), CLAIM_BYTES)
    return min(4 * claim_bytes, CLAIM_BYTES) if sent_bytes else claim_bytes
