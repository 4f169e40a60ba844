"""What ftrack offers next to entities and media: searches, widgets, keys, jobs, invitations.

Each function runs the operation of one action.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

from . import query
from .caller import Caller
from .entities import Entities, Entity, now
from .errors import InvalidRequest, ValidationError

Operation = dict[str, Any]

#: The jobs that ftrack documents, and what each needs that no stand-in has.
_JOBS = {"SYNC_USERS_LDAP": "LDAP", "ICONIK_SYNC_STRUCTURE": "iconik"}


def _search(entities: Entities, operation: Operation, caller: Caller) -> dict[str, Any]:
    """Return those entities of a query whose names have all terms (session.ts, ``search``)."""
    answer = query.run(entities, operation["expression"])
    terms = [str(term).lower() for term in operation.get("terms") or ()]

    def fits(row: Entity) -> bool:
        entity = entities.find(row["__entity_type__"], row.get("id", "")) or row
        return all(term in str(entity.get("name")).lower() for term in terms)

    return answer | {"action": "search", "data": [row for row in answer["data"] if fits(row)]}


def _widget_url(entities: Entities, operation: Operation, caller: Caller) -> dict[str, Any]:
    key = ",".join(map(str, operation.get("entity_key") or ()))
    about = {"theme": operation.get("theme") or "dark", "entityKey": key}
    url = f"{caller.server_url}widget/{quote(str(operation['name']))}?{urlencode(about)}"
    return {"action": "get_widget_url", "widget_url": url}


def _reset(entities: Entities, operation: Operation, caller: Caller) -> dict[str, Any]:
    """Return a new API key for a user; unlike one of ftrack, it opens nothing."""
    if (operation["reset_type"], operation.get("entity_type")) != ("api_key", "User"):
        raise InvalidRequest(f"{operation['reset_type']!r} cannot be reset")
    return {"action": "reset_remote", "data": {"api_key": str(uuid.uuid4())}}


def _delayed_job(entities: Entities, operation: Operation, caller: Caller) -> dict[str, Any]:
    """Return a job that has failed: as on a server that is not connected to what the job needs.

    https://developer.ftrack.com/api-clients/examples/sync-ldap-users reads the reason in ``data``.
    """
    kind = operation["job_type"]
    if kind not in _JOBS:
        raise ValidationError(f"job_type must be one of {', '.join(_JOBS)}, not {kind!r}")
    if kind == "ICONIK_SYNC_STRUCTURE":
        _known(entities, "Context", operation["data"]["context_id"])
    fields = {"status": "failed", "type": kind.lower(), "user_id": caller.user_id}
    why = {"description": f"{kind} failed: {_JOBS[kind]} is not configured"}
    times = {"created_at": now(), "finished_at": now()}
    job = entities.create("Job", {**fields, **times, "data": json.dumps(why)})
    return {"action": "delayed_job", "data": job}


def _permissions(entities: Entities, operation: Operation, caller: Caller) -> dict[str, Any]:
    """Return what the caller may do with an entity.

    The clients give the answer a type, a mapping, and no names: these are the stand-in's.
    """
    kind, data = operation["entity_type"], operation.get("entity_data") or {}
    entities.schema(kind)
    if data.get("id"):
        _known(entities, kind, data["id"])
    may = dict.fromkeys(("create", "update", "delete"), caller.may_write)
    return {"action": "permissions", "data": {"read": True, **may}}


def _invite_user(entities: Entities, operation: Operation, caller: Caller) -> dict[str, Any]:
    _known(entities, "User", operation["user_id"])
    return {"action": operation["action"], "sent": True}


def _invite_to_review(entities: Entities, operation: Operation, caller: Caller) -> dict[str, Any]:
    _known(entities, "ReviewSessionInvitee", operation["review_session_invitee_id"])
    return {"action": operation["action"], "sent": True}


def _known(entities: Entities, kind: str, entity_id: Any) -> None:
    if entities.find(kind, str(entity_id)) is None:
        raise ValidationError(f"{kind} with key {entity_id} does not exist")


SERVICES: dict[Any, Callable[[Entities, Operation, Caller], dict[str, Any]]] = {
    "search": _search,
    "get_widget_url": _widget_url,
    "reset_remote": _reset,
    "delayed_job": _delayed_job,
    "permissions": _permissions,
    "send_user_invite": _invite_user,
    "send_review_session_invite": _invite_to_review,
}
