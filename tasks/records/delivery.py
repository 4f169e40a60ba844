"""What the record gives to a stage that starts, and what it is told when the stage has ended."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tasks.transfer.models import LARGE_BYTES, Transfer


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of one transfer in a stage: what ``settle.lua`` is told."""

    transfer: Transfer
    outcome: str
    fields: Mapping[str, str | int] = field(default_factory=dict)
    wait: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a delivered task is to work on.

    ``refused`` are records that nobody of ours has written, ``unsized`` the ids of files
    that nobody has looked at yet (--no-stat).
    """

    transfers: list[Transfer] = field(default_factory=list)
    refused: list[Settlement] = field(default_factory=list)
    unsized: set[str] = field(default_factory=set)


def within_bounds(delivery: Delivery, most_bytes: int) -> tuple[list[Transfer], list[Settlement]]:
    """Keep a batch within its bytes; files whose size was not known are looked at now.

    What does not fit is pending again, with its size noted.
    """
    fitting: list[Transfer] = []
    others: list[Settlement] = []
    room_bytes = most_bytes
    for transfer in delivery.transfers:
        size_bytes = 0
        if transfer.upload_id in delivery.unsized:
            with suppress(OSError):  # the stage itself says what is wrong with the file
                size_bytes = os.stat(transfer.path).st_size
        # A large file is alone in its batch.
        needed_bytes = most_bytes if size_bytes > LARGE_BYTES else size_bytes
        if fitting and (needed_bytes >= room_bytes or room_bytes == 0):
            others.append(
                Settlement(transfer, "pending", {"size": size_bytes} if size_bytes else {})
            )
            continue
        room_bytes -= needed_bytes
        fitting.append(transfer)
    return fitting, others
