"""What the targets of a batch name in ftrack, found before a byte is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tasks.log import log
from tasks.stage.context import Clients
from tasks.stage.locations import located_publish, with_locations
from tasks.stage.redaction import internal_error
from tasks.transfer.errors import RequestRefusedError, UploadError
from tasks.transfer.ftrack import FtrackRefusal
from tasks.transfer.models import Outcomes, Transfer
from tasks.transfer.targets import NewVersion, OfVersion, Publish
from tasks.transfer.version_data import version_data_operations


def resolved(clients: Clients, files: Sequence[Transfer]) -> tuple[list[Transfer], Outcomes]:
    """Return the files with their locations and what their versions are made from.

    The errors are of those for which ftrack lacks something.
    """
    placed, refused = with_locations(clients, files)
    asked: dict[tuple[str | None, OfVersion], UploadError | None] = {}
    found: dict[NewVersion, NewVersion | UploadError] = {}
    ready = []
    for file in placed:
        version, data = file.target.new_version, file.target.of_version
        if version is not None:
            if version not in found:
                found[version] = _found(clients, version)
            result = found[version]
            if isinstance(result, UploadError):
                refused[file.upload_id] = result
                continue
            file = replace(file, target=file.target._replace(new_version=result))  # noqa: PLW2901
        if data is not None:
            key = file.target.version_id, data
            if key not in asked:
                asked[key] = _refusal_of(clients, file)
            if error := asked[key]:
                refused[file.upload_id] = error
                continue
        ready.append(file)
    return ready, refused


def _refusal_of(clients: Clients, file: Transfer) -> UploadError | None:
    """Return why ftrack cannot give the version what comes with the file."""
    try:
        version_data_operations(clients.ftrack, [file.target])
    except FtrackRefusal as refusal:
        return RequestRefusedError(file.component_id, "look up the lists of", str(refusal))
    except UploadError as error:
        return error
    except Exception as error:  # noqa: BLE001 the other uploads go on
        return _unexpected(error)
    return None


def _found(clients: Clients, version: NewVersion) -> NewVersion | UploadError:
    try:
        return clients.versions.find(version)
    except UploadError as error:
        return error
    except Exception as error:  # noqa: BLE001 the same
        return _unexpected(error)


def _unexpected(error: Exception) -> UploadError:
    """Return the error of an upload for which ftrack has answered what nobody foresaw."""
    log.error("unexpected_error", stage="resolved", exc_info=error)
    return internal_error("resolved", error)


def resolved_publish(
    clients: Clients, publish: Transfer, members: Sequence[Transfer]
) -> tuple[Transfer, list[Transfer]]:
    """Return a publish and its members with the same; all of them have one version.

    A member that was stored before has an older request, perhaps with another comment.

    Raises:
        UploadError: ftrack lacks something, or could not be asked.
    """
    publish, placed = located_publish(clients, publish, members)
    old = publish.publish or Publish()
    named = [*(one.target for one in old.containers), *(one.target for one in placed)]
    version = next((target.new_version for target in named if target.new_version), None)
    if version is None:
        return publish, placed
    version = clients.versions.find(version)
    placed = [replace(one, target=one.target._replace(new_version=version)) for one in placed]
    containers = [
        one._replace(target=one.target._replace(new_version=version)) for one in old.containers
    ]
    return replace(publish, publish=old._replace(containers=tuple(containers))), placed
