"""What the record gives to a stage that starts, and what it is told when the stage has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.transfer.models import Transfer


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
