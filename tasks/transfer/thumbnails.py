"""Thumbnails: set after their components exist, in a POST of its own.

ftrack's own client does the same, because servers have been seen to order the operations of one
POST wrongly (ftrack-python, ``source/ftrack_api/entity/component.py``). An encoding makes a picture
of the movie the thumbnail of its version. So ``--thumbnail`` is set again after each encoding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tasks.transfer.ftrack import FtrackClient, FtrackRefusal
from tasks.transfer.models import SERVER_LOCATION_ID, Transfer
from tasks.transfer.queries import query, quoted, rows_of
from tasks.transfer.registration import thumbnail_operation
from tasks.transfer.targets import THUMBNAIL, Target


def set_thumbnails(ftrack: FtrackClient, files: Sequence[Transfer]) -> None:
    """Set the thumbnails that files are, and those that encodings of files may have replaced.

    Raises:
        FtrackRefusal: ftrack refused; none of them is set.
        UploadError: what ``FtrackClient.call`` raises.
    """
    targets = [file.target for file in files]
    ours = [target for target in targets if target.thumbnail]
    encoded = {target.version_id for target in targets if target.encode and target.version_id}
    encoded -= {target.version_id for target in ours}
    operations = [
        thumbnail_operation("AssetVersion", str(target.version_id), target.component_id)
        for target in ours
    ]
    types = _types(ftrack, [target.task_id for target in ours if target.task_id])
    operations += [
        thumbnail_operation(types[target.task_id], target.task_id, target.component_id)
        for target in ours
        if target.task_id
    ]
    if operations:
        ftrack.call(operations)
    set_again(ftrack, {version_id: thumbnail_id(version_id) for version_id in encoded})


def set_again(ftrack: FtrackClient, thumbnails: Mapping[str, str]) -> None:
    """Set the thumbnails that versions have got from farmhaul, because an encoding sets its own.

    ``thumbnails`` are component ids by version. One that ftrack does not have is left out.

    Raises:
        FtrackRefusal: ftrack refused; none of them is set.
        UploadError: what ``FtrackClient.call`` raises.
    """
    of_version = {component_id: version_id for version_id, component_id in thumbnails.items()}
    if not of_version:
        return
    among = f'component_id in ({quoted(of_version)}) and location_id is "{SERVER_LOCATION_ID}"'
    [found] = ftrack.call([query("component_id", "ComponentLocation", among)])
    located = [str(row.get("component_id")) for row in rows_of(found)]
    operations = [
        thumbnail_operation("AssetVersion", of_version[one], one)
        for one in located
        if one in of_version
    ]
    if operations:
        ftrack.call(operations)


def thumbnail_id(version_id: str) -> str:
    """Return the id of the component that ``--thumbnail`` makes for a version."""
    return Target.under_version(version_id, THUMBNAIL, thumbnail=True).component_id


def _types(ftrack: FtrackClient, ids: Iterable[str]) -> dict[str, str]:
    """Return the entity type of each task, shot or project."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    [found] = ftrack.call([query("id", "Context", f"id in ({quoted(wanted)})")])
    types = {str(row.get("id")): str(row.get("__entity_type__")) for row in rows_of(found)}
    for one in wanted:
        if one not in types:
            raise FtrackRefusal("not found", f"task {one} does not exist in ftrack")
    return types
