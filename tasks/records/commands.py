"""What users ask of the records: to enqueue, to try again, to stop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from tasks.intake.request import PRIORITIES, PublishRequest, Request
from tasks.records.keys import left_key, pending_key, to_text, upload_key
from tasks.records.scripts import Scripts

ENQUEUE_STEP = 500
#: Within a priority, the scores below this are of what people look at (enqueue.lua).
PREVIEW_SCORES = 5e12


class Commands(Scripts):
    """The part of the record that hooks and operators need."""

    def enqueue(self, requests: Sequence[Request]) -> list[tuple[str, bool]]:
        """Write records; gives for each its state, and whether it is new.

        A publish is opened, its files are written, and then it is closed: a death in between
        leaves one that the next try goes on with.
        """
        answers = self._enqueue(map(self._row, requests))
        for number, (request, (_, new)) in enumerate(zip(requests, answers, strict=True)):
            if new and isinstance(request, PublishRequest):
                files = (replace(one, asked_at=request.asked_at) for one in request.files)
                self._enqueue(self._row(one, request.upload_id) for one in files)
                answers[number] = (
                    to_text(self.run("complete_publish", request.upload_id, self.ttl_s)),
                    True,
                )
        return answers

    def _row(self, request: Request, publish_id: str = "") -> tuple[Any, ...]:
        return (
            request.upload_id,
            request.component_id,
            self.codec.encode(request.to_record()),
            "" if request.size_bytes is None else request.size_bytes,
            PRIORITIES[request.priority],
            request.host,
            int(request.size_bytes is None),
            0,
            self.ttl_s,
            request.asked_at or "",
            publish_id,
            len(request.files) if isinstance(request, PublishRequest) else "",
            int(isinstance(request, PublishRequest) or request.is_preview),
        )

    def _enqueue(self, rows: Iterable[tuple[Any, ...]]) -> list[tuple[str, bool]]:
        answers: list[tuple[str, bool]] = []
        waiting = iter(rows)
        # One conversation, in steps of bounded memory.
        while step := list(islice(waiting, ENQUEUE_STEP)):
            pipeline = self.client.pipeline(transaction=False)
            for row in step:
                self.run("enqueue", *row, client=pipeline)
            answers += [(to_text(state), bool(new)) for state, new in pipeline.execute()]
        return answers

    def backlog(self, host: str, queue_key: str) -> tuple[int, int]:
        """Count the pending uploads of a host (or of all), and the messages of a queue."""
        pipeline = self.client.pipeline(transaction=False)
        pipeline.zcard(pending_key(host))
        pipeline.llen(queue_key)
        pending, queued = pipeline.execute()
        return int(pending), int(queued)

    def retry(self, upload_id: str) -> tuple[str, str, bool]:
        """Make an ended upload pending again; gives host, state, and whether it is new.

        A publish tries again with the files that are not stored; a file is its publish's.
        """
        names = ("component", "request", "size", "score", "host", "publish", "total")
        values = [to_text(one) for one in self.client.hmget(upload_key(upload_id), names)]
        host, publish, total = values[4:]
        if publish or total:
            # Of several the latest.
            return (host, *self._reopen(publish.rpartition(",")[2] or upload_id))
        [(state, new)] = self._enqueue([self._revived(upload_id, values)])
        return host, state, new

    def _reopen(self, publish_id: str) -> tuple[str, bool]:
        state, left = self.run("retry_publish", publish_id, self.ttl_s)
        if to_text(state) != "storing":
            return to_text(state), False
        names = ("component", "request", "size", "score", "host")
        ids = [to_text(one) for one in left]
        pipeline = self.client.pipeline(transaction=False)
        for one in ids:
            pipeline.hmget(upload_key(one), names)
        known = [[to_text(value) for value in row] for row in pipeline.execute()]
        self._enqueue(
            self._revived(one, row, publish_id) for one, row in zip(ids, known, strict=True)
        )
        return to_text(self.run("complete_publish", publish_id, self.ttl_s)), True

    def _revived(self, upload_id: str, values: Sequence[str], publish: str = "") -> tuple[Any, ...]:
        component, request, size, score, host = values[:5]
        priority, within = divmod(float(score or 0), 1e13)
        preview = int(within < PREVIEW_SCORES)
        row = (upload_id, component, request, size, int(priority), host, 1, 1, self.ttl_s, "")
        return (*row, publish, "", preview)

    def cancel(self, upload_id: str) -> str:
        """Stop an upload; gives the state it then has, empty when it is not known."""
        state = to_text(self.run("cancel", upload_id, self.ttl_s, 0))
        if state == "cancelled":
            # What of a publish is under way stops too.
            pipeline = self.client.pipeline(transaction=False)
            for one in self.client.smembers(left_key(upload_id)):
                self.run("cancel", to_text(one), self.ttl_s, 1, client=pipeline)
            pipeline.execute()
        return state
