"""The parts record of a large file: which parts are stored, and where the others go.

A hash for each file holds the id of the multipart upload, the identity of the file, the ETag of
each finished part with its signature (``etag:N``, ``seal:N``), and the sealed URLs of each run of
parts (``urls:RUN``). A list holds the runs that no task has yet. Finished parts survive any crash,
and count only while the file is unchanged. The URLs are kept here because ten thousand of them
would make messages of megabytes.

URLs and ETags belong to one upload, multipart upload and version of the file, and their seals say
so. What somebody has copied from another record, or invented, is refused: URLs are then signed
again, and parts sent again. The signature has a field of its own, because a worker of an earlier
version reads ``etag:N`` as the ETag.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tasks.config.sealing import Codec, Signer
from tasks.records.keys import parts_key, runs_key, to_text, upload_key
from tasks.records.numbers import number
from tasks.records.record import MAX_DELIVERIES, Record
from tasks.transfer.errors import SealBrokenError
from tasks.transfer.models import FileIdentity, Multipart, Transfer, part_size_bytes
from tasks.transfer.multipart import Part, plan_parts, plan_runs


@dataclass(frozen=True, slots=True)
class Run:
    """The work of one task: parts of a file, each with its presigned URL.

    ``transfer`` has the multipart upload that they belong to.
    """

    transfer: Transfer
    parts: tuple[tuple[Part, str], ...]


@dataclass(frozen=True, slots=True)
class LeftTo:
    """Another node that a run is left to, because this one could not read the file."""

    node: str


class PartsRecord:
    """Reads and writes the parts records.

    Under an old fencing token, no write may change which parts are stored or still missing. Notes
    that are harmless to repeat (``expire``, ``forget``, ``survived``, ``located_before``,
    ``join_asked``, ``join_answered``, ``note_joined``) need no token.
    """

    def __init__(self, record: Record, urls: Codec, signer: Signer) -> None:
        """Use *record* for the records, *urls* to seal presigned URLs, *signer* for ETags."""
        self.record = record
        self.scripts = record.scripts
        self.redis = record.scripts.client
        self.urls = urls
        self.signer = signer

    def multipart_id(self, transfer: Transfer) -> str:
        """Return the multipart upload that is open for this version of the file, or nothing."""
        multipart_id, identity = self._fields(transfer, "multipart", "identity")
        return multipart_id if identity == _identity_key(transfer.known_identity) else ""

    def with_multipart(self, transfer: Transfer) -> Transfer:
        """Return the transfer with the multipart upload that is open for it, if there is one."""
        multipart_id = self.multipart_id(transfer) if transfer.is_large else ""
        return replace(transfer, multipart=Multipart(multipart_id)) if multipart_id else transfer

    def is_signed(self, transfer: Transfer) -> bool:
        """Return whether the record has URLs for the parts that are not known to have expired."""
        [expired] = self._fields(transfer, "expired")
        return bool(self.multipart_id(transfer)) and not expired

    def open_multipart(self, transfer: Transfer) -> None:
        """Note the multipart upload that ftrack has opened, or signed again."""
        if transfer.multipart is None:
            raise ValueError(f"transfer {transfer.upload_id} has no multipart upload")
        urls = transfer.multipart.urls
        sealed = {
            f"urls:{number}": self.urls.encode(
                {
                    "for": [*_version(transfer), number],
                    "urls": [urls[part.number] for part in run],
                }
            )
            for number, run in enumerate(plan_runs(transfer.size_bytes))
        }
        self.scripts.run(
            "open_multipart",
            id=transfer.upload_id,
            fence=transfer.fence,
            multipart=transfer.multipart.upload_id,
            identity=_identity_key(transfer.known_identity),
            urls=sealed,
            ttl_s=self.scripts.ttl_s,
        )

    def expire(self, transfer: Transfer) -> None:
        """Note that the store refuses the URLs, so that they are signed again."""
        self.redis.hset(parts_key(transfer.upload_id), "expired", 1)

    def forget(self, transfer: Transfer) -> None:
        """Drop all parts, because the store does not know them any more."""
        self.redis.delete(parts_key(transfer.upload_id), runs_key(transfer.upload_id))

    def etags(self, transfer: Transfer) -> dict[int, str]:
        """Return the ETags of the finished parts, by part number.

        Those that no worker of this farm has signed for this multipart upload are left out. There
        are none if the file has changed, or was cut into other parts.
        """
        fields = self.redis.hgetall(parts_key(transfer.upload_id))
        named = {to_text(name): to_text(value) for name, value in fields.items()}
        if named.get("identity") != _identity_key(transfer.known_identity):
            return {}
        opened = replace(transfer, multipart=Multipart(named.get("multipart", "")))
        return self._signed(opened, plan_parts(transfer.size_bytes), named)

    def fan_out(self, transfer: Transfer, limit: int) -> list[int]:
        """Queue the runs that have missing parts; return the first *limit* of them, to begin now.

        A task that ends its run takes the next one of the others.
        """
        finished = self.etags(transfer)
        runs = plan_runs(transfer.size_bytes)
        missing = [
            number
            for number, run in enumerate(runs)
            if any(part.number not in finished for part in run)
        ]
        begun, later = missing[:limit], missing[limit:]
        is_ours = self.scripts.run(
            "fan_out",
            id=transfer.upload_id,
            fence=transfer.fence,
            total=sum(len(run) for run in runs),
            finished=list(finished),
            later=later,
            ttl_s=self.scripts.ttl_s,
        )
        return begun if is_ours else []

    def start_run(
        self, upload_id: str, fence: int, number: int, worker: str
    ) -> Run | LeftTo | None:
        """Take over a run; None if the upload has ended, or another delivery has taken it over."""
        row = self.scripts.run(
            "start_run",
            id=upload_id,
            fence=fence,
            run=number,
            worker=worker,
            max_deliveries=MAX_DELIVERIES,
            ttl_s=self.scripts.ttl_s,
        )
        if not row:
            return None
        if len(row) == 1:
            return LeftTo(to_text(row[0]))
        request, file, multipart_id, sealed = (to_text(value) for value in row)
        transfer = replace(
            self.record.form.read(upload_id, request, file),
            fence=fence,
            multipart=Multipart(multipart_id),
        )
        parts = plan_runs(transfer.size_bytes)[number]
        urls = self._unsealed_urls(transfer, number, sealed, len(parts))
        names = [f"{kind}:{part.number}" for part in parts for kind in ("etag", "seal")]
        known = dict(zip(names, self._fields(transfer, *names), strict=True))
        finished = self._signed(transfer, parts, known)
        missing = (
            (part, url)
            for part, url in zip(parts, urls, strict=True)
            if part.number not in finished
        )
        return Run(transfer, tuple(missing))

    def survived(self, transfer: Transfer, number: int) -> None:
        """Note that a run has not killed its worker, although it has not ended either."""
        self.redis.hdel(parts_key(transfer.upload_id), f"deliveries:{number}")

    def part_done(
        self, transfer: Transfer, part: Part, etag: str, run: tuple[int, int] = (0, 0)
    ) -> bool:
        """Note a finished part; False when the upload is no longer this delivery's.

        ``run`` is the number of its run, and the bytes of that run's unfinished parts.
        """
        number, ahead = run
        is_ours = self.scripts.run(
            "part_done",
            id=transfer.upload_id,
            fence=transfer.fence,
            number=part.number,
            etag=etag,
            seal=self.signer.sign(*_version(transfer), part.number, etag),
            size_bytes=part.size_bytes,
            run=number,
            ahead=ahead,
        )
        return bool(is_ours)

    def end_run(self, transfer: Transfer, number: int, task_id: str) -> tuple[bool, int | None]:
        """End a run; return whether it was the last one, and the next run if there is one."""
        is_last, next_run = self.scripts.run(
            "end_run", id=transfer.upload_id, fence=transfer.fence, run=number, task=task_id
        )
        return bool(is_last), None if next_run is None else int(next_run)

    def located_before(self, transfer: Transfer, *, located: bool) -> bool:
        """Note, once, whether the component was located before its parts were joined.

        Only a worker can say that it was not: then a location shows that an earlier call has joined
        the parts. What a former version has noted has no seal: that it was not located counts only
        if it still is not.
        """
        key = parts_key(transfer.upload_id)
        [multipart_id] = self._fields(transfer, "multipart")
        what = ("located before", transfer.upload_id, multipart_id, transfer.component_id)
        noted = self.redis.pipeline(transaction=True)  # so no value is ever without its seal
        noted.hsetnx(key, "located_before", int(located))
        noted.hsetnx(key, "located_before_seal", self.signer.sign(*what, int(located)))
        noted.execute()
        said, seal = self._fields(transfer, "located_before", "located_before_seal")
        return said != "0" or not self.signer.is_valid(seal, *what, 0)

    def join_asked(self, transfer: Transfer) -> float | None:
        """Note that the parts are about to be joined.

        Return how long ago an earlier call began, in seconds, if it has not been answered.
        """
        key = parts_key(transfer.upload_id)
        now, _ = self.redis.time()
        if self.redis.hsetnx(key, "join_asked", now):
            return None
        return float(now) - number(self.redis.hget(key, "join_asked"), now, now)

    def join_answered(self, transfer: Transfer) -> None:
        """Note that the last call to join the parts was answered."""
        self.redis.hdel(parts_key(transfer.upload_id), "join_asked")

    def note_joined(self, transfer: Transfer) -> None:
        """Note that the parts are one file in the store, also when the parts record is gone."""
        seal = self.signer.sign(*_joined_values(transfer))
        fields: dict[Any, Any] = {"joined": transfer.content_fingerprint, "joined_seal": seal}
        self.redis.hset(upload_key(transfer.upload_id), mapping=fields)

    def is_joined(self, transfer: Transfer) -> bool:
        """Return whether the parts of this version of the file are one file in the store."""
        fields = self.redis.hmget(upload_key(transfer.upload_id), ["joined", "joined_seal"])
        joined, seal = map(to_text, fields)
        is_ours = self.signer.is_valid(seal, *_joined_values(transfer))
        return joined == transfer.content_fingerprint and is_ours

    def _signed(
        self, transfer: Transfer, parts: Sequence[Part], fields: Mapping[str, str]
    ) -> dict[int, str]:
        """Return those of the parts' ETags whose signature fits, by part number."""
        etags = {part.number: fields.get(f"etag:{part.number}", "") for part in parts}
        return {
            number: etag
            for number, etag in etags.items()
            if etag
            and self.signer.is_valid(
                fields.get(f"seal:{number}", ""), *_version(transfer), number, etag
            )
        }

    def _unsealed_urls(
        self, transfer: Transfer, number: int, sealed: str, count: int
    ) -> Sequence[str]:
        # The store refuses empty URLs, so they are signed again.
        refused = [""] * count
        try:
            value = self.urls.decode(sealed, "a signed URL")
        except SealBrokenError:
            return refused
        is_ours = isinstance(value, dict) and value.get("for") == [*_version(transfer), number]
        return value["urls"] if is_ours and len(value["urls"]) == count else refused

    def _fields(self, transfer: Transfer, *names: str) -> list[str]:
        values = self.redis.hmget(parts_key(transfer.upload_id), names)
        return [to_text(value) for value in values]


def _version(transfer: Transfer) -> tuple[str, str, str]:
    """Return what the parts belong to: the upload, the multipart upload, the file's version."""
    multipart_id = transfer.multipart.upload_id if transfer.multipart else ""
    return transfer.upload_id, multipart_id, _identity_key(transfer.known_identity)


def _joined_values(transfer: Transfer) -> tuple[str, str, str, str]:
    key = _identity_key(transfer.known_identity)
    return "joined", transfer.upload_id, transfer.component_id, key


def _identity_key(identity: FileIdentity) -> str:
    # With the size of a part: another version of farmhaul may cut the file in another way.
    size_bytes = identity.size_bytes
    return f"{size_bytes}:{identity.mtime_ns}:{part_size_bytes(size_bytes)}"
