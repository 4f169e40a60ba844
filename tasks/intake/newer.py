"""Whether a request that cannot be read is of a newer version; only workers ask.

A newer version adds fields. A change of what a known field says gets a new number in the first line
of the entry (``envelope.VERSION``), because nothing else shows it to older workers.
"""

from __future__ import annotations

from typing import Any

from tasks.intake.fields import UnknownFieldError
from tasks.intake.wire import FLAGS, LOCATIONS, NEW_VERSION, VERSION_NAMES, VERSION_TEXTS

#: The fields of a request and of its components.
KNOWN = frozenset(
    [
        *("priority", "host", "allow_empty", "publish", "components", "component_id"),
        *("version_id", "new_version", "name", "task_id", "metadata", "path", "size", "mtime_ns"),
        *("head", "tail", "padding", "frames", "sizes", "mtimes_ns", *FLAGS, *LOCATIONS),
        "of_version",
    ]
)
OF_VERSION = frozenset((*VERSION_TEXTS, *VERSION_NAMES))


def is_newer(values: dict[str, Any], error: ValueError) -> bool:
    """Return whether *values*, which ``from_wire`` refused with *error*, have an unknown field."""
    rows = values.get("components")
    components = rows if isinstance(rows, list) else []
    objects = [(one, KNOWN) for one in (values, *components) if isinstance(one, dict)]
    data = [one.get("of_version") for one, _ in objects]
    objects += [(one, OF_VERSION) for one in data if isinstance(one, dict)]
    if isinstance(new := values.get("new_version"), dict):
        objects.append((new, frozenset(NEW_VERSION)))
    # A known field may also be new in its place.
    return isinstance(error, UnknownFieldError) or any(one.keys() - known for one, known in objects)
