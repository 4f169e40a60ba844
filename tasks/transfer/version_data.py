"""What a version gets with its components: metadata, custom attributes, lists, review sessions.

It is made in the POST that makes the components visible. All names are looked up before that, and
what ftrack has already is not made again: entities get derived ids, and values are updated.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks.transfer.errors import TargetRefusedError
from tasks.transfer.ftrack import FtrackClient
from tasks.transfer.operations import Operation, Result, create, update
from tasks.transfer.queries import query, quoted, rows_of
from tasks.transfer.targets import NewVersion, OfVersion, Target, derived_id, is_uuid

#: How ftrack's own client names a list of versions, and what is in a list.
LIST, LIST_MEMBER = "AssetVersionList", "ListObject"
REVIEW, REVIEW_MEMBER = "ReviewSession", "ReviewSessionObject"
ATTRIBUTE_VALUE = "AssetVersionCustomAttributeValue"

#: Python also reads 1_000, and nan, which JSON does not have.
NUMBER = re.compile(r"[+-]?[0-9]+((?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)")
YES_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a version is: its project, and how people call it."""

    project_id: str
    asset: str
    number: int


def version_data_operations(ftrack: FtrackClient, targets: Iterable[Target]) -> list[Operation]:
    """Return the operations that give versions what their components ask for, if it is not there.

    Raises:
        TargetRefusedError: ftrack has no list, review session or attribute of a name.
        FtrackRefusal: ftrack refused a query.
        UploadError: what ``FtrackClient.call`` raises.
    """
    wanted: dict[str, tuple[OfVersion, NewVersion | None]] = {}
    for target in targets:
        if target.of_version and target.version_id:
            known, _ = wanted.get(target.version_id, (OfVersion(), None))
            wanted[target.version_id] = known.with_more(target.of_version), target.new_version
    return [
        operation
        for version_id, (data, new) in wanted.items()
        for operation in _operations(ftrack, version_id, data, new)
    ]


def _operations(
    ftrack: FtrackClient, version_id: str, data: OfVersion, new: NewVersion | None
) -> list[Operation]:
    asked = [
        [_place_query(version_id)],
        _context_query(new),
        _named_query(LIST, data.lists),
        _named_query(REVIEW, data.reviews),
        _attributes_query(data),
    ]
    versions, contexts, lists, reviews, attributes = (
        [row for result in results for row in rows_of(result)]
        for results in ftrack.call_in_groups(asked)
    )
    place = _place(versions, contexts, new)
    if place is None:
        raise _refused(f"version {version_id}", "does not exist in ftrack")
    # Once each: one may be named by its name and by its id.
    found_lists = dict.fromkeys(_one(name, lists, place, "list") for name in data.lists)
    found_reviews = dict.fromkeys(
        _one(name, reviews, place, "review session") for name in data.reviews
    )
    values = dict(_attribute(key, text, attributes, place) for key, text in data.attributes)
    there = _there(ftrack, version_id)
    operations = [
        _set("Metadata", there, {"parent_id": version_id, "key": key}, value, "AssetVersion")
        for key, value in data.metadata
    ]
    operations += [
        _set(ATTRIBUTE_VALUE, there, {"configuration_id": one, "entity_id": version_id}, value)
        for one, value in values.items()
    ]
    for list_id in found_lists:
        if (LIST_MEMBER, list_id) not in there:
            fields = {"id": derived_id("list", list_id, version_id), "list_id": list_id}
            operations.append(create(LIST_MEMBER, {**fields, "entity_id": version_id}))
    for review_id in found_reviews:
        if (REVIEW_MEMBER, review_id) not in there:
            fields = {"id": derived_id("review", review_id, version_id)}
            fields |= {"review_session_id": review_id, "version_id": version_id}
            # What ftrack's page of a review session shows, as in ftrack's own examples.
            fields |= {"name": place.asset, "version": f"Version {place.number}"}
            fields["description"] = new.comment if new else ""
            operations.append(create(REVIEW_MEMBER, fields))
    return operations


def _place_query(version_id: str) -> Operation:
    columns = "version, asset.name, asset.parent.id, asset.parent.project_id"
    return query(columns, "AssetVersion", f'id is "{version_id}"')


def _context_query(new: NewVersion | None) -> list[Operation]:
    """Return the query for the context of a version that is made, and its asset's versions."""
    columns = "id, project_id, assets.name, assets.versions.version"
    return [query(columns, "Context", f'id is "{new.context_id}"')] if new else []


def _named_query(entity_type: str, names: Sequence[str]) -> list[Operation]:
    """Return the query for lists or review sessions by name or id; none without a name."""
    if not names:
        return []
    where = f"name in ({quoted(names)})"
    if ids := [name.lower() for name in names if is_uuid(name)]:
        where += f" or id in ({quoted(ids)})"
    return [query("id, name, project_id", entity_type, where)]


def _attributes_query(data: OfVersion) -> list[Operation]:
    """Return the query for custom attributes of versions; none without a key."""
    if not data.attributes:
        return []
    keys = quoted(key for key, _ in data.attributes)
    columns = "id, key, project_id, config, type.name"
    where = f'entity_type is "assetversion" and key in ({keys})'
    return [query(columns, "CustomAttributeConfiguration", where)]


