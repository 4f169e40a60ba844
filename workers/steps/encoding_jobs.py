"""Reads the state of encoding jobs from ftrack, so that status and --wait can show it."""

from __future__ import annotations

import time
from typing import Any

from tasks.records.publishes import DueJobs, Publishes
from tasks.stage.limits import Limits
from tasks.transfer.errors import UploadError
from tasks.transfer.ftrack import FtrackClient, FtrackRefusal
from tasks.transfer.queries import query, quoted, rows_of
from tasks.transfer.targets import is_uuid
from tasks.transfer.thumbnails import set_again, thumbnail_id
from workers.steps.periodic import IS_RECONCILING, PeriodicStep

#: A job's state is read again after this time; Redis lets one worker of the farm do it.
AGAIN_S = 3.0
#: The worker that reconciles looks each second. The others look so often, in case that one cannot
#: call ftrack.
OTHERS_S = 30.0
#: How many uploads one API call asks about.
AT_ONCE = 100
#: The job states that do not change any more.
FINAL = ("done", "failed", "killed")


class Encodings(PeriodicStep):
    """Notes the state of each encoding job in the record of its upload."""

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        ftrack = self.settings.require_ftrack()
        limits = Limits(self.record.scripts, {"api_rate": self.settings.api_rate})
        self.ftrack = FtrackClient(
            ftrack.server_url, ftrack.api_user, ftrack.api_key, limits.api_call
        )
        self.publishes = Publishes(self.record)
        #: When this worker looks even if another one reconciles, by time.monotonic().
        self._look_at = 0.0

    def act(self) -> None:
        """Read the states of the jobs that are due, if it is this worker's turn."""
        now = time.monotonic()
        if IS_RECONCILING.is_set() or now >= self._look_at:
            self._look_at = now + OTHERS_S
            self.read_due()

    def read_due(self) -> None:
        """Read the states of the jobs that are due, in one call; the stages report outages."""
        due = self.publishes.take_due_jobs(AGAIN_S, AT_ONCE)
        if not due:
            return
        ids = sorted({job for one in due.values() for job in one.jobs})
        try:
            results = self.ftrack.call(
                [query("id, status", "Job", f"id in ({quoted(ids)})")] if ids else []
            )
        except (UploadError, FtrackRefusal):
            return
        rows = [row for result in results for row in rows_of(result)]
        states = {str(row.get("id")): str(row.get("status")) for row in rows}
        # ftrack deletes old jobs that are done.
        ended = {
            upload_id: _of_all([states.get(job, "done") for job in one.jobs])
            for upload_id, one in due.items()
        }
        done = [due[upload_id] for upload_id, state in ended.items() if state == "done"]
        try:
            # ftrack has put a picture of its own there.
            set_again(
                self.ftrack, {one.version_id: _thumbnail(one) for one in done if _is_known(one)}
            )
        except (UploadError, FtrackRefusal):
            return
        for upload_id, state in ended.items():
            self.publishes.record_job_state(upload_id, state, final=state in FINAL)


def _thumbnail(due: DueJobs) -> str:
    return due.thumbnail_id or thumbnail_id(due.version_id)


def _is_known(due: DueJobs) -> bool:
    # They become part of a query, and anybody may have written them.
    return is_uuid(due.version_id) and is_uuid(_thumbnail(due))


def _of_all(states: list[str]) -> str:
    """Return the state of an upload's jobs together: failed, or not final, before done."""
    if any(state in {"failed", "killed"} for state in states):
        return "failed"
    return next((state for state in states if state not in FINAL), "done")
