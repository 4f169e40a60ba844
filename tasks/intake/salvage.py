"""Which lines of a manifest can be sent: one bad line does not hold up the others."""

from __future__ import annotations

import json
import re

from tasks.intake.build import Options, build_requests
from tasks.intake.errors import BadInputError, quoted
from tasks.intake.manifest import read_manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from tasks.intake.manifest import Entry
    from tasks.intake.request import Request

WHERE = re.compile(r"manifest line ([0-9]+): ")
#: More lines that contradict each other are no oversight, and each costs a look at all others.
MAX_CONFLICTS = 100


def sort_out(lines: Sequence[str], settings: Any) -> tuple[list[Request], list[tuple[str, str]]]:
    """Return the requests of a manifest, and its lines that are refused, each with the reason.

    Nothing on disk is looked at. A publish is complete or refused as a whole.

    Raises:
        BadInputError: the settings allow no upload, or there is no line.
    """
    try:
        # What all lines together are refused for is of no interest if they are not.
        return _build(read_manifest(lines), settings), []
    except BadInputError as error:
        if not any(line.strip() for line in lines) or not WHERE.match(str(error)):
            raise
    reasons: dict[int, str] = {}
    entries: dict[int, Entry] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                [entries[number]] = read_manifest([line], first=number)
                _build([entries[number]], settings)
            except BadInputError as error:
                reasons[number] = str(error)
    publishes = {number: _publish(lines[number - 1]) for number in reasons}
    publishes.update((number, entry.publish) for number, entry in entries.items())
    requests = _without_conflicts(entries, publishes, reasons, settings)
    return requests, [(lines[number - 1], reasons[number]) for number in sorted(reasons)]


def _without_conflicts(
    entries: dict[int, Entry],
    publishes: dict[int, str | None],
    reasons: dict[int, str],
    settings: Any,
) -> list[Request]:
    """Build what is not refused, and add to the reasons what contradicts another line."""
    for _ in range(MAX_CONFLICTS):
        broken = {publishes[number] for number in reasons} - {None}
        for number, entry in entries.items():
            if entry.publish in broken and number not in reasons:
                name = quoted(entry.publish or "")
                why = f"another line of publish {name} is refused, and a publish is complete"
                reasons[number] = f"{entry.where}{why}"
        good = [entry for number, entry in entries.items() if number not in reasons]
        try:
            return _build(good, settings) if good else []
        except BadInputError as error:
            match = WHERE.match(str(error))
            if match is None:
                raise
            reasons[int(match[1])] = str(error)
    for number, entry in entries.items():
        reasons.setdefault(number, f"{entry.where}too many lines contradict each other")
    return []


def _publish(line: str) -> str | None:
    """Return the publish that a line names, even if the line is refused."""
    try:
        name = json.loads(line)["publish"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return name if isinstance(name, str) else None


def _build(entries: Sequence[Entry], settings: Any) -> list[Request]:
    return build_requests(entries, settings, Options(stat=False))
