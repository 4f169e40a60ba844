"""What workers must know of publishes and of encodings, and note."""

from __future__ import annotations

from contextlib import suppress

from tasks.record import PREFIX, Record, text, upload_key
from tasks.transfer.errors import FileRefusedError, SealBrokenError
from tasks.transfer.models import Transfer


class Publishes:
    """The files of publishes, and the jobs that encode some of them."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.redis = record.client

    def files_of(self, publish: Transfer) -> list[Transfer]:
        """Give the files of a publish as they are stored.

        Raises:
            FileRefusedError: some are not (any more).
        """
        ids = [text(one) for one in self.redis.smembers(f"{PREFIX}files:{publish.transfer_id}")]
        pipeline = self.redis.pipeline(transaction=False)
        for one in ids:
            pipeline.hmget(upload_key(one), "request", "file", "stored")
        files = []
        for one, row in zip(ids, pipeline.execute(), strict=True):
            with suppress(SealBrokenError, ValueError):
                request, file, stamp = (text(value) for value in row)
                files.append(self.record.transfer(one, request, file, stamp))
        stored = [one for one in files if one.stored]
        total = int(self.redis.hget(upload_key(publish.transfer_id), "total") or 0)
        # More, when a newer file has just taken one's place.
        if len(stored) < total:
            why = (
                f"has {total - len(stored)} of {total} files that are not recorded as stored (any "
                "more); enqueue all of it again: what is stored is not sent again"
            )
            raise FileRefusedError(publish.path, why)
        return sorted(stored, key=lambda one: (len(one.path), one.path))

    def jobs_due(self, again_s: float, most: int) -> dict[str, list[str]]:
        """Give the encoding jobs to ask ftrack about now, by upload id."""
        rows = self.record.run("jobs_due", again_s, most)
        return {text(upload_id): text(jobs).split(",") for upload_id, jobs in rows}

    def job_told(self, upload_id: str, state: str, *, final: bool) -> None:
        """Note what ftrack says of an upload's encoding."""
        self.record.run("job_told", upload_id, state, int(final))
