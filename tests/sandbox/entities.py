"""The entities of ftrack in memory, with their keys, relations and transactions."""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from .errors import IntegrityError, ParseError, ValidationError
from .schemas import CASCADE, KEPT, SHARED, SUBTYPES, SYSTEM_TYPES, TO_MANY, kinds_of_task

Entity: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, ...]


class Entities:
    """All entities, by type and primary key. Not thread-safe: the caller holds a lock."""

    def __init__(self, schemas: list[dict[str, Any]], url_of: Callable[[str], str] = str) -> None:
        self.schemas = {schema["id"]: schema for schema in schemas}
        #: Clients keep the schemas for as long as it is the same.
        text = json.dumps(schemas, sort_keys=True)  # as ftrack's own client makes it
        self.schema_hash = hashlib.md5(text.encode()).hexdigest()
        #: Where the bytes of a component can be read.
        self.url_of = url_of
        self._tables: dict[str, dict[Key, Entity]] = {}
        self._undo: list[tuple[str, Key, Entity | None]] = []
        # ComponentLocations by (component, location): each create looks its pair up.
        self._pairs: dict[Key, Entity] = {}

    def clear(self) -> None:
        self._tables.clear()
        self._pairs.clear()
        self._undo.clear()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes of the block, or none of them."""
        self._undo.clear()
        try:
            yield
        except BaseException:
            for entity_type, key, before in reversed(self._undo):
                self._put(entity_type, key, before)
            raise
        finally:
            self._undo.clear()

    def schema(self, entity_type: str) -> dict[str, Any]:
        try:
            return self.schemas[entity_type]
        except KeyError:
            raise ParseError(f"Unknown entity type {entity_type}") from None

    def attribute(self, entity_type: str, name: str) -> dict[str, Any]:
        """Return the description of *name* in the schema."""
        properties = self.schema(entity_type)["properties"]
        if name not in properties:
            raise ParseError(f"Attribute {name!r} does not exist on {entity_type}")
        described: dict[str, Any] = properties[name]
        return described

    def concrete(self, entity_type: str) -> list[str]:
        """Return *entity_type* and its subtypes."""
        found = [entity_type]
        for subtype in SUBTYPES.get(entity_type, ()):
            found += [name for name in self.concrete(subtype) if name not in found]
        if entity_type == "TypedContext":
            found += kinds_of_task(self.schemas)
        return found

    def all(self, entity_type: str) -> list[Entity]:
        return [
            entity
            for name in self.concrete(entity_type)
            for entity in self._tables.get(name, {}).values()
        ]

    def find(self, entity_type: str, *key: str) -> Entity | None:
        for name in self.concrete(entity_type):
            entity = self._tables.get(name, {}).get(key)
            if entity is not None:
                return entity
        return None

    def location_of(self, component_id: str, location_id: str) -> Entity | None:
        """Return the ComponentLocation of this pair."""
        return self._pairs.get((component_id, location_id))

    def create(self, entity_type: str, data: dict[str, Any]) -> Entity:
        schema = self.schema(entity_type)
        entity: Entity = {"__entity_type__": entity_type}
        for name, described in schema["properties"].items():
            if "type" in described and described["type"] not in ("array", "mapped_array"):
                entity[name] = (
                    None if described.get("default") == "{uid}" else described.get("default")
                )
        entity |= self._normalised(entity_type, data)
        if "id" in schema["properties"] and not entity.get("id"):
            entity["id"] = str(uuid.uuid4())
        if entity_type == "AssetVersion" and not entity.get("version"):
            entity["version"] = self._next_version(entity.get("asset_id"))
        if entity_type in SYSTEM_TYPES:
            if "system_type" in data:
                # No client of ftrack's sends it, so nobody knows what a server would say.
                raise ValidationError(f"Attribute 'system_type' of {entity_type} is set by ftrack")
            entity["system_type"] = SYSTEM_TYPES[entity_type]
        if entity_type.endswith("CustomAttributeValue"):
            configuration = self.find("CustomAttributeConfiguration", entity["configuration_id"])
            entity["key"] = configuration and configuration["key"]
        self._check_references(entity_type, entity)
        key = tuple(str(entity[name]) for name in schema["primary_key"])
        if self._exists_in_family(entity_type, key):
            raise IntegrityError(
                f'duplicate key value violates unique constraint "{entity_type.lower()}_pkey"'
                f" DETAIL:  Key ({', '.join(schema['primary_key'])})=({', '.join(key)})"
                " already exists."
            )
        self._check_unique_location(entity)
        self._write(entity_type, key, entity)
        self._point_back(entity, data)
        return entity

    def update(self, entity_type: str, key: Key, data: dict[str, Any]) -> Entity:
        before = self.find(entity_type, *key)
        if before is None and entity_type.endswith("CustomAttributeValue"):
            # A client has seen the default of an attribute that has no value yet.
            own = dict(zip(self.schema(entity_type)["primary_key"], key, strict=True))
            return self.create(entity_type, own | data)
        if before is None:
            raise ValidationError(f"{entity_type} with key {', '.join(key)} does not exist")
        concrete = before["__entity_type__"]
        for name in self.schema(concrete).get("immutable", ()):
            if name in data and data[name] != before.get(name):
                raise ValidationError(f"Attribute {name!r} of {concrete} is immutable")
        after = before | self._normalised(concrete, data)
        self._check_references(concrete, after)
        self._write(concrete, key, after)
        self._point_back(after, data)
        return after

    def delete(self, entity_type: str, key: Key) -> None:
        entity = self.find(entity_type, *key)
        if entity is None:
            raise ValidationError(f"{entity_type} with key {', '.join(key)} does not exist")
        self._remove(entity)

    def related(self, entity: Entity, name: str) -> Entity | list[Entity] | None:
        """Return the entity or entities that the relation *name* leads to."""
        described = self.attribute(entity["__entity_type__"], name)
        if "$ref" in described:
            target = entity.get(self.foreign_key(entity["__entity_type__"], name))
            return self.find(described["$ref"], target) if target else None
        if (entity["__entity_type__"], name) in SHARED:
            references = entity.get(name) or ()
            found = (self.find(one["__entity_type__"], one["id"]) for one in references)
            return [one for one in found if one]
        pointer = TO_MANY.get(name)
        if pointer is None:
            return []
        others = self.all(described["items"]["$ref"])
        return [other for other in others if other.get(pointer) == entity["id"]]

    def foreign_key(self, entity_type: str, relation: str) -> str:
        """Return the attribute with the id of what a relation leads to.

        Some have another name than the relation. Then their columns agree, or one alone refers to
        entities of that type.
        """
        if (entity_type, relation) == ("Asset", "parent"):
            return "context_id"
        plain, properties = f"{relation}_id", self.schema(entity_type)["properties"]
        if plain in properties:
            return plain
        column, target = (properties[relation].get(key, relation) for key in ("alias_for", "$ref"))
        named: list[str] = []
        referring: list[str] = []
        for name, described in properties.items():
            if described.get("alias_for", name) in (f"{column}id", f"{column}_id"):
                named.append(name)
            if f"Foreign key(s): {target}.id" in described.get("description", ""):
                referring.append(name)
        return (named or (referring if len(referring) == 1 else []) or [plain])[0]

    def _normalised(self, entity_type: str, data: dict[str, Any]) -> Entity:
        """Return *data* with references as ids.

        Raises:
            ValidationError: an attribute is unknown, or its value has the wrong type.
        """
        entity: Entity = {}
        for name, value in data.items():
            if name.startswith("__"):
                continue
            try:
                described = self.attribute(entity_type, name)
            except ParseError as error:
                raise ValidationError(str(error)) from error
            if "$ref" in described:
                key = value["id"] if isinstance(value, dict) else value
                entity[self.foreign_key(entity_type, name)] = key
            elif described.get("type") == "integer" and not isinstance(value, int | None):
                raise ValidationError(f"{value!r} is not a valid {name} of {entity_type}")
            elif described.get("type") not in ("array", "mapped_array") or (
                (entity_type, name) in SHARED
            ):
                entity[name] = value
        return entity

    def _check_references(self, entity_type: str, entity: Entity) -> None:
        for name, described in self.schema(entity_type)["properties"].items():
            target = re.search(r"Foreign key\(s\): (\w+)\.", described.get("description", ""))
            value = entity.get(name)
            if not target or not value or name == "id" or target[1] not in KEPT:
                continue
            if self.find(target[1], value) is None:
                raise IntegrityError(
                    f'insert or update on table "{entity_type.lower()}" violates foreign key'
                    f" constraint DETAIL:  Key ({name})=({value}) is not present in table"
                    f' "{target[1].lower()}".'
                )

    def _next_version(self, asset_id: Any) -> int:
        versions = (v for v in self.all("AssetVersion") if v.get("asset_id") == asset_id)
        return max((int(version.get("version") or 0) for version in versions), default=0) + 1

    def _exists_in_family(self, entity_type: str, key: Key) -> bool:
        family = next(
            (base for base in ("Component", "Context") if entity_type in self.concrete(base)),
            entity_type,
        )
        return self.find(family, *key) is not None

    def _check_unique_location(self, entity: Entity) -> None:
        if entity["__entity_type__"] != "ComponentLocation":
            return
        pair = _pair(entity)
        if not all(pair):
            raise ValidationError("ComponentLocation needs component_id and location_id")
        if self.location_of(*pair) is not None:
            raise IntegrityError(
                'duplicate key value violates unique constraint "component_location_pair"'
                f" DETAIL:  Key (component_id, location_id)=({', '.join(pair)}) already exists."
            )

    def _point_back(self, entity: Entity, data: dict[str, Any]) -> None:
        """Have the entities of a to-many relation in *data* point back to this one."""
        for name, value in data.items():
            if name in TO_MANY and isinstance(value, list):
                for reference in value:
                    if "id" in reference:
                        self.update(
                            reference["__entity_type__"],
                            (reference["id"],),
                            {TO_MANY[name]: entity["id"]},
                        )

    def _remove(self, entity: Entity) -> None:
        entity_type = entity["__entity_type__"]
        for dependent_type, pointer in CASCADE if "id" in entity else ():
            for dependent in self.all(dependent_type):
                if dependent.get(pointer) == entity["id"]:
                    self._remove(dependent)
        key = tuple(str(entity[name]) for name in self.schema(entity_type)["primary_key"])
        if key in self._tables[entity_type]:
            self._undo.append((entity_type, key, entity))
            self._put(entity_type, key, None)

    def _write(self, entity_type: str, key: Key, entity: Entity) -> None:
        self._undo.append((entity_type, key, self._tables.get(entity_type, {}).get(key)))
        self._put(entity_type, key, entity)

    def _put(self, entity_type: str, key: Key, entity: Entity | None) -> None:
        """Set an entity, or remove it (None), in table and index."""
        table = self._tables.setdefault(entity_type, {})
        before = table.pop(key, None)
        if before is not None and entity_type == "ComponentLocation":
            self._pairs.pop(_pair(before), None)
        if entity is not None:
            table[key] = entity
            if entity_type == "ComponentLocation":
                self._pairs[_pair(entity)] = entity


def _pair(location: Entity) -> tuple[str, str]:
    return (location.get("component_id") or "", location.get("location_id") or "")


def now() -> dict[str, str]:
    """Return the current time as ftrack's API sends times."""
    moment = datetime.datetime.now(datetime.UTC).replace(microsecond=0, tzinfo=None)
    return {"__type__": "datetime", "value": moment.isoformat()}
