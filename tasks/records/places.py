"""Places: where the files of a component lie. Only files of the same place are its next version.

For a file, the place is its path; for a sequence, the path of its frames without their number. The
record of a component has the digests of its place. ``enqueue.lua`` compares them with those of a
request, and refuses a request for other files, unless it replaces what the component holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from tasks.config.path_map import mapped
from tasks.intake.request import PublishRequest, Request
from tasks.records.keys import COMPONENT, to_text, upload_key
from tasks.records.scripts import Scripts
from tasks.transfer.errors import SealBrokenError
from tasks.transfer.targets import Target, derived_id
from tasks.transfer.windows import is_windows_path

#: What reading the request of a record raises, if it is odd.
UNREADABLE = (SealBrokenError, LookupError, TypeError, AttributeError, ValueError)


class Place(NamedTuple):
    """The place of a component's files, as ``enqueue.lua`` takes it.

    One place may have two digests: of the path as it was asked for, and of the path on this node.
    """

    component: str
    digests: list[str]
    replace: bool


def places_of(request: Request, path_map: Sequence[tuple[str, str]] = ()) -> list[Place]:
    """Return the place of each component that a request creates or updates under a version.

    A component that is named by its id has no place: its user has chosen it. The members of a
    publish have none of their own either: the publish has been let in with all of them.

    Args:
        request: what was asked for.
        path_map: how this node reads paths (FARMHAUL_PATH_MAP).
    """
    return [
        Place(target.component_id, _digests(path, path_map), target.replace)
        for target, path in _components_of(request)
    ]


def compared(place: Place, scripts: Scripts, path_map: Sequence[tuple[str, str]]) -> Place:
    """Return a place with the digests of the files that its component holds, if it is theirs here.

    The record of the component may lack the path that this node knows: another node has written
    it, which reads paths in another way. So the paths are read from the records of the uploads that
    have brought those files.

    Args:
        place: what a request asks for.
        scripts: those of the farm's Redis.
        path_map: how this node reads paths (FARMHAUL_PATH_MAP).
    """
    client: Any = scripts.client
    digests = set(place.digests)
    found = client.hmget(COMPONENT + place.component, "holder", "current")
    for upload_id in sorted({to_text(value) for value in found if value}):
        held = to_text(client.hget(upload_key(upload_id), "request"))
        # A worker says what is wrong with a record that nobody can read.
        with suppress(*UNREADABLE):
            for component, path in _paths_in(scripts.codec.decode(held)):
                known = _digests(path, path_map) if component == place.component else []
                if not digests.isdisjoint(known):
                    digests.update(known)
    return place._replace(digests=sorted(digests))


def _paths_in(request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for container in request.get("publish", {}).get("containers", ()):
        yield container["target"]["component_id"], container.get("pattern", "")
    yield request["target"]["component_id"], request["path"]


def _components_of(request: Request) -> Iterator[tuple[Target, str]]:
    if isinstance(request, PublishRequest):
        for container in request.publish.containers:
            if container.pattern and container.target.version_id is not None:
                yield container.target, container.pattern
        files = [file for file in request.files if file.target.container_id is None]
    else:
        files = [] if request.is_member else [request]
    for file in files:
        # A version has one thumbnail: the latest one, wherever it lies.
        if file.target.version_id is not None and not file.target.is_hidden:
            yield file.target, file.path


def _digests(path: str, path_map: Iterable[tuple[str, str]]) -> list[str]:
    # Hooks on several systems write one path differently, and workers may mount it in several
    # places: one form in common is enough. Windows ignores the case of letters.
    forms = {path.casefold() if is_windows_path(path) else path, mapped(path, path_map)}
    return sorted(derived_id("place", form) for form in forms)


def with_name(error: str, request: Mapping[str, Any]) -> str:
    """Return an error of ``enqueue.lua`` with the name of the component in place of its id.

    Args:
        error: the text.
        request: the values of the upload's request, as its record keeps them.
    """
    containers = request.get("publish", {}).get("containers", ())
    targets = [request["target"], *(container["target"] for container in containers)]
    for target in targets:
        if target.get("name") and target.get("version_id"):
            name = f'component "{target["name"]}" of version {target["version_id"]}'
            error = error.replace(f"component {target['component_id']}", name)
    return error
