"""Locations of ftrack whose files are on disk: which they are, and what they call a file.

ftrack's own clients find a file by a resource identifier, which their accessor turns into a path
(ftrack-python, ``source/ftrack_api/accessor/disk.py``). In ftrack.unmanaged it is the whole path.
In any other location on disk it is relative to a folder, which each system mounts where it likes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tasks.transfer.errors import RequestRefusedError, TargetRefusedError
from tasks.transfer.ftrack import FtrackClient, FtrackRefusal
from tasks.transfer.models import SERVER_LOCATION_ID
from tasks.transfer.operations import Result
from tasks.transfer.queries import query, quoted, rows_of
from tasks.transfer.targets import QUOTES, Container, Location, is_uuid

#: ftrack's own locations (ftrack-python, ``source/ftrack_api/symbol.py``): the one whose files lie
#: anywhere, and those that have no files on disk.
UNMANAGED_ID = "cb268ecc-8809-11e3-a7e2-20c9d081909b"
NOT_ON_DISK = {
    SERVER_LOCATION_ID: "is where files are uploaded to",
    "ce9b348f-8809-11e3-821c-20c9d081909b": "is no place of files",  # ftrack.origin
    "cd41be70-8809-11e3-b98a-20c9d081909b": "is no place of files",  # ftrack.review
}
#: The key of this system's folder in ftrack's storage scenario.
SYSTEM = "osx" if sys.platform == "darwin" else "linux"
#: ftrack is asked again after this time: somebody may have renamed a location, or mounted another.
KNOWN_S = 600.0

Found = Location | TargetRefusedError


class Locations:
    """Finds locations in ftrack by name or id, and remembers them for a while."""

    def __init__(
        self,
        ftrack: FtrackClient,
        folders: Sequence[tuple[str, str]] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use *folders* for locations, by name or id; ftrack knows that of its central storage."""
        self._ftrack = ftrack
        self._folders = dict(folders)
        self._clock = clock
        self._known: dict[str, tuple[float, Location]] = {}

    def find(self, names: Iterable[str]) -> dict[str, Found]:
        """Return the location of each name or id, or why it cannot be used.

        Raises:
            RequestRefusedError: ftrack refused the query.
            UploadError: what ``FtrackClient.call`` raises.
        """
        now = self._clock()
        wanted = set(names)
        found: dict[str, Found] = {
            name: location
            for name in wanted
            for at, location in [self._known.get(name, (0.0, None))]
            if location and now - at < KNOWN_S
        }
        for name, one in self._ask(sorted(wanted - found.keys())).items():
            found[name] = one
            if isinstance(one, Location):
                self._known[name] = now, one
        return found

    def _ask(self, names: Sequence[str]) -> dict[str, Found]:
        asked = [name for name in names if QUOTES.isdisjoint(name)]
        if not asked:
            return {name: _unknown(name) for name in names}
        where = f"name in ({quoted(asked)})"
        if ids := [name.lower() for name in asked if is_uuid(name)]:
            where += f" or id in ({quoted(ids)})"
        operations = [
            query("id, name", "Location", where),
            {"action": "query_server_information"},
        ]
        try:
            rows, information = self._ftrack.call(operations)
        except FtrackRefusal as refusal:
            raise RequestRefusedError(names[0], "look up location", str(refusal)) from None
        scenario = _scenario(information)
        return {name: self._found(name, rows_of(rows), scenario) for name in names}

    def _found(self, name: str, rows: Sequence[Result], scenario: Mapping[str, str]) -> Found:
        same = [row for row in rows if name == row.get("name") or name.lower() == row.get("id")]
        if not same:
            return _unknown(name)
        if len(same) > 1:
            return _refused(name, f"is the name of {len(same)} locations in ftrack; give an id")
        location_id, full_name = str(same[0].get("id")), str(same[0].get("name"))
        if location_id in NOT_ON_DISK:
            return _refused(name, f"{NOT_ON_DISK[location_id]}, not a location on disk")
        named = self._folders.get(full_name) or self._folders.get(location_id)
        folder = named or scenario.get(location_id, "")
        if not folder and location_id != UNMANAGED_ID:
            why = (
                "has no folder that is known here; set FARMHAUL_LOCATIONS for the workers, such as "
                f"{full_name}=/mnt/prod"
            )
            return TargetRefusedError(f"location {name}", why, "folder")
        return Location(location_id, full_name, folder.rstrip("/") or folder)


def resource_identifier(location: Location, path: str) -> str:
    """Return what a location calls the file at a path of this node.

    Raises:
        TargetRefusedError: the file is not in the folder of the location.
    """
    if not location.folder:
        return path
    folder = location.folder.rstrip("/") + "/"
    if not path.startswith(folder):
        why = f"begins at {location.folder}, and {path} is not in it"
        raise TargetRefusedError(f"location {location.name}", why, "folder")
    return path[len(folder) :]


def pattern_path(container: Container, frame_path: str, number: str) -> str:
    """Return the path of a sequence as ftrack's clients write it, with %04d for the number.

    Args:
        container: the sequence.
        frame_path: the path of one of its frames on this node.
        number: the number of this frame as it is written.
    """
    folder, slash, name = frame_path.rpartition("/")
    mark = f"%0{container.padding}d" if container.padding else "%d"
    start = name.rfind(number)
    while start > 0:
        head, tail = name[:start], name[start + len(number) :]
        if not container.pattern or container.pattern.endswith(f"/{head}%d{tail}"):
            break
        start = name.rfind(number, 0, start + len(number) - 1)
    start = max(start, 0)
    return f"{folder}{slash}{name[:start]}{mark}{name[start + len(number) :]}"


def _scenario(information: Result) -> dict[str, str]:
    """Return the folder of ftrack's central storage on this system, by the id of its location."""
    scenario: Any = information.get("storage_scenario")
    try:
        data = scenario["data"]
        folder = data["accessor"]["mount_points"][SYSTEM]
        location_id = data["location_id"]
    except (KeyError, TypeError):
        return {}
    is_usable = isinstance(folder, str) and folder.startswith("/") and isinstance(location_id, str)
    return {location_id: folder} if is_usable else {}


def _unknown(name: str) -> TargetRefusedError:
    return _refused(name, "does not exist in ftrack")


def _refused(name: str, why: str) -> TargetRefusedError:
    return TargetRefusedError(f"location {name}", why, "location")
