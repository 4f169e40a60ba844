"""The parts records of a large file's parts in Redis: which are stored, and where the rest goes.

| key | type | holds |
|---|---|---|
| ``parts:ID`` | hash | multipart id, file identity, ``etag:N`` of each finished part, |
|              |      | ``urls:R`` of each run (sealed) |
| ``runs:ID`` | list | runs of parts that no task has yet |

Finished parts survive any crash, and are trusted only while the file is still the same. Signed
URLs lie here, since ten thousand of them would make messages of megabytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from tasks.config.sealing import Codec
from tasks.records.keys import parts_key, runs_key, to_text
from tasks.records.record import MAX_DELIVERIES, Record
from tasks.transfer.errors import SealBrokenError
from tasks.transfer.models import FileIdentity, Multipart, Transfer
from tasks.transfer.multipart import Part, plan_runs


@dataclass(frozen=True, slots=True)
class Run:
    """What one task sends: parts of a file, each with its URL."""

    transfer: Transfer
    parts: tuple[tuple[Part, str], ...]


class PartsRecord:
    """Reads and writes the parts records; all writes are refused under an old fencing number."""

    def __init__(self, record: Record, urls: Codec) -> None:
        self.record = record
        self.redis = record.client
        self.urls = urls

    def open_upload(self, transfer: Transfer) -> str:
        """Give the multipart id under which this very file is being sent, if there is one."""
        multipart_id, identity = self._fields(transfer, "multipart", "identity")
        return multipart_id if identity == _identity_key(transfer.known_identity) else ""

    def with_multipart(self, transfer: Transfer) -> Transfer:
        """Give a large file the multipart upload that is open for it, so that it is kept."""
        multipart_id = self.open_upload(transfer) if transfer.is_large else ""
        return replace(transfer, multipart=Multipart(multipart_id)) if multipart_id else transfer

    def is_signed(self, transfer: Transfer) -> bool:
        """Tell whether the URLs of its parts are here, and not known to have expired."""
        [expired] = self._fields(transfer, "expired")
        return bool(self.open_upload(transfer)) and not expired

    def open_multipart(self, transfer: Transfer) -> None:
        """Note the multipart upload that ftrack has opened, or signed again."""
        if transfer.multipart is None:
            raise ValueError(f"transfer {transfer.upload_id} has no multipart upload")
        urls = transfer.multipart.urls
        sealed = {
            f"urls:{number}": self.urls.encode([urls[part.number] for part in run])
            for number, run in enumerate(plan_runs(transfer.size_bytes))
        }
        self.record.run(
            "open_multipart",
            transfer.upload_id,
            transfer.fence,
            transfer.multipart.upload_id,
            _identity_key(transfer.known_identity),
            self.record.ttl_s,
            json.dumps(sealed),
        )

    def expire(self, transfer: Transfer) -> None:
        """Note that the URLs are refused, so that they are asked for anew."""
        self.redis.hset(parts_key(transfer.upload_id), "expired", 1)

    def forget(self, transfer: Transfer) -> None:
        """Drop all parts: the store does not know them any more."""
        self.redis.delete(parts_key(transfer.upload_id), runs_key(transfer.upload_id))

    def etags(self, transfer: Transfer) -> dict[int, str]:
        """Give the ETags of the finished parts, by part number."""
        fields = self.redis.hgetall(parts_key(transfer.upload_id))
        named = {to_text(name): to_text(value) for name, value in fields.items()}
        return {
            int(name.removeprefix("etag:")): value
            for name, value in sorted(named.items())
            if name.startswith("etag:")
        }

    def fan_out(self, transfer: Transfer, most: int) -> list[int]:
        """Set out the runs that have parts missing; gives those to begin with.

        The others are drawn one by one, by the tasks of runs that have ended.
        """
        done = self.etags(transfer)
        runs = plan_runs(transfer.size_bytes)
        missing = [n for n, run in enumerate(runs) if any(part.number not in done for part in run)]
        begun, later = missing[:most], missing[most:]
        total = sum(len(run) for run in runs)
        args = (transfer.upload_id, transfer.fence, total, self.record.ttl_s, json.dumps(later))
        return begun if self.record.run("fan_out", *args) else []

    def start_run(self, upload_id: str, fence: int, number: int, worker: str) -> Run | None:
        """Take over a run; None when the upload has ended, or is another delivery's by now."""
        ttl_s = self.record.ttl_s
        row = self.record.run("start_run", upload_id, fence, number, worker, MAX_DELIVERIES, ttl_s)
        if not row:
            return None
        request, file, sealed, *done = (to_text(value) for value in row)
        transfer = replace(self.record.transfer(upload_id, request, file, ""), fence=fence)
        parts = plan_runs(transfer.size_bytes)[number]
        try:
            urls = self.urls.decode(sealed, "a signed URL")
        except SealBrokenError:
            urls = [""] * len(parts)  # refused, and so signed again
        with_urls = zip(parts, urls, strict=True)
        return Run(transfer, tuple(pair for pair in with_urls if str(pair[0].number) not in done))

    def survived(self, transfer: Transfer, number: int) -> None:
        """Note that a run has not killed its worker, though it was not ended either."""
        self.redis.hdel(parts_key(transfer.upload_id), f"deliveries:{number}")

    def part_done(self, transfer: Transfer, part: Part, etag: str) -> bool:
        """Note a finished part; False when the upload is no longer this delivery's."""
        args = (transfer.upload_id, transfer.fence, part.number, etag, part.size_bytes)
        return bool(self.record.run("part_done", *args))

    def end_run(self, transfer: Transfer, number: int, task_id: str) -> tuple[bool, int | None]:
        """End a run; tells whether this task is to join the parts, and gives the next run."""
        args = (transfer.upload_id, transfer.fence, number, task_id)
        joins, following = self.record.run("end_run", *args)
        return bool(joins), None if following is None else int(following)

    def located_before(self, transfer: Transfer, *, located: bool) -> bool:
        """Note, once, whether the component was located before its parts were joined."""
        key = parts_key(transfer.upload_id)
        self.redis.hsetnx(key, "located_before", int(located))
        return to_text(self.redis.hget(key, "located_before")) == "1"

    def _fields(self, transfer: Transfer, *names: str) -> list[str]:
        return [to_text(value) for value in self.redis.hmget(parts_key(transfer.upload_id), names)]


def _parts_key(transfer: Transfer) -> str:
    return parts_key(transfer.upload_id)


def _identity_key(identity: FileIdentity) -> str:
    return f"{identity.size_bytes}:{identity.mtime_ns}:{identity.inode}:{identity.device}"
