"""Encoding jobs: what ftrack makes of a component, and the picture that its version gets.

Nothing is encoded: the component that a job makes has no bytes, and its source stands for the
picture.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .entities import Entities, Entity, now


@dataclass
class Encoder:
    """Runs the jobs of one server."""

    entities: Entities
    encode_s: float
    delete_object: Callable[[str], Any]
    #: Running jobs: when each will be done (time.monotonic).
    running: dict[str, float] = field(default_factory=dict)
    #: What jobs have made next to an original.
    extras: set[str] = field(default_factory=set)

    def clear(self) -> None:
        self.running.clear()
        self.extras.clear()

    def start(
        self, source: Entity, version_id: str | None, user_id: str, *, keep_original: bool
    ) -> Entity:
        """Create a job, and what it makes: clients read that before the job is done."""
        made = self._make(version_id)
        if keep_original:
            self.extras.add(made["component_id"])
        data = {
            "source_component_id": source["id"],
            "version_id": version_id,
            "keep_original": keep_original,
            "output": [made],
        }
        job = self.entities.create(
            "Job",
            {
                "status": "queued",
                "type": "encode",
                "user_id": user_id,
                "created_at": now(),
                "data": json.dumps(data),
            },
        )
        self.running[job["id"]] = time.monotonic() + self.encode_s
        self._show(data)
        return job

    def _make(self, version_id: str | None) -> dict[str, str]:
        fields = {"name": "ftrackreview-mp4", "file_type": ".mp4", "version_id": version_id}
        made = self.entities.create("FileComponent", fields)
        return {"component_id": made["id"], "format": "video/mp4"}

    def finish(self) -> None:
        """End the jobs whose time is over."""
        for job_id, done_at in list(self.running.items()):
            # A job is in no table if its transaction was rolled back.
            job = self.entities.find("Job", job_id)
            if job is None:
                del self.running[job_id]
            elif time.monotonic() >= done_at:
                del self.running[job_id]
                self.entities.update("Job", (job_id,), {"status": "done", "finished_at": now()})
                data = json.loads(job["data"])
                self._show(data)
                self._delete_source(data)

    def _show(self, data: Entity) -> None:
        version_id, source = data["version_id"], data["source_component_id"]
        is_there = self.entities.find("Component", source)
        if version_id and is_there and self.entities.find("AssetVersion", version_id):
            self.entities.update("AssetVersion", (version_id,), {"thumbnail_id": source})

    def _delete_source(self, data: Entity) -> None:
        source = data["source_component_id"]
        if not data["keep_original"] and self.entities.find("Component", source):
            self.entities.delete("Component", (source,))
            self.delete_object(source)
