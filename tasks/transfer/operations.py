"""Operations that change ftrack, as its API wants them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Operation = dict[str, Any]
#: The result of an operation.
Result = Mapping[str, Any]


def create(entity_type: str, fields: Mapping[str, Any]) -> Operation:
    """Return the operation that creates an entity."""
    return {"action": "create", "entity_type": entity_type, "entity_data": dict(fields)}


def update(entity_type: str, key: str | Sequence[str], fields: Mapping[str, Any]) -> Operation:
    """Return the operation that changes an entity; some have a key of two ids."""
    named = {"entity_type": entity_type, "entity_key": _listed(key)}
    return {"action": "update", **named, "entity_data": dict(fields)}


def delete(entity_type: str, key: str | Sequence[str]) -> Operation:
    """Return the operation that deletes an entity."""
    return {"action": "delete", "entity_type": entity_type, "entity_key": _listed(key)}


def _listed(key: str | Sequence[str]) -> list[str]:
    return [key] if isinstance(key, str) else [*key]