def _place(
    versions: Sequence[Result], contexts: Sequence[Result], new: NewVersion | None
) -> _Place | None:
    if versions:
        asset = versions[0].get("asset") or {}
        parent = asset.get("parent") or {}
        number = versions[0].get("version")
        project_id = str(parent.get("project_id") or parent.get("id"))
        return _Place(project_id, str(asset.get("name")), int(number or 0))
    if not contexts or new is None:
        return None
    context = contexts[0]
    others = [one for one in context.get("assets") or () if one.get("name") == new.asset]
    numbers = [int(row.get("version") or 0) for one in others for row in one.get("versions") or ()]
    project_id = str(context.get("project_id") or context.get("id"))
    number = int(new.number) if new.number else max(numbers, default=0) + 1
    return _Place(project_id, new.asset, number)


def _one(name: str, rows: Sequence[Result], place: _Place, what: str) -> str:
    """Return the id of the row that has this id, or this name in the project of the version."""
    found = [row for row in rows if row.get("id") == name.lower()] or [
        row for row in rows if row.get("name") == name and row.get("project_id") == place.project_id
    ]
    if len(found) != 1:
        count = f"{len(found)} of that name; give an id" if found else "none of that name or id"
        raise _refused(f"{what} {name}", f"cannot be used: the version's project has {count}")
    return str(found[0].get("id"))


def _attribute(key: str, text: str, rows: Sequence[Result], place: _Place) -> tuple[str, Any]:
    """Return the id of an attribute of versions, and the value in the form that ftrack wants."""
    what = f"custom attribute {key}"
    usable = [
        row
        for row in rows
        if row.get("key") == key and row.get("project_id") in {None, place.project_id}
    ]
    # That of the project hides that of all projects, as in ftrack's own client.
    usable.sort(key=lambda row: row.get("project_id") is None)
    if not usable:
        raise _refused(what, "does not exist for versions of this project")
    kind = str((usable[0].get("type") or {}).get("name"))
    try:
        return str(usable[0].get("id")), _value(kind, text, str(usable[0].get("config") or ""))
    except ValueError as error:
        raise _refused(what, f"cannot be {text!r}: {error}") from None


def _value(kind: str, text: str, config: str) -> Any:
    if not text and kind in {"number", "date"}:
        return None  # as ftrack's own client empties one
    if kind == "number":
        return _number(text)
    if kind == "boolean":
        if text.lower() not in YES_NO:
            raise ValueError("it is true or false")
        return YES_NO[text.lower()]
    if kind == "date":
        return {"__type__": "datetime", "value": _date(text)}
    if kind == "expression":
        raise ValueError("ftrack computes it")
    if kind == "enumerator":
        return _chosen(text, config)
    return text


def _number(text: str) -> int | float:
    written = NUMBER.fullmatch(text)
    if written is None or not math.isfinite(float(text)):
        raise ValueError("a number is written as 1.5")
    return float(text) if written[1] else int(text)


def _date(text: str) -> str:
    """Return a date in the form in which ftrack's own client sends it."""
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError("a date is written as 2026-11-26") from None


def _chosen(text: str, config: str) -> Any:
    """Return the values of a menu; a menu of several takes them with commas between them."""
    try:
        described = json.loads(config)
        rows = json.loads(described["data"])
        known = {str(row["value"]) for row in rows}
        is_list = bool(described.get("multiSelect"))
    except (ValueError, KeyError, TypeError, RecursionError):
        return text  # ftrack itself checks it
    chosen = [one.strip() for one in text.split(",")] if is_list else [text]
    if not text:
        return [] if is_list else ""
    for one in chosen:
        if one not in known:
            raise ValueError(f"its values are {', '.join(sorted(known)[:12])}")
    return chosen if is_list else text


def _there(ftrack: FtrackClient, version_id: str) -> set[tuple[str, str]]:
    """Return what the version has: types, and what tells their entities apart."""
    own = f'"{version_id}"'
    asked = [
        ("key", "Metadata", f"parent_id is {own}"),
        ("configuration_id", ATTRIBUTE_VALUE, f"entity_id is {own}"),
        ("list_id", LIST_MEMBER, f"entity_id is {own}"),
        ("review_session_id", REVIEW_MEMBER, f"version_id is {own}"),
    ]
    results = ftrack.call([query(*one) for one in asked])
    return {
        (kind, str(row.get(column)))
        for (column, kind, _), result in zip(asked, results, strict=True)
        for row in rows_of(result)
    }


def _set(
    kind: str, there: set[tuple[str, str]], key: dict[str, str], value: Any, parent_type: str = ""
) -> Operation:
    """Return the operation that sets a value, which is there or not."""
    name = key.get("key") or key["configuration_id"]
    if (kind, name) in there:
        return update(kind, [*key.values()], {"value": value})
    more = {"parent_type": parent_type} if parent_type else {}
    return create(kind, {**key, **more, "value": value})


def _refused(target: str, why: str) -> TargetRefusedError:
    return TargetRefusedError(target, why, "context")
