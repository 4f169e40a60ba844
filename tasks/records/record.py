"""The record of every upload in Redis: the truth that status, retry and dedupe read.

All keys begin with ``farmhaul:``; the scripts in ``lua/`` write them, so that
each move between states is atomic.

| key | type | holds |
|---|---|---|
| ``upload:ID`` | hash | the upload: request (sealed), state, stage, fence, file (sealed), error |
| ``state:STATE`` | sorted set | upload ids by the time of their last move |
| ``pending``, ``pending:HOST`` | sorted set | upload ids to be claimed, by priority, then age |
| ``waiting`` | sorted set | upload ids by the time they are pending again |
| ``file:STATE`` | sorted set | the same for files of publishes |
| ``files:ID``, ``left:ID`` | set | the files of a publish, and those that are not stored yet |
| ``open`` | sorted set | publishes whose files are still being written, by when that began |
| ``jobs`` | sorted set | uploads that ftrack encodes, by when to ask how it fares |
| ``claim:ID`` | set | the uploads that one chain carries |
| ``claims`` | sorted set | claims by the time at which they count as lost |
| ``component:ID`` | hash | the upload that the component is to have |
| ``parts:ID``, ``runs:ID`` | | see ``tasks.records.parts`` |
| ``gate:SERVICE`` | hash | an outage: until when nothing is claimed |
| ``hosts`` | set | hosts with pending uploads of their own |
| ``limits`` | hash | limits set by ``farmhaul limit`` |
| ``bucket:NAME`` | string | until when what was drawn keeps the farm busy |
| ``tick`` | string | the worker that ticks |
| ``workers`` | sorted set | workers by the time at which they last took tasks |
| ``totals`` | hash | see ``tasks.records.counters`` |
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import redis

from tasks.config.path_map import mapped
from tasks.config.remedies import explained
from tasks.config.sealing import message_codec
from tasks.config.settings import Settings
from tasks.intake.request import transfer_from_record
from tasks.records.commands import Commands
from tasks.records.delivery import Delivery, Settlement
from tasks.records.keys import to_text
from tasks.transfer.errors import SealBrokenError
from tasks.transfer.models import LARGE_BYTES, FileIdentity, Target, Transfer

STAGES = ("compute_checksum", "get_put_metadata", "put_file", "create_component_location")

#: A claim draws at most so much: ≤ 50 keeps one API call short, ≤ 256 MiB keeps tasks so
#: short that a hung one can be told from a slow one.
CLAIM_UPLOADS = 50
CLAIM_BYTES = 256 << 20
#: A claim whose chain never ends is forgotten after a week; its uploads are reclaimed long before.
CLAIM_TTL_S = 7 * 86400
MAX_DELIVERIES = 5
#: A publish whose files were not all recorded within this time fails.
OPEN_PUBLISH_S = 86400.0
#: The target of a request that can not be read.
_NOBODY = Target(component_id="")


class Record(Commands):
    """Reads and moves the records; one instance a process."""

    def __init__(
        self, *arguments: Any, path_map: Sequence[tuple[str, str]] = (), **options: Any
    ) -> None:
        """Take what ``Scripts`` does, and how this node reads paths (FARMHAUL_PATH_MAP)."""
        super().__init__(*arguments, **options)
        self.path_map = path_map

    def deliver(self, claim_id: str, stage: str, worker: str, host: str = "") -> Delivery:
        """Take the transfers of a claim that are still its own, under a new fence each."""
        rows = self.run(
            "deliver",
            claim_id,
            STAGES.index(stage) + 1,
            worker,
            self.lease_s,
            host,
            CLAIM_UPLOADS,
            CLAIM_BYTES,
            CLAIM_TTL_S,
            self.ttl_s,
            MAX_DELIVERIES,
            LARGE_BYTES,
        )
        delivery = Delivery()
        for row in rows:
            upload_id, fence, request, file, stored, size = (to_text(value) for value in row)
            try:
                transfer = self.transfer(upload_id, request, file, stored, int(fence))
            except (SealBrokenError, ValueError) as error:
                unknown = Transfer(upload_id, _NOBODY, "", fence=int(fence))
                fields = {"error": explained(error), "error_kind": type(error).__name__}
                delivery.refused.append(Settlement(unknown, "failed", fields))
                continue
            delivery.transfers.append(transfer)
            if not size:
                delivery.unsized.add(upload_id)
        return delivery

    def transfer(
        self, upload_id: str, request: str, file: str, stored: str, fence: int = 0
    ) -> Transfer:
        """Make the transfer of an upload's fields; raises SealBrokenError or ValueError."""
        what = f"the record of upload {upload_id}"
        transfer = transfer_from_record(upload_id, self.codec.decode(request, what))
        path = mapped(transfer.path, self.path_map)
        if not file:
            return replace(transfer, path=path, fence=fence)
        fields = self.codec.decode(file, what)
        try:
            checksum = fields.pop("checksum")
            identity = FileIdentity(**fields)
        except (AttributeError, KeyError, TypeError):
            raise ValueError(f"{what} is of a version this worker does not know") from None
        known = replace(transfer, path=path, identity=identity, checksum=checksum, fence=fence)
        # Else nothing is stored, or the bytes of another state of the file are.
        is_stored = bool(stored) and stored == known.content_fingerprint
        return replace(known, stored=True) if is_stored else known

    def seal_file(self, transfer: Transfer) -> str:
        """What a later delivery must know of the file, for the field ``file``."""
        return self.codec.encode(asdict(transfer.known_identity) | {"checksum": transfer.checksum})

    def settle(
        self, settlements: Sequence[Settlement], answered: Sequence[str] = ()
    ) -> dict[str, str]:
        """Note what became of transfers; gives the state of each, or "lost"."""
        rows = [
            {
                "id": one.transfer.upload_id,
                "fence": one.transfer.fence,
                "outcome": one.outcome,
                "fields": self._hidden(one.fields),
                "wait": one.wait and self._hidden(one.wait),
            }
            for one in settlements
        ]
        if not rows:
            return {}
        # A lone surrogate, as in a name that is not UTF-8, would make Redis refuse all of it.
        clean = json.dumps(rows, ensure_ascii=False).encode(errors="replace")
        answer = self.run("settle", self.ttl_s, clean, json.dumps(list(answered)))
        return {to_text(upload_id): to_text(state) for upload_id, state in answer}

    def _hidden(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        # What went wrong with a file names its path.
        return {k: self.codec.seal_text(v) if k == "error" else v for k, v in fields.items()}

    def heartbeat(self, claim_id: str, sent: Mapping[str, tuple[int, int]]) -> set[str]:
        """Renew the claim in mid-stage; ``sent`` is {id: (fence, bytes)}. Gives the lost ids."""
        rows = [{"id": one, "fence": fence, "sent": n} for one, (fence, n) in sent.items()]
        return {
            to_text(one) for one in self.run("heartbeat", claim_id, self.lease_s, json.dumps(rows))
        }

    def renew(self, clock_s: float, tags: Sequence[str], claims: Sequence[str]) -> None:
        """Renew the lease of messages (by delivery tag) and claims that a worker holds.

        ``clock_s`` is the worker's clock, which kombu compares the tags' scores with.
        """
        self.run("renew", self.lease_s, clock_s, json.dumps(tags), json.dumps(claims))

    def promote_due(self) -> tuple[dict[str, int], list[str]]:
        """Make due uploads pending; gives pending counts by host, and overdue claims."""
        counts, overdue = self.run("promote_due", self.ttl_s, 1000, 100, OPEN_PUBLISH_S)
        return {to_text(host): int(n) for host, n in counts}, [to_text(claim) for claim in overdue]

    def reclaim(self, claim_id: str) -> int:
        """Make the uploads of a lost claim pending again; gives how many."""
        return int(self.run("reclaim", claim_id))


def open_record(settings: Settings, client: redis.Redis) -> Record:
    """Open the records as the environment says."""
    return Record(
        client,
        message_codec(settings),
        lease_s=settings.lease_s,
        days=settings.record_days,
        path_map=settings.path_map,
    )
