"""How files are sent: at the farm's bandwidth, and only while their lease holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from tasks.stage.context import Clients
from tasks.stage.heartbeat import Heartbeat
from tasks.stage.threads import note_turn, note_waiting
from tasks.transfer.models import Transfer
from tasks.transfer.put import put_file


def send_file(clients: Clients, transfer: Transfer, heartbeat: Heartbeat) -> Transfer:
    """Send a small file by one PUT, and return its transfer as stored."""
    upload_id, roots = transfer.upload_id, clients.settings.storage_roots
    with turn(clients, transfer.size_bytes, lambda: heartbeat(upload_id)) as throttle:

        def on_progress(sent_bytes: int) -> int | None:
            heartbeat(upload_id, sent_bytes)
            return throttle(sent_bytes)

        put_file(transfer, clients.store, roots, on_progress)
    if transfer.signed:
        clients.url_dates.note_accepted(transfer.signed)
    return replace(transfer, stored=True, signed=None)


@contextmanager
def turn(
    clients: Clients, size_bytes: int, alive: Callable[[], object]
) -> Iterator[Callable[[int], int | None]]:
    """Wait for the turn of a file or part, as ``Limits.transfer`` does.

    Once its task begins nothing else, it does not begin either: it would not end in time.
    """

    def waits() -> None:
        alive()
        note_waiting()

    note_waiting()
    with clients.limits.transfer(size_bytes, waits) as throttle:
        note_turn()
        yield throttle
