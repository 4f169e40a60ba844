"""What workers must know of publishes and of encodings, and note."""

from __future__ import annotations

from contextlib import suppress

from tasks.records.keys import files_key, to_text, upload_key
from tasks.records.record import Record
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
        ids = [to_text(one) for one in self.redis.smembers(files_key(publish.upload_id))]
        pipeline = self.redis.pipeline(transaction=False)
        for one in ids:
            pipeline.hmget(upload_key(one), "request", "file", "stored")
        files = []
        for one, row in zip(ids, pipeline.execute(), strict=True):
            with suppress(SealBrokenError, ValueError):
                request, file, stamp = (to_text(value) for value in row)
                files.append(self.record.transfer(one, request, file, stamp))
        stored = [one for one in files if one.stored]
        total = int(self.redis.hget(upload_key(publish.upload_id), "total") or 0)
        # More, when a newer file has just taken one's place.
        if len(stored) < total:
            why = (
                f"has {total - len(stored)} of {total} files that are not recorded as stored (any "
                "more); enqueue all of it again: what is stored is not sent again"
            )
            raise FileRefusedError(publish.path, why)
        return sorted(stored, key=lambda one: (len(one.path), one.path))

    def take_due_jobs(self, again_s: float, most: int) -> dict[str, list[str]]:
        """Give the encoding jobs to ask ftrack about now, by upload id."""
        rows = self.record.run("take_due_jobs", again_s, most)
        return {to_text(upload_id): to_text(jobs).split(",") for upload_id, jobs in rows}

    def record_job_state(self, upload_id: str, state: str, *, final: bool) -> None:
        """Note what ftrack says of an upload's encoding."""
        self.record.run("record_job_state", upload_id, state, int(final))
