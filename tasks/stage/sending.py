"""How a small file is sent: at the farm's bandwidth, and only while its lease holds."""

from __future__ import annotations

from dataclasses import replace

from tasks.stage.context import Clients
from tasks.stage.heartbeat import Heartbeat
from tasks.transfer.models import Transfer
from tasks.transfer.put import put_file


def send_file(clients: Clients, transfer: Transfer, heartbeat: Heartbeat) -> Transfer:
    """Send a file by one PUT, and return its transfer as stored."""
    throttle = clients.limits.throttle(transfer.size_bytes)

    def on_progress(sent_bytes: int) -> None:
        heartbeat(transfer.upload_id, sent_bytes)
        throttle(sent_bytes)

    put_file(transfer, clients.store, clients.settings.storage_roots, on_progress)
    return replace(transfer, stored=True, signed=None)
