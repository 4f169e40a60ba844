"""The types of ftrack: their schemas, and relations that the schemas leave out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .process import CHECKOUT

OWN_SCHEMAS = Path(__file__).with_name("schemas.json")
FULL_SCHEMAS = Path(
    os.environ.get("SANDBOX_SCHEMAS") or CHECKOUT.parent / "shared" / "ftrack-schemas.json"
)

#: Entities that are also found under the name of another type.
SUBTYPES = {
    "Component": ("FileComponent", "SequenceComponent", "ContainerComponent"),
    "ContainerComponent": ("SequenceComponent",),
    "Context": ("Project", "TypedContext"),
    "Resource": ("User",),
    "List": ("AssetVersionList", "TypedContextList"),
    "CustomAttributeValue": (
        "AssetVersionCustomAttributeValue",
        "ContextCustomAttributeValue",
        "AssetCustomAttributeValue",
        "UserCustomAttributeValue",
        "ListCustomAttributeValue",
    ),
}
#: Types whose entities the stand-in keeps; it checks references to these alone.
KEPT = {"Component", "ContainerComponent", "AssetVersion", "Asset", "Location", "Context"}
KEPT |= {"Project", "Task", "User"}
#: A to-many relation, and the attribute with which the other side points back.
TO_MANY = {
    "component_locations": "component_id",
    "location_components": "location_id",
    "members": "container_id",
    "components": "version_id",
    "versions": "asset_id",
    "children": "parent_id",
    "assets": "context_id",
    "metadata": "parent_id",
    "custom_attributes": "entity_id",
    "notes": "parent_id",
    "note_components": "note_id",
    "job_components": "job_id",
    "replies": "in_reply_to_id",
    "recipients": "note_id",
    "timelogs": "user_id",
    "_schemas": "project_schema_id",
    "_overrides": "project_schema_id",
}
#: Relations whose other side belongs to several: types and relations. The stand-in keeps them as
#: lists of references.
SHARED = {("WorkflowSchema", "statuses"), ("TaskTypeSchema", "types"), ("Task", "scopes")}
#: Entities that are deleted together with the entity that they point to.
CASCADE = (
    ("ComponentLocation", "component_id"),
    ("Component", "container_id"),
    ("Component", "version_id"),
    ("AssetVersion", "asset_id"),
    ("Asset", "context_id"),
    ("Context", "parent_id"),
    ("Metadata", "parent_id"),
    ("Note", "parent_id"),
    ("NoteComponent", "note_id"),
    ("NoteComponent", "component_id"),
)
SYSTEM_TYPES = {"FileComponent": "file", "SequenceComponent": "sequence"}


def load_schemas(path: Path | None = None) -> list[dict[str, Any]]:
    """Load the types from *path*, or a full set next to the checkout, or our own few."""
    if path is None:
        path = FULL_SCHEMAS if FULL_SCHEMAS.exists() else OWN_SCHEMAS
    schemas: list[dict[str, Any]] = json.loads(path.read_text())
    return schemas


def kinds_of_task(schemas: dict[str, Any]) -> list[str]:
    """Return Task and the types (Shot, Folder, ...) that ftrack keeps in the same table."""
    found = ["Task"]
    for name, schema in schemas.items():
        alias = schema.get("alias_for")
        if isinstance(alias, dict) and alias.get("id") == "Task":
            found.append(name)
    return [name for name in dict.fromkeys(found) if name in schemas]
