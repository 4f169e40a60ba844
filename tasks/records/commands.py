"""The commands of hooks and operators: enqueue, retry, cancel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

from tasks.intake.request import PRIORITIES, PublishRequest, Request, UploadRequest
from tasks.records import acts, states
from tasks.records.keys import left_key, to_text, upload_key
from tasks.records.numbers import number
from tasks.records.places import UNREADABLE, Place, compared, places_of
from tasks.records.scripts import Scripts
from tasks.transfer.errors import SealBrokenError

#: Records written by one call of the script, which blocks Redis for about 10 ms (measured 2026-11).
#: A manifest of any length needs bounded memory, and work begins when its first files are written.
ENQUEUE_STEP = 100
#: An upload that has not ended this long after it was asked for last is no longer found by its
#: terms. It is the longest time for which anything is tried again.
LIVE_S = 14 * 86400


#: The fields of a record that a retry reads.
REVIVED = ("component", "request", "size", "score", "host", "file")
#: So many members of a publish are read for the names of its single files.
MEMBERS_READ = 200


class NewRecord(NamedTuple):
    """A record as ``enqueue.lua`` takes it, which explains the fields."""

    id: str
    component: str
    request: str
    size: int | None
    score: int
    host: str
    recheck: bool
    revive: bool = False
    asked_at: float | None = None
    publish: str | None = None
    total: int | None = None
    places: list[dict[str, Any]] | None = None
    container: str | None = None
    found_by: dict[str, Any] | None = None
    asked_host: str | None = None
    compared: bool | None = None


#: What ``enqueue.lua`` returns in place of a state.
TAKEN, LEFT = "taken", "left"


class Enqueued(NamedTuple):
    """The state of an upload that was enqueued, and whether that has made it live.

    LEFT in place of the state: another node is to look at the request, because its place seems to
    be taken, and nodes may read paths in several ways.
    """

    state: str
    is_new: bool


class Retried(NamedTuple):
    """The result of a retry: the file's host, the state, and whether the upload is live again."""

    host: str
    state: str
    is_new: bool


OnPending = Callable[[Sequence[NewRecord]], None]


