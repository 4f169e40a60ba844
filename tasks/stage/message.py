"""The messages between stages: little more than the claim, since the record has the rest.

    {"summary": "beauty.1001.exr +49, 12.4 MB", "claim": "…", "signed": {upload id: sealed}}

Each presigned URL is sealed, so no log, event or result can show one. It belongs to one upload and
one version of its file, and the seal says so: copied elsewhere, it is refused and signed again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypedDict

from tasks.config.sealing import Codec
from tasks.config.texts import visible
from tasks.intake.answer import size
from tasks.transfer.errors import SealBrokenError
from tasks.transfer.models import Batch, SignedPut, Transfer
from tasks.transfer.signing import fits


class Message(TypedDict):
    """The argument of a stage, and its result. ``summary`` is for people (Flower, logs)."""

    summary: str
    claim: str
    signed: dict[str, str]


class RunMessage(Message):
    """The argument of ``put_parts``: which run, of which upload, under which fence."""

    upload: str
    fence: int
    run: int


def to_message(claim_id: str, transfers: Sequence[Transfer], urls: Codec) -> Message:
    """Return the message that hands on these transfers."""
    signed = {
        transfer.upload_id: urls.encode(
            {"for": _version(transfer), "url": put.url, "headers": put.headers}
        )
        for transfer in transfers
        if (put := transfer.signed) and not transfer.stored
    }
    return Message(summary=summary(transfers), claim=claim_id, signed=signed)


def with_signed(batch: Batch, message: Message, urls: Codec, server_url: str) -> Batch:
    """Return the batch with the signed PUTs of the message, if ftrack may have given them."""
    signed = message["signed"]

    def with_put(transfer: Transfer) -> Transfer:
        put = _unsealed(signed.get(transfer.upload_id), transfer, urls)
        if put and not fits(put, transfer.size_bytes, server_url):
            put = None
        return transfer if put is transfer.signed else replace(transfer, signed=put)

    return replace(batch, transfers=tuple(map(with_put, batch.transfers)))


def summary(transfers: Sequence[Transfer]) -> str:
    """Return a few words for people: the first file, how many others, and the total size."""
    if not transfers:
        return "nothing to do"
    others = f" +{len(transfers) - 1}" if len(transfers) > 1 else ""
    size_bytes = sum(
        file.identity.size_bytes if file.identity else file.total_bytes for file in transfers
    )
    return f"{visible(transfers[0].file_name)}{others}, {size(size_bytes)}"


def with_fate(transfers: Sequence[Transfer], states: Iterable[str]) -> str:
    """Return the summary of a batch that ends here: how many of it are in which state, and what.

    A task succeeds even if all of its uploads wait, so its result says what became of them.
    """
    fate = ", ".join(f"{count} {state}" for state, count in Counter(states).most_common())
    return f"{fate}: {summary(transfers)}" if fate else summary(transfers)


def _version(transfer: Transfer) -> list[str | int]:
    """Return what a URL belongs to: the upload, and the version of the file."""
    identity = transfer.known_identity
    return [
        *(transfer.upload_id, transfer.component_id),
        *(identity.size_bytes, identity.mtime_ns, transfer.checksum or ""),
    ]


def _unsealed(sealed: str | None, transfer: Transfer, urls: Codec) -> SignedPut | None:
    # A URL that cannot be read, such as after a change of keys or versions, is signed again.
    if sealed is None or transfer.identity is None:
        return None
    try:
        value: dict[str, Any] = urls.decode(sealed, "a signed URL")
        return SignedPut(**value) if value.pop("for", None) == _version(transfer) else None
    except (SealBrokenError, TypeError, AttributeError):
        return None
