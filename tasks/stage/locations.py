"""Which second location each file of a batch gets: asked of ftrack before a byte is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tasks.stage.context import Clients
from tasks.transfer.errors import TargetRefusedError, UploadError
from tasks.transfer.locations import resource_identifier
from tasks.transfer.models import Outcomes, Transfer
from tasks.transfer.targets import Publish, Target


def with_locations(clients: Clients, files: Sequence[Transfer]) -> tuple[list[Transfer], Outcomes]:
    """Return the files with their second locations, and the errors of those that cannot have them.

    A publish stays as it is: its members have theirs.
    """
    default = clients.settings.also_in
    wanted = {name for file in files if (name := _name(file, default))}
    if not wanted:
        return list(files), {}
    try:
        found = clients.locations.find(wanted)
    except UploadError as error:
        refused: Outcomes = {file.upload_id: error for file in files if _name(file, default)}
        return [file for file in files if file.upload_id not in refused], refused
    placed, refused = [], {}
    for file in files:
        location = found.get(_name(file, default))
        try:
            if isinstance(location, TargetRefusedError):
                raise location
            if location is not None:
                resource_identifier(location, file.path)
            target = file.target._replace(location=location)
            placed.append(replace(file, target=target))
        except TargetRefusedError as error:
            refused[file.upload_id] = error
    return placed, refused


def located_publish(
    clients: Clients, publish: Transfer, members: Sequence[Transfer]
) -> tuple[Transfer, list[Transfer]]:
    """Return a publish and its members with their second locations.

    A sequence decides for its frames, because a frame that was stored before has an older request.

    Raises:
        TargetRefusedError: one of them cannot have it.
        UploadError: ftrack could not be asked.
    """
    containers = publish.publish.containers if publish.publish else ()
    of_sequence = {one.target.component_id: one.target for one in containers}
    files = [
        _as_sequence(member, of_sequence.get(member.target.container_id or ""))
        for member in members
    ]
    placed, refused = with_locations(clients, files)
    for error in refused.values():
        if isinstance(error, UploadError):
            raise error
    locations = {file.target.container_id: file.target.location for file in placed}
    shown = [
        one._replace(target=one.target._replace(location=locations.get(one.target.component_id)))
        for one in containers
    ]
    old = publish.publish or Publish()
    return replace(publish, publish=old._replace(containers=tuple(shown))), placed


def _as_sequence(member: Transfer, sequence: Target | None) -> Transfer:
    if sequence is None:
        return member
    return replace(member, target=member.target._replace(also_in=sequence.also_in))


def _name(file: Transfer, default: str) -> str:
    """Return the name of the second location that a file gets, or an empty text."""
    target = file.target
    if target.encode_only or file.publish is not None:
        return ""
    return target.only_in or target.also_in or ("" if target.is_hidden else default)
