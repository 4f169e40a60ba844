"""The checks of the demo: bytes, PUTs, locations, and nothing left behind."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.intake.answer import size
from tests.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class Arrival:
    """How one file has arrived in the store and in ftrack."""

    path: Path
    size_bytes: int
    same_bytes: bool
    puts: int
    sent_twice: int
    locations: int

    @property
    def faults(self) -> list[str]:
        """Describe what is wrong with it."""
        found = []
        if not self.same_bytes:
            found.append(f"{self.path.name}: the store has other bytes")
        if self.sent_twice:
            found.append(f"{self.path.name}: {self.sent_twice} PUTs were sent twice")
        if self.locations != 1:
            found.append(f"{self.path.name}: {self.locations} locations in ftrack.server, not 1")
        return found


def arrivals(sandbox: Sandbox, uploads: Iterable[Mapping[str, Any]]) -> list[Arrival]:
    """Read every file back from the store, and its location from ftrack."""
    requests = sandbox.store.puts()
    puts = Counter((put["key"], put["part_number"]) for put in requests)
    locations = Counter(
        location["component_id"]
        for location in sandbox.ftrack.entities("ComponentLocation")
        if location["location_id"] == sandbox.ftrack.server_location_id
        and location["resource_identifier"] == location["component_id"]
    )
    found = []
    for upload in uploads:
        path, component_id = Path(upload["path"]), upload["component_id"]
        own = [count for (key, _), count in puts.items() if key == component_id]
        found.append(
            Arrival(
                path,
                path.stat().st_size,
                sandbox.store.md5(component_id) == md5(path),
                sum(own),
                sum(own) - len(own),
                locations[component_id],
            )
        )
    return found


def table(rows: Iterable[Arrival]) -> Iterator[str]:
    """Return the lines of a table."""
    rows = list(rows)
    width = max(len(row.path.name) for row in rows)
    yield f"{'file':<{width}}  {'size':>9}  MD5   PUTs  in ftrack.server"
    for row in rows:
        same = "same" if row.same_bytes else "OTHER"
        located = {0: "NO", 1: "yes"}.get(row.locations, f"{row.locations} TIMES")
        shown = size(row.size_bytes)
        yield f"{row.path.name:<{width}}  {shown:>9}  {same:<5} {row.puts:>4}  {located}"


def md5(path: Path) -> str:
    """Return the MD5 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def processes_of(folder: Path) -> list[str]:
    """Return the processes with the folder in their command line or as TMPDIR.

    What somebody has started in another terminal has the folder in its other variables.
    """
    found = []
    own = f"TMPDIR={folder}\0".encode()
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        with suppress(OSError):  # exited meanwhile, or another user's
            command = (process / "cmdline").read_bytes()
            if str(folder).encode() in command or own in (process / "environ").read_bytes():
                words = command.replace(b"\0", b" ").decode(errors="replace").strip()
                found.append(f"{process.name} {words}")
    return found


def complaints(folder: Path, most: int = 10) -> list[str]:
    """Return the last warnings and errors in the logs of the workers."""
    lines = [
        f"{log.stem}: {line}"
        for log in sorted(folder.glob("w?.log"))
        for line in log.read_text(errors="replace").splitlines()
        if "ERROR" in line or "WARNING" in line
    ]
    return lines[-most:]
