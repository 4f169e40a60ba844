"""A delivery, which a stage starts with, and settlements, which it ends with (AMQP's words)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tasks.config.remedies import explained
from tasks.transfer.errors import OwnSettingsError
from tasks.transfer.models import LARGE_BYTES, Transfer

#: The outcomes of a stage for a transfer. "advanced" hands it to the next stage; "reopened" lets
#: a publish wait for files of it that are gone from ftrack.
Outcome = Literal["advanced", "stored", "located", "retrying", "failed", "pending", "reopened"]


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome of a stage for one transfer, as ``settle.lua`` takes it.

    ``fields`` are fields of the record to write. ``retry`` holds what else the outcome needs:
    how a "retrying" upload is tried again (``tasks.stage.retry_policy``), or that it fails unless
    another node can do it (``final_verdict``); which files of a "reopened" publish are ``gone``;
    whether a "pending" upload ``is_running``; whether one that advances ``differs`` from what was
    asked for.
    """

    transfer: Transfer
    outcome: Outcome
    fields: Mapping[str, str | int] = field(default_factory=dict)
    retry: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """The work of a delivered task.

    ``refused`` are the settlements of records that this node cannot read. ``unsized`` are the ids
    of files that nobody has looked at yet (``--no-stat``). ``to_wake`` are the hosts that need
    another wake-up ("" for all nodes), because this claim left some pending. ``left_to`` is the
    node that this stage is left to, or all that could be claimed; then nothing is delivered.
    """

    transfers: list[Transfer] = field(default_factory=list)
    refused: list[Settlement] = field(default_factory=list)
    unsized: set[str] = field(default_factory=set)
    to_wake: list[str] = field(default_factory=list)
    left_to: str = ""


def final_verdict(error: Exception, own: str, node: str) -> dict[str, Any]:
    """Return the ``retry`` of an error that fails the upload, unless another node can do it.

    ``own`` says what may be wrong with the node alone.
    """
    return {
        "kind": type(error).__name__,
        "error": on_node(error, node),
        "own": own,
        "gate": "",
        "final": True,
    }


def on_node(error: Exception, node: str) -> str:
    """Return the text of an error that may be the node's own: it names the node."""
    text = explained(error)
    return text if isinstance(error, OwnSettingsError) else f"on {node}: {text}"


def within_bounds(
    transfers: Sequence[Transfer], sizes_bytes: Mapping[str, int], max_bytes: int
) -> tuple[list[Transfer], list[Settlement]]:
    """Split transfers into those that fit into *max_bytes*, and the others.

    ``sizes_bytes`` are those of files whose size was not known when they were claimed. The others
    become pending again, with their sizes noted.
    """
    fitting: list[Transfer] = []
    others: list[Settlement] = []
    room_bytes = max_bytes
    for transfer in transfers:
        size_bytes = sizes_bytes.get(transfer.upload_id, 0)
        # A large file is alone in its batch.
        needed_bytes = max_bytes if size_bytes > LARGE_BYTES else size_bytes
        if fitting and needed_bytes >= room_bytes:
            others.append(
                Settlement(transfer, "pending", {"size": size_bytes} if size_bytes else {})
            )
            continue
        room_bytes -= needed_bytes
        fitting.append(transfer)
    return fitting, others


def grown_out(transfers: Sequence[Transfer], max_bytes: int) -> list[Transfer]:
    """Return the files that leave their batch, because files have grown since it was claimed.

    The smallest ones stay together, up to *max_bytes*; a large file is alone in its batch. So one
    file that has grown does not hold up the others.
    """
    left_out: list[Transfer] = []
    stay_bytes = count = 0
    for transfer in sorted(transfers, key=lambda transfer: transfer.size_bytes):
        if count and (transfer.is_large or stay_bytes + transfer.size_bytes > max_bytes):
            left_out.append(transfer)
        else:
            count += 1
            stay_bytes += transfer.size_bytes
    return left_out
