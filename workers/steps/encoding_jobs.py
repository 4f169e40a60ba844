"""Asks ftrack how its encodings fare, so that status and --wait can tell."""

from __future__ import annotations

from typing import Any

from tasks.records.publishes import Publishes
from tasks.stage.limits import Limits
from tasks.transfer.errors import UploadError
from tasks.transfer.ftrack import FtrackClient, FtrackRefusal, query, quoted, rows_of
from workers.steps.periodic import PeriodicStep

#: A job is asked about again after this time; Redis sees to it that one worker does.
AGAIN_S = 3.0
AT_ONCE = 100
FINAL = ("done", "failed", "killed")


class Encodings(PeriodicStep):
    """Notes the state of each encoding job in the record of its upload."""

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        ftrack = self.settings.require_ftrack()
        limits = Limits(self.record, {"api_calls": self.settings.api_calls})
        self.ftrack = FtrackClient(
            ftrack.server_url, ftrack.api_user, ftrack.api_key, limits.api_call
        )
        self.publishes = Publishes(self.record)

    def act(self) -> None:
        """Ask about those whose turn it is, in one call; an outage is for the stages to tell."""
        due = self.publishes.take_due_jobs(AGAIN_S, AT_ONCE)
        if not due:
            return
        ids = sorted({job for jobs in due.values() for job in jobs})
        try:
            [result] = self.ftrack.call([query("id, status", "Job", f"id in ({quoted(ids)})")])
        except (UploadError, FtrackRefusal):
            return
        states = {str(row.get("id")): str(row.get("status")) for row in rows_of(result)}
        for upload_id, jobs in due.items():
            # A job that is gone has been cleared away by ftrack.
            state = _of_all([states.get(job, "done") for job in jobs])
            self.publishes.record_job_state(upload_id, state, final=state in FINAL)


def _of_all(states: list[str]) -> str:
    if any(state in {"failed", "killed"} for state in states):
        return "failed"
    return next((state for state in states if state not in FINAL), "done")
