"""What a user wrote, as options or as a manifest: one entry for each component."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: The keys of a manifest line, and the types of their values.
MANIFEST_KEYS: dict[str, type] = {
    "path": str,
    "component_id": str,
    "version_id": str,
    "name": str,
    "thumbnail": bool,
    "task_id": str,
    "encode": bool,
    "reviewable": bool,
    "frame_range": str,
    "fps": str,
    "resolution": str,
    "metadata": dict,
    "publish": str,
    "priority": str,
    "allow_missing": bool,
}
_JSON_NAMES = {str: "a string", bool: "true or false", dict: "an object of strings"}

#: Control characters, line breaks among them, fit into no header and no log; lone surrogates
#: are bytes that are not UTF-8.
UNFIT = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
MAX_TEXT = 4096  # PATH_MAX of Linux

#: So much of what a user wrote is repeated in a message.
MAX_SHOWN = 100


class BadInputError(Exception):
    """What the user gave can not be done; the text is the one line that says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One component as the user wrote it."""

    path: str
    component_id: str | None = None
    version_id: str | None = None
    name: str | None = None
    thumbnail: bool = False
    encode: bool = False
    priority: str = "normal"
    task_id: str | None = None
    reviewable: bool = False
    frame_range: str | None = None
    fps: str | None = None
    resolution: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    publish: str | None = None
    allow_missing: bool = False
    where: str = field(default="", compare=False)

    def check_texts(self) -> None:
        """Refuse what can not be written down everywhere; raises BadInputError."""
        if self.publish is not None and not self.publish.strip():
            raise BadInputError(f"{self.where}the publish has an empty name; name it")
        if not all(key.strip() for key in self.metadata):
            raise BadInputError(f"{self.where}the metadata has an empty key; name it")
        texts = [("path", self.path), ("name", self.name or ""), ("publish", self.publish or "")]
        for key, value in self.metadata.items():
            texts += [("metadata", key), ("metadata", value.translate({9: " ", 10: " "}))]
        for what, value in texts:
            if len(value) > MAX_TEXT or UNFIT.search(value):
                raise BadInputError(
                    f"{self.where}the {what} {quoted(value)} can not be written down everywhere "
                    "(it is too long, or holds control characters or bytes that are not UTF-8); "
                    "rename it"
                )


def read_manifest(lines: Iterable[str], priority: str = "normal") -> list[Entry]:
    """Read a manifest, JSON lines; raises BadInputError with the number of the first bad one."""
    entries = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            entries.append(_entry(line, f"manifest line {number}: ", priority))
    if not entries:
        raise BadInputError("the manifest holds no uploads; write one JSON object a line")
    return entries


def _entry(line: str, where: str, priority: str) -> Entry:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise BadInputError(f"{where}not JSON ({why}); write one object a line") from None
    if not isinstance(values, Mapping):
        raise BadInputError(f'{where}not a JSON object; write {{"path": …, "component_id": …}}')
    for key, value in values.items():
        if key not in MANIFEST_KEYS:
            raise BadInputError(f"{where}{quoted(key)} is none of {', '.join(MANIFEST_KEYS)}")
        is_object_of_strings = not isinstance(value, dict) or all(
            isinstance(one, str) for one in value.values()
        )
        if value is not None and not (
            isinstance(value, MANIFEST_KEYS[key]) and is_object_of_strings
        ):
            raise BadInputError(f"{where}{key} must be {_JSON_NAMES[MANIFEST_KEYS[key]]}")
    known: dict[str, Any] = {key: value for key, value in values.items() if value is not None}
    if "path" not in known:
        raise BadInputError(f'{where}has no path; write {{"path": …, "component_id": …}}')
    return Entry(**{"priority": priority, **known}, where=where)


def quoted(text: str) -> str:
    """Quote what a user wrote: on one line, and not all of a megabyte."""
    return repr(text) if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]!r}…"
