"""Attributes that ftrack computes: where bytes are, which version is the latest, where it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .entities import Entities, Entity
from .seed import SERVER_LOCATION_ID


def _url(entities: Entities, entity: Entity) -> Entity | None:
    """Return where the bytes are of a location, or of what is attached to a note or a job."""
    component_id = entity["component_id"]
    if entity["__entity_type__"] == "ComponentLocation":
        is_there = entity["location_id"] == SERVER_LOCATION_ID
    else:
        is_there = entities.location_of(component_id, SERVER_LOCATION_ID) is not None
    return _readable(entities, component_id) if is_there else None


def _thumbnail_url(entities: Entities, entity: Entity) -> Entity | None:
    if entity["__entity_type__"] == "NoteComponent":
        return _url(entities, entity)
    thumbnail_id = entity.get("thumbnail_id")
    return _readable(entities, thumbnail_id) if thumbnail_id else None


def _readable(entities: Entities, component_id: str) -> Entity:
    return {"__type__": "url", "value": entities.url_of(component_id)}


def _is_latest_version(entities: Entities, entity: Entity) -> bool:
    versions = entities.all("AssetVersion")
    others = [one["version"] for one in versions if one["asset_id"] == entity["asset_id"]]
    return bool(entity["version"] == max(others))


def _latest_version(entities: Entities, entity: Entity) -> Entity | None:
    versions = [one for one in entities.all("AssetVersion") if one["asset_id"] == entity["id"]]
    if not versions:
        return None
    latest = max(versions, key=lambda one: int(one["version"]))
    return {"__entity_type__": "AssetVersion", "id": latest["id"]}


def _link(entities: Entities, entity: Entity) -> list[Entity]:
    """Return the way from the project to an entity; that of a version leaves its asset out."""
    if entity["__entity_type__"] == "AssetVersion" and not entity.get("asset_id"):
        return []
    asset = entities.find("Asset", entity["asset_id"]) if entity.get("asset_id") else None
    parent_id = (asset or entity).get("context_id") or entity.get("parent_id")
    parent = entities.find("Context", parent_id) if parent_id else None
    name = f"{asset['name']} v{entity['version']}" if asset else entity.get("name")
    own = {"type": entity["__entity_type__"], "id": entity["id"], "name": name}
    return [*(_link(entities, parent) if parent else []), own]


def _custom_attributes(entities: Entities, entity: Entity) -> list[Entity]:
    """Return the values of an entity, and the defaults of those attributes that have none."""
    kind = entity["__entity_type__"]
    found = entities.related(entity, "custom_attributes")
    values = found if isinstance(found, list) else []
    known = {value["configuration_id"] for value in values}
    of_values = entities.attribute(kind, "custom_attributes")["items"]["$ref"]
    return values + [
        {
            "__entity_type__": of_values,
            "configuration_id": one["id"],
            "entity_id": entity["id"],
            "key": one["key"],
            "value": one.get("default"),
        }
        for one in entities.all("CustomAttributeConfiguration")
        if one["id"] not in known and _is_for(one, entity)
    ]


def _is_for(configuration: Entity, entity: Entity) -> bool:
    kind = entity["__entity_type__"]
    names = {"Project": "show", "AssetVersionList": "list", "TypedContextList": "list"}
    name = "task" if entity.get("object_type_id") else names.get(kind, kind.lower())
    own_type = configuration.get("object_type_id") in (None, entity.get("object_type_id"))
    return bool(configuration.get("entity_type") == name and own_type)


COMPUTED: dict[str, Callable[[Entities, Entity], Any]] = {
    "url": _url,
    "thumbnail_url": _thumbnail_url,
    "is_latest_version": _is_latest_version,
    "latest_version": _latest_version,
    "link": _link,
    "custom_attributes": _custom_attributes,
}
