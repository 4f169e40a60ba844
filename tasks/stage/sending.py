"""How a small file is sent: at the farm's bandwidth, and only while its lease holds."""

from __future__ import annotations

from dataclasses import replace

from tasks.stage.context import Clients
from tasks.stage.heartbeat import Heartbeat
from tasks.stage.threads import note_turn, note_waiting
from tasks.transfer.models import Transfer
from tasks.transfer.put import put_file


def send_file(clients: Clients, transfer: Transfer, heartbeat: Heartbeat) -> Transfer:
    """Send a file by one PUT, and return its transfer as stored."""
    upload_id, roots = transfer.upload_id, clients.settings.storage_roots

    def alive() -> None:
        heartbeat(upload_id)
        note_waiting()

    note_waiting()
    with clients.limits.transfer(transfer.size_bytes, alive) as throttle:
        note_turn()

        def on_progress(sent_bytes: int) -> int | None:
            heartbeat(upload_id, sent_bytes)
            return throttle(sent_bytes)

        put_file(transfer, clients.store, roots, on_progress)
    return replace(transfer, stored=True, signed=None)