class Commands:
    """Writes the records that hooks and operators ask for."""

    def __init__(
        self, scripts: Scripts, path_map: Sequence[tuple[str, str]] = (), node: str | None = None
    ) -> None:
        """Use *scripts*.

        Args:
            scripts: those of the farm's Redis.
            path_map: how this node reads paths (FARMHAUL_PATH_MAP).
            node: the worker that takes in; others leave nothing to another node.
        """
        self.scripts = scripts
        self.path_map = path_map
        self.node = node

    def enqueue(
        self, requests: Sequence[Request], on_pending: OnPending = lambda _records: None
    ) -> list[Enqueued]:
        """Write records, and return the state of each upload.

        A publish is opened, its files are written, and then it is completed. If the process dies
        in between, the publish stays open, and the next attempt continues it. ``on_pending`` is
        called with some records whenever they have become pending.
        """
        answers = self.write(map(self.new_record, requests), on_pending)
        for place, (request, (_, is_new)) in enumerate(zip(requests, answers, strict=True)):
            if is_new and isinstance(request, PublishRequest):
                files = (file._replace(asked_at=request.asked_at) for file in request.files)
                members = (self.new_record(file, request.upload_id) for file in files)
                self.write(members, on_pending)
                answers[place] = Enqueued(self._complete(request.upload_id), is_new=True)
        return answers

    def new_record(self, request: Request, publish_id: str | None = None) -> NewRecord:
        """Return the record of a request; *publish_id* is the publish that it is a file of."""
        values = request.to_record()
        if "asked_at" in values:
            # The age of a request counts from now at the latest.
            values["asked_at"] = min(values["asked_at"], time.time())
        return NewRecord(
            id=values["id"],  # derived once, because that takes time
            component=request.component_id,
            request=self.scripts.codec.encode(values),
            size=request.size_bytes,
            score=states.score(
                PRIORITIES[request.priority],
                is_preview=isinstance(request, PublishRequest) or request.is_preview,
            ),
            host=request.host,
            recheck=request.size_bytes is None,
            asked_at=request.asked_at or None,
            publish=publish_id,
            total=len(request.files) if isinstance(request, PublishRequest) else None,
            places=[place._asdict() for place in places_of(request, self.path_map)] or None,
            container=request.target.container_id if isinstance(request, UploadRequest) else None,
            # Members are found by their publish.
            found_by=None if publish_id else self._found_by(request),
            asked_host=request.asked_host or None,
        )

    def _found_by(self, request: Request) -> dict[str, Any]:
        entry = self.scripts.hasher.entry(request)._asdict()
        return {name: value for name, value in entry.items() if value}

    def write(
        self, records: Iterable[NewRecord], on_pending: OnPending = lambda _records: None
    ) -> list[Enqueued]:
        """Write records, some in each round trip; see ``enqueue``."""
        answers: list[Enqueued] = []
        remaining = iter(records)
        while step := list(islice(remaining, ENQUEUE_STEP)):
            found = self._write_step(step)
            answers += found
            pending = [
                record
                for record, answer in zip(step, found, strict=True)
                if answer.is_new and record.total is None
            ]
            if pending:
                on_pending(pending)
        return answers

    def _write_step(self, records: Sequence[NewRecord]) -> list[Enqueued]:
        answers = self._run(records)
        taken = [place for place, answer in enumerate(answers) if answer.state == TAKEN]
        if taken:
            again = self._run([self._compared(records[place]) for place in taken])
            for place, answer in zip(taken, again, strict=True):
                answers[place] = answer
        return answers

    def _compared(self, record: NewRecord) -> NewRecord:
        """Return a record after this node has compared its places with the files in them."""
        places = [
            compared(Place(**values), self.scripts, self.path_map)._asdict()
            for values in record.places or ()
        ]
        return record._replace(places=places, compared=True)

    def _run(self, records: Sequence[NewRecord]) -> list[Enqueued]:
        # What is None is absent in the script.
        given = [
            {name: value for name, value in record._asdict().items() if value is not None}
            for record in records
        ]
        ttl_s = self.scripts.ttl_s
        rows = self.scripts.run(
            "enqueue", records=given, ttl_s=ttl_s, index_s=ttl_s + LIVE_S, node=self.node
        )
        for _, _, *replaced in rows:
            for upload_id in replaced:
                self._stop_members(to_text(upload_id))
        return [Enqueued(to_text(state), bool(is_new)) for state, is_new, *_ in rows]

    def retry(self, upload_id: str, who: str = "") -> Retried:
        """Make an ended upload pending again, and note who has asked for that.

        A publish is retried with all of its members; those that are stored and have not changed
        are not sent again. For a member, its publish is retried: the latest one, if it has several.
        The state of an unknown upload is empty.
        """
        names = (*REVIVED, "publish", "total")
        values = self.scripts.client.hmget(upload_key(upload_id), names)
        *fields, publish, total = (to_text(value) for value in values)
        component, _, _, _, host, _ = fields
        if not component:
            return Retried(host, "", is_new=False)
        if publish or total:
            retried_id = publish.rpartition(",")[2] or upload_id
            state, is_new = self._retry_publish(retried_id)
        else:
            retried_id = upload_id
            [(state, is_new)] = self.write([self._revived(upload_id, fields)])
            if is_new:
                self._refresh_index(upload_id, fields[1])
        if is_new and who:
            acts.note(self.scripts, retried_id, acts.RETRIED, who)
        return Retried(host, state, is_new)

    def _retry_publish(self, publish_id: str) -> Enqueued:
        state, left = self.scripts.run("retry_publish", id=publish_id, ttl_s=self.scripts.ttl_s)
        if to_text(state) != "storing":
            return Enqueued(to_text(state), is_new=False)
        ids = [to_text(upload_id) for upload_id in left]
        pipeline = self.scripts.client.pipeline(transaction=False)
        for upload_id in ids:
            pipeline.hmget(upload_key(upload_id), REVIVED)
        rows: list[list[Any]] = pipeline.execute()
        self.write(
            self._revived(upload_id, [to_text(value) for value in row], publish_id)
            for upload_id, row in zip(ids, rows, strict=True)
        )
        request = to_text(self.scripts.client.hget(upload_key(publish_id), "request"))
        self._refresh_index(publish_id, request, [to_text(row[1]) for row in rows])
        return Enqueued(self._complete(publish_id), is_new=True)

    def _refresh_index(self, upload_id: str, request: str, members: Sequence[str] = ()) -> None:
        """Let a retried upload be found for as long as one that was just asked for."""
        decode = self.scripts.codec.decode
        # A worker says what is wrong with a record that nobody can read.
        with suppress(*UNREADABLE):
            entry = self.scripts.hasher.entry_of_record(
                decode(request), map(decode, members[:MEMBERS_READ])
            )
            found_by = {name: value for name, value in entry._asdict().items() if value}
            index_s = self.scripts.ttl_s + LIVE_S
            self.scripts.run("add_to_index", id=upload_id, found_by=found_by, index_s=index_s)

    def _complete(self, publish_id: str) -> str:
        run = self.scripts.run
        return to_text(run("complete_publish", id=publish_id, ttl_s=self.scripts.ttl_s))

    def cancel(self, upload_id: str, who: str = "") -> str:
        """Stop an upload, note who has done it, and return its state.

        The state of an unknown upload is empty.
        """
        ttl_s = self.scripts.ttl_s
        row = self.scripts.run("cancel", id=upload_id, ttl_s=ttl_s, as_member=False)
        state, has_moved = to_text(row[0]), bool(row[1])
        if state == "cancelled" and who and has_moved:
            acts.note(self.scripts, upload_id, acts.CANCELLED, who)
        if state in {"cancelled", "located"}:
            self._stop_members(upload_id)
        return state

    def _stop_members(self, publish_id: str) -> None:
        """Stop the members of a publish that has ended, unless another publish waits for them."""
        pipeline = self.scripts.client.pipeline(transaction=False)
        run, ttl_s = self.scripts.run, self.scripts.ttl_s
        for member in self.scripts.client.smembers(left_key(publish_id)):
            run("cancel", client=pipeline, id=to_text(member), ttl_s=ttl_s, as_member=True)
        pipeline.execute()

    def _revived(
        self, upload_id: str, fields: Sequence[str], publish_id: str | None = None
    ) -> NewRecord:
        component, request, size, score, host, file = fields
        pending_score = number(score)
        return NewRecord(
            id=upload_id,
            component=component,
            # A worker has accepted the file before.
            request=self._asked_now(request) if file else request,
            size=int(number(size)) if size.isdecimal() else None,
            score=states.score(
                states.priority_of(pending_score),
                is_preview=states.is_preview(pending_score),
            ),
            host=host,
            recheck=True,
            revive=True,
            publish=publish_id,
        )

    def _asked_now(self, request: str) -> str:
        """Return a request that was asked for now: then the file may have changed since.

        Nobody without the key can say that. Without it, the request stays as it is.
        """
        codec = self.scripts.codec
        with suppress(SealBrokenError, ValueError):  # a worker says what is wrong with it
            values = codec.decode(request)
            if isinstance(values, dict) and "asked_at" in values:
                return codec.encode(values | {"asked_at": time.time()})
        return request
