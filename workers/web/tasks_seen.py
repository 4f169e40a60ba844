"""The Celery tasks of an upload, of those that Flower has seen."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from tasks.chain import task_name
from tasks.records.states import STAGES

#: The tasks that a page lists: four stages, and the runs of a large file.
MOST_TASKS = 20
#: Each wake-up begins with it. If another task has sent it, that was about other uploads.
FIRST = task_name(STAGES[0])


class Seen(NamedTuple):
    """A task."""

    uuid: str
    name: str
    state: str


def tasks_of(known: Mapping[str, Any], claim: str) -> list[Seen]:
    """Return the tasks that have carried an upload, by the claim that it was in last.

    If it went on without the rest of its batch, a task of another claim has sent this one. That
    task and those before it carried the upload, too; what they sent for the rest did not.
    """
    if (last := known.get(claim)) is None:
        return []
    found = [last]
    while found[0].name != FIRST and len(found) < MOST_TASKS:
        parent = known.get(str(found[0].parent_id))
        if parent is None or parent in found:  # Flower has forgotten it, or an event lies
            break
        found.insert(0, parent)
    wanted = _next(last)
    while wanted and len(found) < MOST_TASKS:
        found.append(wanted.pop(0))
        wanted += _next(found[-1])
    return [Seen(task.uuid, str(task.name).rpartition(".")[2], task.state) for task in found]


def _next(task: Any) -> list[Any]:
    """Return what a task has sent for its own claim: no other claim, which is its own root."""
    with suppress(AttributeError, TypeError):  # events may say anything
        return [child for child in task.children if child.root_id != child.uuid]
    return []
