"""A farmhaul with one stage more, added as CONTRIBUTING.md says: ``scan``, after the checksum.

celery -A tests.helpers.five_stages worker
python -m tests.helpers.five_stages enqueue PATH …
"""

from __future__ import annotations

from tasks.records import states

states.STAGES = ("compute_checksum", "scan", *states.STAGES[1:])  # type: ignore[assignment]

from celery import shared_task  # noqa: E402 the others read STAGES when they are imported

from tasks.stage.base import Stage  # noqa: E402
from tasks.stage.message import Message  # noqa: E402
from workers.app import app  # noqa: E402
from workers.cli import main  # noqa: E402

#: Where the new stage leaves the paths that it has seen.
SCANNED = "scanned"

__all__ = ["SCANNED", "app", "main", "scan"]


@shared_task(base=Stage, bind=True, name="farmhaul.scan")
def scan(self: Stage, message: Message) -> Message:
    """Note each file.

    Safe to run twice: the paths are a set.
    """
    batch = self.take(message)
    for transfer in batch.transfers:
        self.clients.record.scripts.client.sadd(SCANNED, transfer.path)
    return self.hand_on(batch, {})


if __name__ == "__main__":
    main()
