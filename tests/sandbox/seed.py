"""The entities of a fresh sandbox: one project with one version, and its users."""

from __future__ import annotations

import uuid

from .entities import Entities, now

# https://github.com/ftrackhq/ftrack-python, source/ftrack_api/symbol.py
SERVER_LOCATION_ID = "3a372bde-05bc-11e4-8908-20c9d081909b"
_LOCATIONS = {
    "ftrack.origin": "ce9b348f-8809-11e3-821c-20c9d081909b",
    "ftrack.unmanaged": "cb268ecc-8809-11e3-a7e2-20c9d081909b",
    "ftrack.review": "cd41be70-8809-11e3-b98a-20c9d081909b",
    "ftrack.server": SERVER_LOCATION_ID,
}


def _fixed(name: str) -> str:
    """Return an id that a reset does not change."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"sandbox:{name}"))


PROJECT_ID = _fixed("project")
SHOT_ID = _fixed("shot")
TASK_ID = _fixed("task")
ASSET_ID = _fixed("asset")
VERSION_ID = _fixed("version")
USER_ID = _fixed("user")

API_USER = "farm"
API_KEY = "sandbox-api-key"
#: As good as the first one: a studio that changes its key has two for a while.
OTHER_API_KEY = "sandbox-other-api-key"
#: May only read.
GUEST_USER = "guest"
GUEST_KEY = "sandbox-guest-key"


def seed(entities: Entities) -> None:
    """Create the seeded entities."""
    for name, location_id in _LOCATIONS.items():
        entities.create("Location", {"id": location_id, "name": name, "label": name})
    entities.create("User", {"id": USER_ID, "username": API_USER, "is_active": True})
    entities.create("User", {"username": GUEST_USER, "is_active": True})
    entities.create(
        "Project", {"id": PROJECT_ID, "name": "demo", "full_name": "Demo", "status": "active"}
    )
    entities.create(
        "Shot",
        {"id": SHOT_ID, "name": "sh010", "parent_id": PROJECT_ID, "project_id": PROJECT_ID},
    )
    entities.create(
        "Task",
        {"id": TASK_ID, "name": "lighting", "parent_id": SHOT_ID, "project_id": PROJECT_ID},
    )
    for name, short in (("Render", "render"), ("Geometry", "geo")):
        entities.create("AssetType", {"id": _fixed(name), "name": name, "short": short})
    for name in ("In progress", "Pending review"):
        entities.create("Status", {"id": _fixed(name), "name": name, "is_active": True})
    entities.create("Asset", {"id": ASSET_ID, "name": "render", "context_id": SHOT_ID})
    entities.create(
        "AssetVersion",
        {
            "id": VERSION_ID,
            "asset_id": ASSET_ID,
            "task_id": TASK_ID,
            "user_id": USER_ID,
            "version": 1,
            "comment": "",
            "is_published": True,
            "date": now(),
        },
    )
