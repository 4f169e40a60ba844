"""Versions that are made with their first component: what they refer to, and how they are made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.transfer.errors import RequestRefusedError, TargetRefusedError
from tasks.transfer.ftrack import FtrackClient, FtrackRefusal
from tasks.transfer.operations import Operation, Result, create
from tasks.transfer.queries import query, quoted, rows_of
from tasks.transfer.targets import NewVersion, derived_id, is_uuid

#: ftrack is asked again after this time: somebody may have renamed a shot.
KNOWN_S = 600.0
#: What is remembered at most, in about 1 MB.
MOST_KNOWN = 1000
#: Names that an error lists.
MOST_NAMES = 12
#: From a project to what says which statuses its versions have.
WORKFLOW = "project_schema.asset_version_workflow_schema"


class Versions:
    """Finds what versions refer to in ftrack by name, and remembers it for a while."""

    def __init__(self, ftrack: FtrackClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._ftrack = ftrack
        self._clock = clock
        self._known: dict[NewVersion, tuple[float, NewVersion]] = {}

    def find(self, version: NewVersion) -> NewVersion:
        """Return the version with the ids of its context, its asset type and its status.

        Raises:
            TargetRefusedError: ftrack does not have one of them.
            RequestRefusedError: ftrack refused a query.
            UploadError: what ``FtrackClient.call`` raises.
        """
        # The key is another one for each job.
        wanted = version._replace(key="", number="", comment="", asset="")
        at, known = self._known.get(wanted, (0.0, None))
        if known is None or self._clock() - at >= KNOWN_S:
            known = self._ask(wanted)
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()  # a hook can write one context in many ways
            self._known[wanted] = self._clock(), known
        ids = {"context_id": known.context_id, "type_id": known.type_id, "task_id": known.task_id}
        found = version._replace(status_id=known.status_id, **ids)
        if version.number:
            self._check_number(found)
        return found

    def _check_number(self, version: NewVersion) -> None:
        """Check that no other version of the asset has the number.

        Raises:
            TargetRefusedError: one has it.
        """
        of_asset = f'asset.name is "{version.asset}" and asset.type_id is "{version.type_id}"'
        of_asset += f' and asset.context_id is "{version.context_id}"'
        where = f'version is "{version.number}" and {of_asset}'
        for row in self._rows("id", "AssetVersion", where):
            if row.get("id") != version.version_id:
                what = f"version {version.number} of asset {version.asset}"
                why = (
                    "exists in ftrack already, made by another program or in other words; give its "
                    f"id instead of a context: {row.get('id')}"
                )
                raise _refused(what, why)

    def _ask(self, version: NewVersion) -> NewVersion:
        context_id, task_id = self._above_task(self._context(version.context))
        types = self._rows("id, name, short", "AssetType", "id is_not none")
        why = "does not exist in ftrack, which has"
        type_id = _named(version.asset_type, types, ("name", "short"), "asset type", why)
        status_id = ""
        if version.status:
            statuses = self._statuses(context_id)
            why = "does not exist for versions of this project, which has"
            status_id = _named(version.status, statuses, ("name",), "status", why)
        if version.task:
            task_id = self._task(version.task, context_id)
        return version._replace(
            context_id=context_id, type_id=type_id, status_id=status_id, task_id=task_id
        )

    def _above_task(self, context_id: str) -> tuple[str, str]:
        """Return the context that an asset is under, and the task if the context is one.

        As ftrack's own clients do, an asset is put under what its task is under.
        """
        for row in self._rows("id, parent_id", "Task", f'id is "{context_id}"'):
            if row.get("parent_id"):
                return str(row["parent_id"]), context_id
        return context_id, ""

    def _task(self, task: str, context_id: str) -> str:
        """Return the id of a task, which is an id itself or the name of a task of the context."""
        if is_uuid(task):
            if self._rows("id", "Task", f'id is "{task}"'):
                return task
            raise _refused(f"task {task}", "is no task in ftrack")
        found = self._rows("id, name", "Task", f'parent_id is "{context_id}"')
        return _named(task, found, ("name",), "task", "does not exist under the context, which has")

    def _statuses(self, context_id: str) -> list[Result]:
        """Return the statuses that the project of a context has for versions.

        A project without a schema has all of them, as in ftrack's own client
        (``source/ftrack_api/entity/project_schema.py``).
        """
        contexts = self._rows("id, project_id", "Context", f'id is "{context_id}"')
        project_id = contexts[0].get("project_id") if contexts else None
        where = f'id is "{project_id or context_id}"'
        for project in self._rows(f"{WORKFLOW}.statuses.name", "Project", where):
            found: Any = project
            for name in (*WORKFLOW.split("."), "statuses"):
                found = found.get(name) if isinstance(found, dict) else None
            if isinstance(found, list) and found:
                return [row for row in found if isinstance(row, dict)]
        return self._rows("id, name", "Status", "id is_not none")

    def _context(self, context: str) -> str:
        """Return the id of a context, which is a path or an id itself."""
        if is_uuid(context):
            if self._rows("id", "Context", f'id is "{context}"'):
                return context
            raise _refused(f"context {context}", "does not exist in ftrack")
        project, *names = context.split("/")
        # People see the full name.
        where = f'name is "{project}" or full_name is "{project}"'
        rows = self._rows("id, name", "Project", where)
        found = [row for row in rows if row.get("name") == project] or rows
        if len(found) != 1:
            count = f"{len(found)} projects of the name" if found else "no project"
            raise _refused(f"context {context}", f"does not exist: ftrack has {count} {project}")
        context_id, above = str(found[0].get("id")), project
        for name in names:
            where = f'parent_id is "{context_id}" and name is "{name}"'
            found = self._rows("id", "TypedContext", where)
            if len(found) != 1:
                count = f"{len(found)} of the name {name}" if found else f"no {name}"
                why = f"does not exist: in ftrack, {above} has {count}"
                raise _refused(f"context {context}", why)
            context_id, above = str(found[0].get("id")), f"{above}/{name}"
        return context_id

    def _rows(self, columns: str, entity_type: str, where: str) -> list[Result]:
        try:
            [result] = self._ftrack.call([query(columns, entity_type, where)])
        except FtrackRefusal as refusal:
            raise RequestRefusedError(entity_type, "look up", str(refusal)) from None
        return rows_of(result)


def _named(wanted: str, rows: Sequence[Result], columns: Sequence[str], what: str, why: str) -> str:
    """Return the id of the row that has this name; its case counts only if there are several."""
    for fold in (str, str.casefold):
        found = [
            row for row in rows if any(fold(str(row.get(one))) == fold(wanted) for one in columns)
        ]
        if found:
            return str(found[0].get("id"))
    names = sorted(str(row.get("name")) for row in rows)
    others = ", ".join(names[:MOST_NAMES]) + (", …" if names[MOST_NAMES:] else "")
    raise _refused(f"{what} {wanted}", f"{why} {others or 'none'}")


def _refused(target: str, why: str) -> TargetRefusedError:
    return TargetRefusedError(target, why, "context")


@dataclass(frozen=True, slots=True)
class KnownVersions:
    """Which versions, and which of their assets, ftrack has."""

    versions: frozenset[str] = frozenset()
    #: Ids by context, type and name.
    assets: tuple[tuple[tuple[str, str, str], str], ...] = ()

    def with_more(self, more: KnownVersions) -> KnownVersions:
        """Return those of both."""
        return KnownVersions(self.versions | more.versions, self.assets + more.assets)


def version_queries(versions: Iterable[NewVersion]) -> list[Operation]:
    """Return the queries whose results ``parse_versions`` reads; none without a version."""
    wanted = set(versions)
    if not wanted:
        return []
    ids = quoted(sorted({one.version_id for one in wanted}))
    contexts = quoted(sorted({one.context_id for one in wanted}))
    names = quoted(sorted({one.asset for one in wanted}))
    of_context = f"context_id in ({contexts}) and name in ({names})"
    return [
        query("id", "AssetVersion", f"id in ({ids})"),
        query("id, name, context_id, type_id", "Asset", of_context),
    ]


def parse_versions(results: Sequence[Result]) -> KnownVersions:
    """Return what the results of ``version_queries`` contain."""
    versions, assets = [*(rows_of(result) for result in results), [], []][:2]
    columns = ("context_id", "type_id", "name", "id")
    rows = [tuple(str(row.get(column)) for column in columns) for row in assets]
    found = tuple(((context, kind, name), own) for context, kind, name, own in rows)
    return KnownVersions(frozenset(str(row.get("id")) for row in versions), found)


def version_operations(versions: Iterable[NewVersion], known: KnownVersions) -> list[Operation]:
    """Return the operations that create the versions and assets that ftrack does not have."""
    operations: list[Operation] = []
    assets = dict(known.assets)
    made: set[str] = set()
    for version in versions:
        version_id = version.version_id
        if version_id in known.versions or version_id in made:
            continue
        made.add(version_id)
        place = (version.context_id, version.type_id, version.asset)
        if place not in assets:
            assets[place] = derived_id("asset", *place)
            fields = {"id": assets[place], "name": version.asset}
            fields |= {"context_id": version.context_id, "type_id": version.type_id}
            operations.append(create("Asset", fields))
        fields = {"id": version_id, "asset_id": assets[place], "comment": version.comment}
        more = {"task_id": version.task_id, "status_id": version.status_id}
        fields |= {name: value for name, value in more.items() if value}
        counted = {"version": int(version.number)} if version.number else {}
        operations.append(create("AssetVersion", {**fields, **counted}))
    return operations
