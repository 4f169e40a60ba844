"""How workers read publishes, and note the jobs that encode reviewables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from tasks.records.keys import COMPONENT, dropped_key, files_key, to_text, upload_key
from tasks.records.numbers import number
from tasks.records.record import Record
from tasks.transfer.errors import FileRefusedError, SealBrokenError
from tasks.transfer.models import Transfer
from tasks.transfer.targets import Container, is_uuid, members_digest


class DueJobs(NamedTuple):
    """The encoding jobs of an upload, the version that they encode for, and its thumbnail.

    The ids are empty if they are not known.
    """

    jobs: list[str]
    version_id: str = ""
    thumbnail_id: str = ""


class Publishes:
    """The members of publishes, and ftrack's encoding jobs."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.scripts = record.scripts
        self.redis = record.scripts.client

    def members_of(self, publish: Transfer) -> list[Transfer]:
        """Return the stored members of a publish, by path: frame 2 comes before frame 10.

        Raises:
            FileRefusedError: some members are not recorded as stored, or the members are not those
                that were asked for.
        """
        ids = [
            to_text(upload_id) for upload_id in self.redis.smembers(files_key(publish.upload_id))
        ]
        pipeline = self.redis.pipeline(transaction=False)
        for upload_id in ids:
            pipeline.hmget(
                upload_key(upload_id), "request", "file", "stored", "stored_seal", "shown"
            )
        members = []
        for upload_id, row in zip(ids, pipeline.execute(), strict=True):
            with suppress(SealBrokenError, ValueError):
                request, file, fingerprint, seal, shown = (to_text(value) for value in row)
                members.append(
                    self.record.form.read(
                        upload_id, request, file, (fingerprint, seal), was_located=bool(shown)
                    )
                )
        stored = [member for member in members if member.stored]
        total = int(number(self.redis.hget(upload_key(publish.upload_id), "total")))
        # More may be stored, if a newer file has just taken the place of one.
        if len(stored) < total:
            why = (
                f"has {total - len(stored)} of {total} files that are not recorded as stored; "
                "enqueue the whole publish again: stored files are not sent again"
            )
            raise FileRefusedError(publish.path, why)
        asked = publish.publish.members if publish.publish else ""
        dropped = self.redis.smembers(dropped_key(publish.upload_id)) if asked else ()
        known = {member.upload_id for member in stored} | self._with_newer(map(to_text, dropped))
        if asked and members_digest(known) != asked:
            why = "has other files than were asked for; enqueue the whole publish again"
            raise FileRefusedError(publish.path, why)
        return sorted(stored, key=lambda member: (len(member.path), member.path))

    def _with_newer(self, upload_ids: Iterable[str]) -> set[str]:
        """Return those whose component has another upload, which somebody with a key asked for.

        Redis says which files of a publish were dropped for newer ones, but anyone who can write to
        it can say that.
        """
        ids = [*upload_ids]
        components = self._components_of(ids)
        pipeline = self.redis.pipeline(transaction=False)
        for component_id in components:
            pipeline.hget(COMPONENT + component_id, "current")
        newer = [to_text(upload_id) for upload_id in pipeline.execute()]
        rows = zip(ids, components, newer, self._components_of(newer), strict=True)
        return {
            upload_id
            for upload_id, component_id, newer_id, newer_component_id in rows
            if newer_id != upload_id and component_id and component_id == newer_component_id
        }

    def _components_of(self, upload_ids: Sequence[str]) -> list[str]:
        """Return the component of each upload; empty if its record cannot be read."""
        pipeline = self.redis.pipeline(transaction=False)
        for upload_id in upload_ids:
            pipeline.hget(upload_key(upload_id), "request")
        return [
            self._component_of(upload_id, to_text(request))
            for upload_id, request in zip(upload_ids, pipeline.execute(), strict=True)
        ]

    def _component_of(self, upload_id: str, request: str) -> str:
        with suppress(SealBrokenError, ValueError):
            return self.record.form.read(upload_id, request).component_id
        return ""

    def outdated_frames(self, container: Container, frame_ids: Sequence[str]) -> list[str]:
        """Return which frames that a sequence has in ftrack are of the files that it replaces.

        They are those that no upload of the same place has brought. Without a replacement, there
        are none.
        """
        key = COMPONENT + container.target.own_id
        replaced, place = map(to_text, self.redis.hmget(key, "replaced", "place"))
        if not (replaced or container.target.replace):
            return []
        pipeline = self.redis.pipeline(transaction=False)
        for frame_id in frame_ids:
            pipeline.hget(COMPONENT + frame_id, "place")
        known = [{*to_text(other).split()} for other in pipeline.execute()]
        return [
            frame_id
            for frame_id, other in zip(frame_ids, known, strict=True)
            if not other & {*place.split()}
        ]

    def forget_replaced(self, publish: Transfer) -> None:
        """Note that ftrack has nothing left of the files that the sequences have replaced."""
        for container in publish.publish.containers if publish.publish else ():
            self.redis.hdel(COMPONENT + container.target.component_id, "replaced")

    def take_due_jobs(self, again_s: float, limit: int) -> dict[str, DueJobs]:
        """Return the jobs to ask ftrack about now, by upload id; each is due again in *again_s*.

        A job that is no UUID is left out: anybody may have written it, and it becomes part of a
        query. So is a thumbnail that no worker has signed.
        """
        rows = self.scripts.run("take_due_jobs", again_s=again_s, max_jobs=limit)
        due = {}
        for upload_id, jobs, version_id, thumbnail_id, seal in (map(to_text, row) for row in rows):
            ids = [*filter(is_uuid, jobs.split(","))]
            about = version_id, thumbnail_id
            is_ours = self.record.form.is_own_thumbnail(upload_id, *about, seal)
            due[upload_id] = DueJobs(ids, *about) if is_ours else DueJobs(ids)
        return due

    def record_job_state(self, upload_id: str, state: str, *, final: bool) -> None:
        """Note the state that ftrack reports for an upload's encoding job."""
        self.scripts.run("record_job_state", id=upload_id, state=state, final=final)
